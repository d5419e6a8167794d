"""The agent's connection to the directory: its file, its transactions and its errors.

The file uses WAL, so that the edge's readers never wait for the agent. With `synchronous=FULL`, a
commit returns when the disk has it. So it survives the crash of any process, and a power cut.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from whence.errors import DiskFullError, StoreError, UntrustedError
from whence.store import look_out, migrate, transactions
from whence.store import schema as tables
from whence.store.generation import Identity, OpenGeneration, identity
from whence.store.lookup import Row
from whence.store.migrate import BEGIN_ANEW
from whence.store.observer import DirectoryObserver
from whence.trust import paths

log = logging.getLogger(__name__)

_REMEDIES = {
    sqlite3.SQLITE_NOTADB: BEGIN_ANEW,
    sqlite3.SQLITE_CORRUPT: BEGIN_ANEW,
    sqlite3.SQLITE_BUSY: "end what has locked it",
    sqlite3.SQLITE_READONLY: "mount its disk writable, and make it writable for this user",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "look at its disk, which may be full, or broken",
}
"""SQLite's primary result code → what the operator can do."""


def _is_full(error: sqlite3.Error | OSError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


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


PATIENCE_S = 2.0
"""How long a write waits for another process that has locked the file."""

SHORT_PATIENCE_S = 0.05
"""The same after such a wait was in vain, until a write succeeds: each wait stops the agent."""


class DirectoryConnection:
    """The file of one node's directory, open for writing."""

    def __init__(self, path: Path, observers: Sequence[DirectoryObserver] = ()) -> None:
        """Open the directory, or make it. Raises StoreError."""
        self.path = path
        self._observers = observers
        self.write_errors = 0
        """Writes that failed."""
        self.write_error = ""
        """Why the last write failed; empty after a write that succeeded."""
        self._is_locked = False
        """Whether the last write found the file locked."""
        try:
            with ExitStack() as undo:
                paths.make_database(path)
                self._db = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE_S)
                undo.callback(self._db.close)
                migrate.check_version(self._db, path)  # before anything is written into it
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA foreign_keys = ON")
                self._prepare()
                self._files = self._identities()
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
        message = f"the directory {self.path} cannot be {done}: {error}"
        kind = DiskFullError if _is_full(error) else StoreError
        return kind(f"{message}; {remedy}" if remedy else message)

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
            self.wake_look_out()
        for observer in self._observers:
            observer.directory_changed()

    def wake_look_out(self) -> None:
        """Have Kamailio's look-out read the generation now. It also reads it ten times a second."""
        look_out.wake(self.path.with_name(look_out.SOCKET_FILE))

    def is_settled(self) -> bool:
        """Return whether Kamailio decides all calls by the last change. Raises StoreError.

        Until then it may answer a call by the state before (edge/look_out.py).
        """
        path = self.path.with_name(look_out.FILE)
        try:
            return look_out.is_acknowledged(path, self._generation.now())
        except OSError as error:
            raise StoreError(
                f"the change is stored, but {path} cannot be read: {error.strerror}; "
                "make it readable for this user"
            ) from error

    @contextmanager
    def _transaction(self, done: str = "written", remedy: str = "") -> Iterator[None]:
        try:
            with transactions.immediate(self._db):
                yield
        except sqlite3.Error as error:
            self._note_lock(error)
            fault = self._fault(done, error, remedy)
            if isinstance(fault, DiskFullError):
                # Without a checkpoint the log only grows. After it, SQLite overwrites the log.
                self._restart_log()
            self.write_errors += 1
            self.write_error = str(fault)
            raise fault from error
        self.write_error = ""
        self._note_lock(None)

    def _note_lock(self, error: sqlite3.Error | None) -> None:
        """Shorten the waits for a lock after a write that failed for it, until one succeeds."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        is_locked = code == sqlite3.SQLITE_BUSY
        if is_locked != self._is_locked:
            self._is_locked = is_locked
            patience_s = SHORT_PATIENCE_S if is_locked else PATIENCE_S
            self._db.execute(f"PRAGMA busy_timeout = {round(patience_s * 1000)}")

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

    def probe(self) -> None:
        """Commit a small row. SQLite reports a full disk at the commit, so it is no dry run.

        Raises: StoreError where that fails, or where the file is no longer at its path.
        """
        try:
            self._write_probe()
        except sqlite3.Error as error:
            self._note_lock(error)
            if not _is_full(error):
                raise self._fault("written", error) from error
            self._restart_log()
            try:
                self._write_probe()
            except sqlite3.Error as again:
                raise self._fault("written", again) from again
        self._note_lock(None)
        self._check_files()

    def _identities(self) -> dict[Path, Identity]:
        """Return the identities of the file and of its write-ahead log, as their paths are now."""
        log_file = self.path.with_name(f"{self.path.name}-wal")
        return {path: identity(path) for path in (self.path, log_file)}

    def _check_files(self) -> None:
        """Check that the edge reads the files that this connection writes. Raises: StoreError.

        SQLite continues to write files that another process moved or removed.
        """
        for path, found in self._identities().items():
            if self._files[path] is None:
                self._files[path] = found  # the first write makes the write-ahead log
            elif found != self._files[path]:
                raise StoreError(
                    f"the directory {self.path} cannot be written: another process moved or "
                    f"removed {path.name}; restart Whence"
                )

    def _write_probe(self) -> None:
        with transactions.immediate(self._db):
            self._set(tables.PROBE_KEY, "")

    # Space for writes on a full disk (docs/decisions/0024).

    def keep_reserve(self, size: int) -> None:
        """Have `size` free bytes in the file, and a write-ahead log of that length; if possible.

        SQLite overwrites both in place, so that writes succeed while the disk is full.
        """
        if self._reserved() >= size:
            return
        try:
            with transactions.immediate(self._db):
                self._set(tables.RESERVE_KEY, "0" * size)
            self._restart_log()  # the pages are in the file before they become free
        except sqlite3.Error:
            log.debug("no reserve of %d bytes can be made in %s", size, self.path)
        with suppress(sqlite3.Error):
            with transactions.immediate(self._db):
                self._db.execute("DELETE FROM meta WHERE key = ?", (tables.RESERVE_KEY,))
            self._restart_log()

    def _reserved(self) -> int:
        """Return the size of the reserve in the file or in the write-ahead log, the lesser one.

        Pages that only the log has are no reserve: a checkpoint needs space in the file for them.
        """
        try:
            (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            (page_size,) = self._db.execute("PRAGMA page_size").fetchone()
            file_size = self.path.stat().st_size
            log_size = self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except (sqlite3.Error, OSError):
            return 0
        missing = pages * page_size - file_size
        return min(int(free * page_size - max(0, missing)), log_size)

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file, so that the next write begins at its start.

        It does not wait for readers. While one reads, the next write is appended to the log.
        """
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _restart_log(self) -> None:
        """Do the same, and wait for the readers of this moment."""
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(RESTART)")
