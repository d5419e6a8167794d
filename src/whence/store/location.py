"""The location table: where users' phones are. Kamailio's `usrloc` writes it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from whence.errors import LocationError, UntrustedError
from whence.trust import paths

TABLES = Path("/usr/share/kamailio/db_sqlite")
"""The table definitions of the installed Kamailio, so that they fit its version."""

_CONTACTS = """
SELECT username, contact, received, CAST(strftime('%s', expires) AS REAL), user_agent
FROM location ORDER BY username, contact
"""

_COUNTS = """
SELECT count(*), count(DISTINCT username)
FROM location WHERE CAST(strftime('%s', expires) AS REAL) > ?
"""


@dataclass(frozen=True, slots=True)
class UserContact:
    """One phone of a user. `received`: the source of its REGISTER, if it is not the contact.

    The phone chooses all values but `expires_at`: escape them with `shown` before output.
    """

    contact: str
    received: str | None
    expires_at: float
    user_agent: str


def make(path: Path) -> None:
    """Make the location database if there is none. Raises LocationError."""
    try:
        if path.exists():
            paths.make_database(path)
            return
        sql = [(TABLES / f"{name}-create.sql").read_text() for name in ("standard", "usrloc")]
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        paths.make_database(unfinished)
        database = sqlite3.connect(unfinished)
        try:
            # The mode is stored in the file. If each of Kamailio's processes set it at the start,
            # they would lock one another out.
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript("".join(sql))
        finally:
            database.close()
        unfinished.replace(path)
    except UntrustedError as error:
        raise LocationError(f"the location table {path} cannot be made: {error}") from None
    except FileNotFoundError:
        raise LocationError(
            f"{TABLES} is missing; install it: apt-get install kamailio-sqlite-modules"
        ) from None
    except (sqlite3.Error, OSError) as error:
        raise LocationError(f"the location table {path} cannot be made: {error}") from error


def counts(path: Path, now: float) -> tuple[int, int]:
    """Return how many contacts, and how many users, are registered. Raises LocationError."""
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)
        try:
            contact_count, user_count = database.execute(_COUNTS, (now,)).fetchone()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise LocationError(f"the location table {path} cannot be read: {error}") from error
    return int(contact_count), int(user_count)


def contacts(path: Path, now: float) -> dict[str, list[UserContact]]:
    """Return user name → phones registered at `now`. Raises LocationError."""
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)
        # Kamailio stores the bytes that a phone sent, and they may be no UTF-8.
        database.text_factory = _text
        try:
            rows = database.execute(_CONTACTS).fetchall()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise LocationError(f"the location table {path} cannot be read: {error}") from error
    found: dict[str, list[UserContact]] = {}
    for name, contact, received, expires_at, user_agent in rows:
        if expires_at is not None and expires_at > now:
            phone = UserContact(contact, received, expires_at, user_agent)
            found.setdefault(name, []).append(phone)
    return found


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
