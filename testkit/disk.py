"""A small disk of its own: a tmpfs that a test fills. Only root can mount one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


class SmallDisk:
    """A tmpfs, mounted at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Fill it to the last byte."""
        opened = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for block in (65_536, 4_096, 1):
                with suppress(OSError):
                    while os.write(opened, bytes(block)) == block:
                        pass
        finally:
            os.close(opened)

    def empty(self) -> None:
        """Make room again."""
        self._filler.unlink()

    @property
    def free(self) -> int:
        """The free bytes."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a tmpfs of `size` bytes at `path`, for this user alone, while inside."""
    path.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "whence-test", str(path)]
    subprocess.run(mount, check=True, timeout=60)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=60)
