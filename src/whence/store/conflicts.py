"""Reads the directory for conflicts: trunks at one address that no rule can distinguish.

It uses its own connection, so that a thread can run it beside the agent's work.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from whence.core.identification import conflicts
from whence.core.identification.conflicts import Conflict, NamedTrunk
from whence.core.sip.uri import Uri
from whence.errors import StoreError

_TRUNKS = """SELECT id, aor_user, EXISTS (
        SELECT 1 FROM number WHERE trunk_id = trunk.id AND NOT of_account
    ), fallback, r.aor, r.server, unmatched
    FROM trunk LEFT JOIN registration r ON r.trunk_id = trunk.id WHERE enabled"""
_NUMBERS = """SELECT n.spelling, n.trunk_id FROM (
        SELECT spelling FROM number WHERE NOT of_account GROUP BY spelling HAVING count(*) > 1
    ) s CROSS JOIN number n ON n.spelling = s.spelling WHERE NOT n.of_account"""
_ACCOUNTS_AND_NUMBERS = """SELECT a.spelling, a.trunk_id, n.spelling, n.trunk_id FROM number a
    CROSS JOIN number n ON n.spelling = a.spelling WHERE a.of_account AND NOT n.of_account
    UNION ALL SELECT a.spelling, a.trunk_id, n.spelling, n.trunk_id FROM number a
    CROSS JOIN number_prefix p
    CROSS JOIN number n ON n.spelling = substr(a.spelling, 1, p.length) || '*'
    WHERE a.of_account AND NOT n.of_account
    AND substr(a.spelling, 2) NOT GLOB '*[^0-9]*' AND a.spelling GLOB '[+0-9]*'"""
"""Forms of accounts, each with a number that equals it or a prefix that it begins with."""
_SITES = """SELECT trunk_id, ip, port, exact FROM address
    WHERE expires_at IS NULL OR expires_at > ?"""


def read(path: Path, now: float) -> list[Conflict]:
    """Find the conflicts in one state of a directory. Raises StoreError if it is unreadable."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as db:
            db.execute("BEGIN")
            return _read(db, now)
    except sqlite3.Error as error:
        raise StoreError(f"the directory {path} cannot be read: {error}") from error


def _read(db: sqlite3.Connection, now: float) -> list[Conflict]:
    sites = db.execute(_SITES, (now,)).fetchall()
    trunks = db.execute(_TRUNKS).fetchall()
    # A drop-in's accounts may never have a row of a registration. The agent's trunks have one soon.
    is_drop_in = any(server == "" for *_, server, _unmatched in trunks)
    return conflicts.find(
        [
            NamedTrunk(
                id_,
                user,
                bool(has),
                bool(fallback),
                None if aor is None and not is_drop_in else _server(aor, server),
                unmatched == "accept",
            )
            for id_, user, has, fallback, aor, server, unmatched in trunks
        ],
        db.execute(_NUMBERS).fetchall(),
        [(id_, (ip, port)) for id_, ip, port, _ in sites],
        [(id_, (ip, port if exact else None)) for id_, ip, port, exact in sites],
        _accounts_of_others(db),
    )


def _server(aor: str | None, server: str | None) -> str:
    """Return the host where an account registers. A drop-in knows only the AoR."""
    uri = Uri.parse(server or aor or "")
    return uri.host if uri else ""


def _accounts_of_others(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    found = db.execute(_ACCOUNTS_AND_NUMBERS).fetchall()
    return conflicts.accounts_of_others(
        sorted({(form, account) for form, account, *_ in found}),
        sorted({(spelling, owner) for *_, spelling, owner in found}),
    )
