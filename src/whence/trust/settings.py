"""Reads settings files after checking that other users cannot change them (paths.py).

The files that a settings file names are checked, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from whence.errors import ConfigError, UntrustedError
from whence.trust.paths import Users, check_entries, directory, read_doubt


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a settings file names.

    `key`: the key that names it. `secret`: it holds a secret. `written`: Whence writes it.
    """

    key: str
    path: Path
    secret: bool = False
    written: bool = False


class NamesFiles(Protocol):
    """Settings from a file, which may name other files."""

    def named_files(self, file: Path) -> Iterable[NamedFile]:
        """Return the settings file itself and the files that it names."""


AnySettings = TypeVar("AnySettings", bound=NamesFiles)


def load_trusted(
    file: Path, load: Callable[[Path], AnySettings], users: Users | None = None
) -> tuple[AnySettings, list[str]]:
    """Read a settings file, and check that other users cannot change it or the files that it names.

    `users`: whose files are trusted; None: of root and us. A command that only reads passes more.
    Returns the settings, and a sentence for each secret that all users may read. Raises
    ConfigError with all faults.
    """
    with suppress(OSError):  # `load` reports that it cannot be read
        try:
            read_doubt(file, users)
        except UntrustedError as error:
            raise ConfigError([str(error)]) from None
    settings = load(file)
    faults, doubts = [], []
    for named in settings.named_files(file):
        place = f"{file.name}: {named.key}: " if named.key else ""
        try:
            doubt = _doubt(named, users)
        except UntrustedError as error:
            faults.append(f"{place}{error}")
        else:
            doubts += [f"{place}{doubt}"] if doubt else []
    if faults:
        raise ConfigError(faults)
    return settings, doubts


def _doubt(named: NamedFile, users: Users | None) -> str:
    try:
        if not named.written:
            return read_doubt(named.path, users, secret=named.secret)
        with directory(named.path.parent, users) as opened:
            check_entries((named.path.name,), named.path.parent, opened, users)
    except OSError as error:
        if users is None:  # `load` could read it, so another user removes and restores it
            raise UntrustedError(
                named.path,
                f"cannot be checked: {error.strerror}",
                "write the path of a regular file",
            ) from None
    return ""
