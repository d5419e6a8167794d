"""Makes directories of older versions: their tables, with rows in each."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).with_name("schemas")

NOW = 1_000_000.0

Rows = Mapping[str, Sequence[Mapping[str, Any]]]

_LEARNED = {
    "trunk_id": "acme",
    "ip": "192.0.2.1",
    "port": 5060,
    "transport": "tcp",
    "origin": "learned",
    "socket": "tcp:198.51.100.1:5060",
    "learned_at": NOW - 60,
    "expires_at": NOW + 3632,
    "exact": 0,
    "note": "",
    "in_file": 0,
    "ground": "asked",
}
_PINNED = {
    **_LEARNED,
    "ip": "203.0.113.0/24",
    "port": None,
    "origin": "pinned",
    "socket": "",
    "expires_at": None,
    "note": "by hand",
    "ground": "",
}

ROWS: Rows = {
    "meta": [
        {"key": "dialog_key", "value": "aa"},
        {"key": "mark_key", "value": "bb"},
        {"key": "inside_key", "value": "cc"},
    ],
    "trunk": [
        {
            "id": "acme",
            "token": "token-1",
            "aor_user": "442071234567",
            "target": "sip:pbx@192.0.2.9",
            "unmatched": "refuse",
            "fallback": 1,
            "enabled": 1,
            "mark": "beef",
            "gone_at": None,
        },
        {
            "id": "bell:gone@2026-01-01",
            "token": "token-2",
            "aor_user": "",
            "target": "",
            "unmatched": "refuse",
            "fallback": 0,
            "enabled": 0,
            "mark": "",
            "gone_at": NOW - 9,
        },
    ],
    "number": [
        {"spelling": "4420123", "trunk_id": "acme"},
        {"spelling": "4430*", "trunk_id": "acme"},
    ],
    "range": [{"length": 4}],
    "user": [{"name": "alice", "domain": "edge.example", "md5": "ff"}],
    "address": [
        _LEARNED,
        {**_LEARNED, "ip": "192.0.2.66", "ground": "any"},
        {**_LEARNED, "ip": "192.0.2.2", "origin": "resolved", "transport": "tls", "ground": ""},
        {**_PINNED, "in_file": 1},
        {**_PINNED, "ip": "203.0.113.7", "transport": "udp"},
    ],
    "network": [{"bits": "4110010110000000001110001", "ip": "203.0.113.0/24"}],
    "prefix": [{"version": 4, "length": 25}],
    "former_address": [
        {**_LEARNED, "ip": "192.0.2.3", "expires_at": NOW - 5, "ended_at": NOW - 5},
        {**_PINNED, "ip": "192.0.2.4", "ended_at": NOW - 4},
    ],
    "ignored_reply": [
        {"trunk_id": "acme", "ip": "192.0.2.99", "asked": "udp:192.0.2.1:5060", "at": NOW - 3}
    ],
    "registration": [
        {
            "trunk_id": "acme",
            "call_id": "call-1",
            "cseq": 7,
            "state": "registered",
            "since": NOW - 600,
            "granted_s": 3600,
            "expires_at": NOW + 3600,
            "registered_at": NOW - 600,
            "next_at": NOW + 2700,
            "registrar": "tcp:192.0.2.1:5060",
            "home": "tcp:192.0.2.1:5060",
            "held": 0,
            "failures": 0,
            "failure": None,
            "last_status": 200,
            "last_phrase": "OK",
            "learned_until": NOW + 3600,
            "unexpected": None,
            "account": "sip:x at y@provider.example at sip:provider.example;transport=tcp",
            "aor": "sip:x at y@provider.example",
            "server": "sip:provider.example;transport=tcp",
            "reason": ("granted 3600 s", "granted"),
            "message": "granted 3600 s",
        },
        {
            "trunk_id": "gone",
            "call_id": "call-2",
            "cseq": 1,
            "state": "parked",
            "since": NOW - 60,
            "held": 0,
            "failures": 2,
            "failure": ("wrong credentials", "wrong_credentials"),
            "last_status": 403,
            "last_phrase": "Forbidden",
            "account": "sip:uac@provider.example",
            "aor": "sip:uac@provider.example",
            "server": "",
            "reason": ("wrong credentials", "wrong_credentials"),
            "message": "wrong credentials",
        },
    ],
    "event": [
        {
            "id": 5,
            "trunk_id": "acme",
            "at": NOW - 60,
            "what": "registered",
            "status": 200,
            "reason": ("granted 3600 s by tcp:192.0.2.1:5060", None),
            "message": "granted 3600 s by tcp:192.0.2.1:5060",
        }
    ],
}
"""Table → rows, with the columns of all versions. A pair: before version 5, and since."""

ROWS_OF_6: Rows = {
    "registration": [
        {
            "trunk_id": "acme",
            "aor": "sip:x@provider.example",
            "server": "sip:provider.example",
            "call_id": "call-1",
            "cseq": 7,
            "state": "registered",
            "since": NOW - 600,
            "suspended": 0,
            "failures": 0,
            "last_phrase": "OK",
            "message": "granted 3600 s",
        }
    ]
}
"""A row as version 6 wrote it."""


def make(path: Path, name: str, rows: Rows = ROWS) -> None:
    """Make a directory of the version that begins `name`, as the agent of that version left it."""
    version = int(name[0])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript((SCHEMAS / f"{name}.sql").read_text(encoding="utf-8"))
        for table, each in rows.items():
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            for row in each if columns else ():
                known = {key: value for key, value in row.items() if key in columns}
                values = [
                    value[version >= 5] if isinstance(value, tuple) else value
                    for value in known.values()
                ]
                placeholders = ", ".join("?" * len(known))
                db.execute(
                    f"INSERT OR REPLACE INTO {table} ({', '.join(known)}) VALUES ({placeholders})",
                    values,
                )
        db.execute(f"PRAGMA user_version = {version}")
    path.chmod(0o600)
