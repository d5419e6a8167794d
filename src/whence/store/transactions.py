"""Transactions of SQLite, for all who write the directory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def immediate(db: sqlite3.Connection) -> Iterator[None]:
    """Write in one transaction, which is undone where an exception leaves it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        undo(db)
        raise
    db.execute("COMMIT")


def undo(db: sqlite3.Connection) -> None:
    """End a transaction, as if it had not been. What a full disk ends, SQLite has ended."""
    if db.in_transaction:
        db.execute("ROLLBACK")
