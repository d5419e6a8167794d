"""Makes the tables of a new file, and migrates the file of an older version.

A migration is one transaction: if it fails, the file stays unchanged. Its SQL is in the folder
`migrations`, in files named after the version that they make.

Workers continue to read while the agent migrates. Their old SELECTs must then fail or stay right.
So a migration that changes the meaning of a column also renames it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from whence.core.sip.phone_number import account_spellings
from whence.errors import StoreError
from whence.store.schema import READ_VERSION, VERSION

log = logging.getLogger(__name__)

BEGIN_ANEW = "move the file away to begin anew: every trunk then registers again"

OLDEST = 3
"""The oldest version that can be migrated."""


class Column(NamedTuple):
    """A column of a table."""

    table: str
    name: str


class Step(NamedTuple):
    """One file of SQL, and the version that it makes."""

    version: int
    file: str
    adds: Column | None = None
    """A column that the step adds. A file of its version that lacks the column needs the step."""


# Versions 3 and 4 each name several sets of tables. Each later version names one set.
_STEPS = (
    Step(3, "0003.sql", Column("registration", "registered_at")),
    Step(4, "0004_learning.sql", Column("address", "ground")),
    Step(4, "0004_numbers.sql", Column("number", "of_account")),
    Step(5, "0005.sql"),
    Step(6, "0006.sql"),
    Step(7, "0007.sql"),
    Step(8, "0008.sql"),
    Step(9, "0009.sql"),
    Step(10, "0010.sql"),
)

_OURS = frozenset({"meta", "trunk", "address", "registration", "event"})
"""Tables that each version has."""


def read_schema() -> str:
    """Read the SQL that makes the tables of the present version."""
    return _read("schema.sql")


def check_version(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of a file, 0 for a new one. The file is not changed.

    Raises StoreError if another program, a newer Whence or a much older one wrote the file.
    """
    (version,) = db.execute(READ_VERSION).fetchone()
    if version > VERSION:
        raise StoreError(
            f"the directory {path} has version {version}, and this Whence supports version "
            f"{VERSION} at most; start the newer Whence that wrote it, or {BEGIN_ANEW}"
        )
    tables = _names(db)
    if version == 0 and not tables:
        return 0
    if not tables >= _OURS:
        raise StoreError(
            f"the file {path} is a database of another program; move that away, or name another "
            "folder as agent state_dir"
        )
    if version < OLDEST:
        raise StoreError(
            f"the directory {path} has version {version}, and this Whence migrates version "
            f"{OLDEST} and later ones; {BEGIN_ANEW}"
        )
    return int(version)


def upgrade(db: sqlite3.Connection, path: Path) -> None:
    """Migrate the tables to the present version, inside the caller's transaction."""
    version = check_version(db, path)  # another process may have migrated it meanwhile
    if version == VERSION:
        return
    if version == 0:
        run_script(db, read_schema())
    else:
        _check_pages(db)
        db.create_function("account_forms", 1, _account_forms, deterministic=True)
        for step in _steps_from(db, version):
            run_script(db, _read("migrations", step.file))
        _check_names(db)
        log.info("the directory %s is migrated from version %d to %d", path, version, VERSION)
    db.execute(f"PRAGMA user_version = {VERSION}")


def run_script(db: sqlite3.Connection, script: str) -> None:
    """Run each statement of a script; unlike `executescript`, without a COMMIT."""
    for statement in _statements(script):
        db.execute(statement)


def _statements(script: str) -> Iterator[str]:
    """Split a script. A statement ends at the end of a line; a trigger has several `;` in it."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _steps_from(db: sqlite3.Connection, version: int) -> list[Step]:
    return [
        step
        for step in _STEPS
        if step.version > version or (step.adds is not None and _lacks(db, step.adds))
    ]


def _lacks(db: sqlite3.Connection, column: Column) -> bool:
    query = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"
    return db.execute(query, column).fetchone() is None


def _check_pages(db: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError for a damaged file: a migration must not rewrite it."""
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"the file is damaged: {found}")


def _check_names(db: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError if a table, index or trigger of a new file is missing."""
    with closing(sqlite3.connect(":memory:")) as new:
        run_script(new, read_schema())
        missing = _names(new) - _names(db)
    if missing:
        raise sqlite3.DatabaseError(f"the file lacks {', '.join(sorted(missing))}")


def _names(db: sqlite3.Connection) -> set[str]:
    """Return the names of all tables, indexes and triggers."""
    return {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}


def _account_forms(aor_user: str) -> str:
    return json.dumps(sorted(account_spellings(aor_user)))


def _read(*parts: str) -> str:
    return files("whence.store").joinpath(*parts).read_text(encoding="utf-8")
