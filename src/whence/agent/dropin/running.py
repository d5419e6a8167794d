"""The command line of a running Kamailio, and the options in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path


def start_options(file: Path, default: bool, processes: Path = Path("/proc")) -> list[str] | None:
    """Find the command line of the Kamailio that runs on `file`; None if none does.

    `default`: whether `file` is the one that Kamailio reads without the option -f.
    """
    found = _find(file, default, processes)
    return None if found is None else found[1]


def running_user(file: Path, default: bool, processes: Path = Path("/proc")) -> int | None:
    """Return the uid of the Kamailio that runs on `file`; see `start_options`."""
    found = _find(file, default, processes)
    try:
        return None if found is None else found[0].stat().st_uid
    except OSError:
        return None  # it has just ended


def _find(file: Path, default: bool, processes: Path) -> tuple[Path, list[str]] | None:
    for process in processes.iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:
            continue  # it has just ended, or belongs to another user
        if not words or Path(words[0]).name != "kamailio":
            continue
        named = option(words, "f")
        if (named is None and default) or (named is not None and _same(named, process, file)):
            return process, words
    return None


def option(words: Sequence[str], letter: str) -> str | None:
    """Return the value of an option of Kamailio's command line: `-m 64` or `-m64`."""
    return next(all_options(words, letter), None)


def all_options(words: Sequence[str], letter: str) -> Iterator[str]:
    """Yield the values of an option that may occur several times: `-l udp:192.0.2.9:5060`."""
    for i, word in enumerate(words[1:], start=1):
        if word == f"-{letter}":
            yield from words[i + 1 : i + 2]
        elif word.startswith(f"-{letter}"):
            yield word[2:]


def defines(words: Sequence[str]) -> dict[str, str]:
    """Return the defines of Kamailio's command line: `-A NAME` and `-A NAME=VALUE`."""
    found = {}
    for i, word in enumerate(words[:-1]):
        if word == "-A":
            name, _, value = words[i + 1].partition("=")
            found[name] = value
    return found


def _same(named: str, process: Path, file: Path) -> bool:
    try:
        given = Path(named)
        path = given if given.is_absolute() else (process / "cwd").resolve() / given
        return path.resolve() == file.resolve()
    except (OSError, ValueError, RuntimeError):
        return False
