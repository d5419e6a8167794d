"""SQLite transactions, for all writers of the directory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def immediate(db: sqlite3.Connection) -> Iterator[None]:
    """Run the context in one write transaction. An exception rolls it back."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        undo(db)
        raise
    db.execute("COMMIT")


def undo(db: sqlite3.Connection) -> None:
    """Roll a transaction back, if one is open. On a full disk, SQLite has already ended it."""
    if db.in_transaction:
        db.execute("ROLLBACK")
