"""The directory's tables, and what one request needs of them: SQL is the interface between
agent, which writes it, and edge, which reads it. The SQL is text here; running it is the shell's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from whence.core.address import ADMITTING, IP, Address, Origin, Transport, canonical_ip
from whence.core.identify import Evidence, Request
from whence.core.number import closeness, owns
from whence.core.trunk import Trunk

VERSION = 1

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE trunk (
    id        TEXT PRIMARY KEY,
    token     TEXT NOT NULL UNIQUE,
    aor_user  TEXT NOT NULL,
    target    TEXT NOT NULL,
    unmatched TEXT NOT NULL,        -- accept, refuse
    fallback  INTEGER NOT NULL,
    enabled   INTEGER NOT NULL,
    mark      TEXT NOT NULL         -- tells other credentials from these, and hardly more
) STRICT, WITHOUT ROWID;
CREATE INDEX trunk_of_aor_user ON trunk (aor_user);

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
CREATE INDEX address_of_trunk ON address (trunk_id, ip);
CREATE INDEX address_at_port ON address (ip, port, trunk_id);

CREATE TABLE fallback (             -- where trunks that are a fallback have addresses
    ip       TEXT NOT NULL,
    trunk_id TEXT NOT NULL,
    port     INTEGER NOT NULL,      -- 0: any
    PRIMARY KEY (ip, trunk_id, port)
) STRICT, WITHOUT ROWID;
CREATE INDEX fallback_at_port ON fallback (ip, port, trunk_id);
CREATE INDEX fallback_of_trunk ON fallback (trunk_id);
CREATE TRIGGER fallback_comes AFTER INSERT ON address
    WHEN (SELECT fallback FROM trunk WHERE id = NEW.trunk_id) BEGIN
    INSERT OR IGNORE INTO fallback VALUES (NEW.ip, NEW.trunk_id, ifnull(NEW.port, 0)); END;
CREATE TRIGGER fallback_goes AFTER DELETE ON address
    WHEN NOT EXISTS (SELECT 1 FROM address a WHERE a.trunk_id = OLD.trunk_id AND a.ip = OLD.ip
        AND ifnull(a.port, 0) = ifnull(OLD.port, 0)) BEGIN
    DELETE FROM fallback
    WHERE ip = OLD.ip AND trunk_id = OLD.trunk_id AND port = ifnull(OLD.port, 0); END;
CREATE TRIGGER fallback_changes AFTER UPDATE OF fallback ON trunk
    WHEN OLD.fallback <> NEW.fallback BEGIN
    DELETE FROM fallback WHERE trunk_id = NEW.id; INSERT OR IGNORE INTO fallback
    SELECT ip, trunk_id, ifnull(port, 0) FROM address WHERE trunk_id = NEW.id AND NEW.fallback; END;

CREATE TABLE number (
    spelling TEXT NOT NULL,         -- bare; of a range, it ends in *
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    PRIMARY KEY (spelling, trunk_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX number_of_trunk ON number (trunk_id);

CREATE TABLE range (                -- of which lengths there are ranges: few
    length INTEGER PRIMARY KEY      -- of what stands before the *
) STRICT;

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
    registrar   TEXT,               -- the address that granted last
    home        TEXT,               -- the next hop that it was reached by
    held        INTEGER NOT NULL,   -- whether the operator took it back or parked it
    failures    INTEGER NOT NULL,
    failure     TEXT,               -- of which kind they are: a restart must not begin anew
    last_status INTEGER,
    last_phrase TEXT NOT NULL,
    reason      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE event (                -- the last of each trunk: core/history.py
    id       INTEGER PRIMARY KEY,
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    at       REAL NOT NULL,
    what     TEXT NOT NULL,
    status   INTEGER,               -- the answer that it came of
    reason   TEXT NOT NULL
) STRICT;
CREATE INDEX event_of_trunk ON event (trunk_id, id);
"""

GENERATION_FILE = "generation"
GENERATION_BYTES = 8
"""A counter beside the database, that moves when an answer could change."""

INSIDE_KEY = "inside_key"
DIALOG_KEY = "dialog_key"
MARK_KEY = "mark_key"
META = "SELECT value FROM meta WHERE key = ?"

USER_HA1 = "SELECT md5 FROM user WHERE name = ? AND domain = ?"

OTHERS = 2
"""How many candidates that nothing in a request names are read: two tell that it is not one."""

# One query, so that an answer comes from one state of the directory: the trunks that the request's
# own words name, wherever they are, with their addresses at its ip; and a few more trunks that
# admit its source, and fallbacks, so that thousands of trunks at one address cost no more than two.
# CROSS JOIN fixes the order of tables. UNION ALL and the order of the indexes spare every temporary
# table: with UNION and DISTINCT the same query takes five times as long.
_TRUNK = "t.id, t.token, t.aor_user, t.target, t.unmatched, t.fallback"
_ADDRESS = "a.port, a.transport, a.origin, a.socket, a.learned_at, a.expires_at"
_AT_IP = "LEFT JOIN address a ON a.trunk_id = t.id AND a.ip = :ip"
_IN_RANGE = "substr(:number{}, 1, r.length) || '*'"
_OTHER = f"""
SELECT NULL, {_TRUNK}, {_ADDRESS} FROM (
    SELECT a.trunk_id AS id FROM {{where}} CROSS JOIN trunk t ON t.id = a.trunk_id
    WHERE a.ip = :ip {{port}} AND t.enabled
    AND (a.expires_at IS NULL OR a.expires_at > :now) AND instr(:transports, a.transport)
    GROUP BY {{trunk}} LIMIT :others
) x CROSS JOIN trunk t ON t.id = x.id {_AT_IP}
"""
_ANYBODY = {"where": "address a", "trunk": "a.trunk_id"}
_FALLBACK = {
    "where": "fallback f CROSS JOIN address a ON a.trunk_id = f.trunk_id AND a.ip = f.ip",
    "trunk": "f.trunk_id",
}
_EVIDENCE = f"""
SELECT NULL, {_TRUNK}, {_ADDRESS}
FROM trunk t {_AT_IP} WHERE t.token IN (:user, :line) AND t.enabled
UNION ALL
SELECT n.spelling, {_TRUNK}, {_ADDRESS}
FROM number n CROSS JOIN trunk t ON t.id = n.trunk_id {_AT_IP}
WHERE n.spelling IN (:number1, :number2, :number3) AND t.enabled
UNION ALL
SELECT n.spelling, {_TRUNK}, {_ADDRESS}
FROM range r CROSS JOIN number n CROSS JOIN trunk t ON t.id = n.trunk_id {_AT_IP}
WHERE n.spelling IN ({", ".join(_IN_RANGE.format(n) for n in (1, 2, 3))}) AND t.enabled
UNION ALL
SELECT NULL, {_TRUNK}, {_ADDRESS}
FROM trunk t {_AT_IP} WHERE t.aor_user = :user AND t.enabled
UNION ALL {_OTHER.format(**_ANYBODY, port="AND a.port = :port")}
UNION ALL {_OTHER.format(**_ANYBODY, port="")}
UNION ALL {_OTHER.format(**_FALLBACK, port="AND f.ip = :ip AND f.port = :port AND a.port = :port")}
UNION ALL {_OTHER.format(**_FALLBACK, port="AND f.ip = :ip")}
"""

Fetch = Callable[[str, dict[str, Any]], list[tuple[Any, ...]]]
"""Runs one SELECT with its parameters and returns all its rows."""


def gather(request: Request, now: float, fetch: Fetch, others: int = OTHERS) -> Evidence:
    """Collect what identification needs to know about `request` at `now`.

    Of the candidates that nothing in the request names only `others` are read, at least two: they
    matter to the decision by being none, one or several.
    """
    source, tokens = request.source, request.tokens
    numbers = [number for _, number in request.numbers]
    rows = fetch(
        _EVIDENCE,
        {
            "ip": str(source.ip),
            "port": source.port,
            "transports": ADMITTING[source.transport],
            "now": now,
            "others": others,
            "user": request.ruri.user or None,
            "line": request.ruri.params.get("line"),
            "number1": numbers[0] if numbers else None,
            "number2": numbers[1] if len(numbers) > 1 else None,
            "number3": numbers[2] if len(numbers) > 2 else None,
        },
    )
    trunks: dict[str, tuple[str, str, str, str]] = {}
    policy: dict[str, tuple[Any, Any]] = {}
    at_ip: dict[str, dict[tuple[Any, ...], None]] = {}
    token_owners: dict[str, str] = {}
    number_owners: dict[tuple[str, str], str] = {}
    for spelling, id_, token, aor_user, target, unmatched, fallback, *address in rows:
        if spelling is not None:
            for number in numbers:
                if owns(spelling, number):
                    before = number_owners.get((number, id_), spelling)
                    number_owners[number, id_] = max(before, spelling, key=closeness)
        if token in tokens:
            token_owners[token] = id_
        if address[1] is not None:
            trunks[id_] = (id_, token, aor_user, target)
            policy[id_] = (unmatched, fallback)
            at_ip.setdefault(id_, {})[tuple(address)] = None
    return Evidence(
        trunks=tuple(
            Trunk(
                *trunks[id_],
                tuple(_address(source.ip, row) for row in at_ip[id_]),
                unmatched=policy[id_][0],
                fallback=bool(policy[id_][1]),
            )
            for id_ in sorted(trunks)
        ),
        token_owners=token_owners,
        number_owners=number_owners,
    )


def address_of(row: Sequence[Any]) -> Address:
    """Make an address of (ip, port, transport, origin, socket, learned_at, expires_at)."""
    ip, *rest = row
    return _address(canonical_ip(ip), rest)


def _address(ip: IP, row: Sequence[Any]) -> Address:
    port, transport, origin, socket, learned_at, expires_at = row
    return Address(ip, port, Transport(transport), Origin(origin), socket, learned_at, expires_at)
