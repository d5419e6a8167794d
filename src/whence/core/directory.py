"""The directory's tables, and what one request needs of them: SQL is the interface between
agent, which writes it, and edge, which reads it. The SQL is text here; running it is the shell's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from whence.core.address import Address, Origin, Transport, canonical_ip
from whence.core.identify import Evidence, Request
from whence.core.trunk import Trunk

VERSION = 1

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE trunk (
    id       TEXT PRIMARY KEY,
    token    TEXT NOT NULL UNIQUE,
    aor_user TEXT NOT NULL,
    target   TEXT NOT NULL,
    enabled  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE address (
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip         TEXT NOT NULL,       -- canonical text of the value
    port       INTEGER,             -- null: any
    transport  TEXT NOT NULL,       -- udp, tcp, tls
    origin     TEXT NOT NULL,       -- learned, resolved, pinned
    socket     TEXT NOT NULL,       -- ours, on which it was learned
    learned_at REAL NOT NULL,
    expires_at REAL,                -- null: until removed
    UNIQUE (ip, trunk_id, port, transport, origin)
) STRICT;
CREATE INDEX address_of_trunk ON address (trunk_id);

CREATE TABLE number (
    spelling TEXT NOT NULL,
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    PRIMARY KEY (spelling, trunk_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX number_of_trunk ON number (trunk_id);

CREATE TABLE user (
    name   TEXT NOT NULL,
    domain TEXT NOT NULL,
    md5    TEXT NOT NULL,           -- HA1: MD5(name:domain:password)
    PRIMARY KEY (name, domain)
) STRICT, WITHOUT ROWID;

CREATE TABLE registration (
    trunk_id    TEXT PRIMARY KEY,   -- outlives its trunk: what is granted must be taken back
    account     TEXT NOT NULL,      -- for whom and where; another account is another registration
    call_id     TEXT NOT NULL,
    cseq        INTEGER NOT NULL,
    state       TEXT NOT NULL,
    since       REAL NOT NULL,
    granted_s   INTEGER,
    expires_at  REAL,
    next_at     REAL,
    registrar   TEXT,               -- the address that answered last
    failures    INTEGER NOT NULL,
    failure     TEXT,               -- of which kind they are: a restart must not begin anew
    last_status INTEGER,
    reason      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

INSIDE_KEY = "inside_key"
DIALOG_KEY = "dialog_key"
META = "SELECT value FROM meta WHERE key = ?"

USER_HA1 = "SELECT md5 FROM user WHERE name = ? AND domain = ?"

# CROSS JOIN fixes the order: addresses at the ip first, then their trunks.
_TRUNKS_AT_IP = """
SELECT t.id, t.token, t.aor_user, t.target,
       a.port, a.transport, a.origin, a.socket, a.learned_at, a.expires_at
FROM address a CROSS JOIN trunk t ON t.id = a.trunk_id
WHERE a.ip = ? AND t.enabled
ORDER BY t.id
"""
_OWNER_OF_TOKEN = "SELECT id FROM trunk WHERE token = ? AND enabled"
_NUMBER_OWNERS = """
SELECT n.trunk_id FROM number n CROSS JOIN trunk t ON t.id = n.trunk_id
WHERE n.spelling = ? AND t.enabled
"""

Fetch = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs one SELECT with its parameters and returns all its rows."""


def gather(request: Request, fetch: Fetch) -> Evidence:
    """Collect what identification needs to know about `request`."""
    ip = request.source.ip
    rows = fetch(_TRUNKS_AT_IP, (str(ip),))
    if not rows:
        return Evidence((), {}, frozenset())

    trunks: dict[str, tuple[tuple[str, str, str, str], list[Address]]] = {}
    for id_, token, aor_user, target, port, transport, origin, socket, learned, expires in rows:
        address = Address(ip, port, Transport(transport), Origin(origin), socket, learned, expires)
        trunks.setdefault(id_, ((id_, token, aor_user, target), []))[1].append(address)

    return Evidence(
        trunks=tuple(Trunk(*fields, tuple(found)) for fields, found in trunks.values()),
        token_owners={
            token: id_ for token in request.tokens for (id_,) in fetch(_OWNER_OF_TOKEN, (token,))
        },
        number_owners=frozenset(
            (number, id_)
            for _, number in request.numbers
            for (id_,) in fetch(_NUMBER_OWNERS, (number,))
        ),
    )


def address_of(row: Sequence[Any]) -> Address:
    """Make an address of (ip, port, transport, origin, socket, learned_at, expires_at)."""
    ip, port, transport, origin, socket, learned_at, expires_at = row
    return Address(
        canonical_ip(ip), port, Transport(transport), Origin(origin), socket, learned_at, expires_at
    )
