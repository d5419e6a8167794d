"""Makes writes to a database fail, as a broken or full disk does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def broken(path: Path, write: str) -> Iterator[None]:
    """Make one kind of write fail in the context. `write`: as "INSERT ON user"."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute(
            f"CREATE TRIGGER broken BEFORE {write} BEGIN SELECT RAISE(ABORT, 'disk'); END"
        )
        yield
        other.execute("DROP TRIGGER broken")
    finally:
        other.close()


DISK_FULL = """
CREATE TRIGGER full BEFORE INSERT ON registration
BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END
"""
"""A script for SQLite: each later write of a registration fails."""
