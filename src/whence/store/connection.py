"""The agent's connection to the directory: its file, its transactions and its errors.

The file uses WAL, so that the edge's readers never wait for the agent. With `synchronous=NORMAL`,
a commit survives the crash of any process. A power cut may lose the last commits, but the file
stays consistent.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from whence.errors import StoreError, UntrustedError
from whence.store import migrate, transactions
from whence.store import schema as tables
from whence.store.generation import OpenGeneration
from whence.store.lookup import Row
from whence.store.migrate import BEGIN_ANEW
from whence.store.observer import DirectoryObserver
from whence.trust import paths

_REMEDIES = {
    sqlite3.SQLITE_NOTADB: BEGIN_ANEW,
    sqlite3.SQLITE_CORRUPT: BEGIN_ANEW,
    sqlite3.SQLITE_BUSY: "end what has locked it",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "look at its disk, which may be full, or broken",
}
"""SQLite's primary result code → what the operator can do."""


class GenerationWriter(OpenGeneration):
    """The generation, opened by the agent for writing; made if there is none."""

    def __init__(self, path: Path) -> None:
        """Open or make the file, and change the generation: the last agent may have died midway."""
        opened = paths.open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        with os.fdopen(opened, "a+b", buffering=0) as file:
            os.fchmod(file.fileno(), 0o600)
            # Write the bytes before truncating: on a full disk the write fails with an error. A
            # sparse file would instead end the process with SIGBUS at the first write to memory.
            file.write(bytes(max(0, tables.GENERATION_BYTES - file.tell())))
            file.truncate(tables.GENERATION_BYTES)
            super().__init__(file.fileno())
        self.move()


class DirectoryConnection:
    """The file of one node's directory, open for writing."""

    def __init__(self, path: Path, observers: Sequence[DirectoryObserver] = ()) -> None:
        """Open the directory, or make it. Raises StoreError."""
        self.path = path
        self._observers = observers
        try:
            with ExitStack() as undo:
                paths.make_database(path)
                self._db = sqlite3.connect(path, isolation_level=None, timeout=2.0)
                undo.callback(self._db.close)
                migrate.check_version(self._db, path)  # before anything is written into it
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.execute("PRAGMA foreign_keys = ON")
                self._prepare()
                self._generation = GenerationWriter(path.with_name(tables.GENERATION_FILE))
                undo.pop_all()
        except UntrustedError as error:
            raise StoreError(
                f"the directory {path} cannot be opened: {error.path} {error.why}; {error.cure}"
            ) from error
        except (sqlite3.Error, OSError) as error:
            permit = (
                "make its folder writable for this user, or name another one as agent state_dir"
            )
            raise self._fault("opened", error, permit) from error

    def close(self) -> None:
        """Close the file. The edge continues to read it."""
        self._generation.close()
        self._db.close()

    def _prepare(self) -> None:
        """Make the tables, or migrate them to the present version."""
        if migrate.check_version(self._db, self.path) == tables.VERSION:
            return
        remedy = f"it is as it was before; {BEGIN_ANEW}"
        with self._transaction("migrated", remedy):
            migrate.upgrade(self._db, self.path)

    def _fault(self, done: str, error: sqlite3.Error | OSError, remedy: str = "") -> StoreError:
        """Make an error that says what failed, why, and what to do.

        `remedy` is used if `_REMEDIES` has none for SQLite's code.
        """
        remedy = _REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, remedy)
        said = f"the directory {self.path} cannot be {done}: {error}"
        return StoreError(f"{said}; {remedy}" if remedy else said)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Write in a transaction that may change decisions: change the generation before and after.

        Before: a worker that reads the old state meanwhile must not cache it. After: a worker that
        cached it nevertheless must drop it.
        """
        self._generation.move()
        try:
            with self._transaction():
                yield
        finally:
            self._generation.move()
        for observer in self._observers:
            observer.directory_changed()

    @contextmanager
    def _transaction(self, done: str = "written", remedy: str = "") -> Iterator[None]:
        try:
            with transactions.immediate(self._db):
                yield
        except sqlite3.Error as error:
            raise self._fault(done, error, remedy) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._fault("read", error) from error

    def _fetch(self, query: str, parameters: dict[str, Any] | Sequence[Any] = ()) -> list[Row]:
        """Return all rows of one SELECT. Raises StoreError."""
        with self._reading():
            return self._db.execute(query, parameters).fetchall()

    def _set(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def can_write(self) -> bool:
        """Return whether a row can be written now. The row is written, and rolled back."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._set("written", "yes")
            finally:
                transactions.undo(self._db)
        except sqlite3.Error:
            return False
        return True
