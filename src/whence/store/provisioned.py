"""The file of what the API provisioned: trunks, users and routes. Only the agent opens it.

The edge must not read it. So it is no part of the directory, and has versions of its own: the files
in `provisioned_migrations`, in order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from whence.errors import DiskFullError, StoreError, UntrustedError
from whence.store.transactions import undo
from whence.trust import paths

FILE = "provisioned.db"

PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One trunk, user or route of the API."""

    kind: str
    id: str
    settings: str
    """JSON without secrets."""
    secrets: bytes
    """The secrets, encrypted."""
    revision: int = 0
    """It changes with each change of the entry."""
    changed_at: float = 0.0


class ProvisionedStore:
    """The entries of one state directory."""

    def __init__(self, state: Path) -> None:
        """Open the file, or make it. Raises StoreError."""
        self.path = state / FILE
        with self._faults("opened"):
            paths.make_database(self.path)
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=PATIENCE_S)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA secure_delete = ON")
            self._migrate()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def entries(self) -> list[StoredEntry]:
        """Return all entries, by kind and id. Raises StoreError."""
        query = (
            "SELECT kind, id, settings, secrets, revision, changed_at FROM entry ORDER BY kind, id"
        )
        with self._faults("read"):
            return [StoredEntry(*row) for row in self._db.execute(query)]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write the changes of the context at its end; an exception undoes them.

        Raises StoreError.
        """
        with self._faults("written"):
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            undo(self._db)
            raise
        try:
            with self._faults("written"):
                self._db.execute("COMMIT")
        except StoreError:
            undo(self._db)
            raise

    def put(self, entry: StoredEntry) -> int:
        """Write an entry, and return its new revision. Raises StoreError."""
        with self._faults("written"):
            revision = self._next_revision()
            self._db.execute(
                "INSERT INTO entry (kind, id, settings, secrets, revision, changed_at)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET"
                " settings = excluded.settings, secrets = excluded.secrets,"
                " revision = excluded.revision, changed_at = excluded.changed_at",
                (entry.kind, entry.id, entry.settings, entry.secrets, revision, entry.changed_at),
            )
            return revision

    def delete(self, kind: str, id_: str) -> None:
        """Remove an entry. Raises StoreError."""
        with self._faults("written"):
            self._next_revision()
            self._db.execute("DELETE FROM entry WHERE kind = ? AND id = ?", (kind, id_))

    def _next_revision(self) -> int:
        (revision,) = self._db.execute(
            "UPDATE revision SET last = last + 1 RETURNING last"
        ).fetchone()
        return int(revision)

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        steps = _migrations()
        if version > len(steps):
            raise StoreError(
                f"{self.path} is of a newer Whence (version {version}); install that one, or move "
                "the file away, and provision its content again"
            )
        for number, script in enumerate(steps[version:], version + 1):
            # A script is one transaction: a crash leaves the version before.
            self._db.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;"
            )

    @contextmanager
    def _faults(self, done: str) -> Iterator[None]:
        try:
            yield
        except UntrustedError as error:
            raise StoreError(
                f"{error.path} cannot be {done}: it {error.why}; {error.cure}"
            ) from error
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            kind = DiskFullError if code == sqlite3.SQLITE_FULL else StoreError
            raise kind(f"{self.path} cannot be {done}: {error}; look at its disk") from error


def _migrations() -> list[str]:
    folder = resources.files("whence.store") / "provisioned_migrations"
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".sql")), key=_name)
    return [one.read_text(encoding="utf-8") for one in files]


def _name(file: object) -> str:
    return str(getattr(file, "name", ""))
