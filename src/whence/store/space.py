"""Space on the disk of the state directory: what is left, and a reserve inside the directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

RESERVE_BYTES = 1024 * 1024
"""The reserve in the database and in its write-ahead log, each; less on a small disk."""

_LEAST_BYTES = 1024 * 1024
_LEAST_SHARE = 50
"""A disk is nearly full below 1 MiB, or below a fiftieth of a small disk."""


@dataclass(frozen=True, slots=True)
class Space:
    """The space of a file system for this user, in bytes."""

    free: int
    size: int

    @property
    def least(self) -> int:
        """The free space below which the disk is nearly full."""
        return min(_LEAST_BYTES, self.size // _LEAST_SHARE)

    @property
    def is_low(self) -> bool:
        """Whether the disk is nearly full."""
        return self.free < self.least

    @property
    def reserve(self) -> int:
        """The size of the reserve that this disk can spare."""
        return min(RESERVE_BYTES, self.free // 8)


def space_at(path: Path) -> Space:
    """Return the space of the file system at `path`. Raises: OSError."""
    found = os.statvfs(path)
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
