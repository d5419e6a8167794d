"""The directory's generation: eight bytes that change whenever an answer could."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from whence.store.schema import GENERATION_BYTES

Identity = tuple[int, int] | None
"""(device, inode) of a file: another one in its place has another."""


def identity(path: Path) -> Identity:
    """Say which file is there; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class GenerationReader:
    """The directory's generation, read without a system call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mapped: mmap.mmap | None = None
        self._opened: Identity = None

    def look(self) -> None:
        """See whether it is still the file that is there: an operator may have moved it away."""
        if self._mapped is not None and self._opened != identity(self._path):
            self._mapped.close()
            self._mapped = None

    def now(self) -> bytes | None:
        """What it is; None while there is none, and then nothing may be kept."""
        if self._mapped is None:
            try:
                self._opened = identity(self._path)
                with self._path.open("rb") as file:
                    self._mapped = mmap.mmap(
                        file.fileno(), GENERATION_BYTES, access=mmap.ACCESS_READ
                    )
            except (OSError, ValueError):
                return None
        return self._mapped[:GENERATION_BYTES]


class OpenGeneration:
    """The bytes beside the database that tell the workers when an answer could have changed."""

    def __init__(self, descriptor: int) -> None:
        """Map the file that is open there, for writing."""
        self._mapped = mmap.mmap(descriptor, GENERATION_BYTES)

    def move(self) -> None:
        """Be what it never was. Random, not one more: beside a drop-in there are several writers,
        and two that count from the same number would be one move. Eight bytes are written at once.
        """
        self._mapped[:] = os.urandom(GENERATION_BYTES)

    def close(self) -> None:
        """Let it go; it stays for the workers."""
        self._mapped.close()
