"""Settings files that no other user can change, nor the files that they name (paths.py)."""

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
    """A file that a settings file names. `key`: where it is named there. `secret`: it holds one.
    `written`: Whence writes it.
    """

    key: str
    path: Path
    secret: bool = False
    written: bool = False


class NamesFiles(Protocol):
    """Settings that were read."""

    def named_files(self, file: Path) -> Iterable[NamedFile]:
        """Give the files that are named in these settings, and the `file` itself."""


AnySettings = TypeVar("AnySettings", bound=NamesFiles)


def load_trusted(
    file: Path, load: Callable[[Path], AnySettings], users: Users | None = None
) -> tuple[AnySettings, list[str]]:
    """Read a settings file to act on it: no other user may change it, or what it names.

    `users`: who may decide, for a command that looks only; None: root and we. Returns the settings,
    and a sentence for each secret that all users may read. ConfigError names all faults.
    """
    with suppress(OSError):  # that it cannot be read is for `load` to say
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
        if users is None:  # it was there when it was read: somebody takes it away and puts it back
            raise UntrustedError(
                named.path, f"cannot be judged: {error.strerror}", "write a file of its own"
            ) from None
    return ""
