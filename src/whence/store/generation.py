"""The directory's generation: eight bytes that change when a decision could change.

Workers map the file, and compare the bytes before they use a cached decision.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from whence.store.schema import GENERATION_BYTES

Identity = tuple[int, int] | None
"""(device, inode) of a file; a file that replaces it has another. None: there is no file."""


def identity(path: Path) -> Identity:
    """Return the identity of the file at `path`; None if there is none."""
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
        """Drop the mapping if the file was replaced: an operator may have moved it away."""
        if self._mapped is not None and self._opened != identity(self._path):
            self._mapped.close()
            self._mapped = None

    def now(self) -> bytes | None:
        """Return the present generation; None without a file. Then nothing may be cached."""
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
    """The generation's file, mapped for writing."""

    def __init__(self, descriptor: int) -> None:
        """Map the file that is open as `descriptor`."""
        self._mapped = mmap.mmap(descriptor, GENERATION_BYTES)

    def move(self) -> None:
        """Change the generation to eight random bytes, in one write.

        A counter would not do. A drop-in has several writers. Two of them could count from the
        same number, and make one change of two.
        """
        self._mapped[:] = os.urandom(GENERATION_BYTES)

    def now(self) -> bytes:
        """Return the present generation."""
        return self._mapped[:GENERATION_BYTES]

    def close(self) -> None:
        """Unmap the file. The workers keep their own mappings."""
        self._mapped.close()
