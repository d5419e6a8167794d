"""The directory's tables, and what one request needs of them: SQL is the interface between
agent, which writes it, and edge, which reads it. The SQL is text here; running it is the shell's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from whence.core.address import (
    Address,
    Origin,
    Source,
    Transport,
    bits_of,
    canonical_network,
)
from whence.core.identify import NAMING, Decision, Evidence, Identified, Request, identify
from whence.core.number import closeness, owns
from whence.core.registration import NextHop, Registration, State
from whence.core.retry import Failure
from whence.core.trunk import Trunk

VERSION = 2

STRENGTHS = "udp tcp tls"
STRENGTH = f"instr('{STRENGTHS}', {{a}}transport)"
"""A transport as a number that grows with its strength, in SQL and in the indexes."""

_TABLES = """
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
    ip         TEXT NOT NULL,       -- canonical text of the value: an ip or a network
    port       INTEGER,             -- null: any
    transport  TEXT NOT NULL,       -- udp, tcp, tls
    origin     TEXT NOT NULL,       -- learned, resolved, pinned
    socket     TEXT NOT NULL,       -- ours, on which it was learned
    learned_at REAL NOT NULL,
    expires_at REAL,                -- null: until removed
    exact      INTEGER NOT NULL,    -- whether no other port is admitted
    note       TEXT NOT NULL,       -- the operator's words
    in_file    INTEGER NOT NULL,    -- whether the file pins it: a new file takes it away
    CHECK (NOT exact OR port IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX address_of_trunk
    ON address (trunk_id, ip, ifnull(port, 0), transport, origin, in_file);
CREATE INDEX address_at ON address (ip, exact, %(strength)s);
CREATE INDEX address_at_port ON address (ip, port, %(strength)s);

CREATE TABLE former_address (       -- that ended in the last day: it admits nobody, but explains
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip         TEXT NOT NULL,
    port       INTEGER,
    transport  TEXT NOT NULL,
    origin     TEXT NOT NULL,
    socket     TEXT NOT NULL,
    learned_at REAL NOT NULL,
    expires_at REAL,
    exact      INTEGER NOT NULL,
    note       TEXT NOT NULL,
    in_file    INTEGER NOT NULL,
    ended_at   REAL NOT NULL,
    UNIQUE (trunk_id, ip, transport, origin)
) STRICT;
CREATE INDEX former_address_at ON former_address (ip, ended_at);
CREATE INDEX former_address_by_end ON former_address (ended_at);

CREATE TABLE network (              -- all that stand in address, found by how their bits begin
    bits TEXT PRIMARY KEY,
    ip   TEXT NOT NULL              -- as it stands in address
) STRICT, WITHOUT ROWID;

CREATE TABLE prefix (               -- of which lengths there are networks: few
    version INTEGER NOT NULL,       -- 4 or 6
    length  INTEGER NOT NULL,       -- of network.bits
    PRIMARY KEY (version, length)
) STRICT, WITHOUT ROWID;

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

SCHEMA = _TABLES % {"strength": STRENGTH.format(a="")}

GENERATION_FILE = "generation"
GENERATION_BYTES = 8
"""Eight bytes beside the database, others whenever an answer could change."""

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
# All of it for the ip itself, and again for the networks that it is in.
#
# CROSS JOIN fixes the order of tables. UNION ALL, joins and NOT EXISTS spare every temporary table:
# with UNION, GROUP BY, IN (SELECT …) or WITH the same query takes five to ten times as long. The
# indexes lead past the addresses of stronger transports, however many there are.
_TRUNK = "t.id, t.token, t.aor_user, t.target, t.unmatched, t.fallback"
_ADDRESS = "a.ip, a.port, a.transport, a.origin, a.socket, a.learned_at, a.expires_at, a.exact"
_NETWORKS = """prefix p CROSS JOIN network n
    ON p.version = :version AND n.bits = substr(:bits, 1, p.length)"""
_ANYBODY = ("address a", "a.ip = {ip}")
_FALLBACK = (
    "fallback f CROSS JOIN address a",
    "f.ip = {ip} AND f.{port} AND a.trunk_id = f.trunk_id AND a.ip = f.ip"
    " AND ifnull(a.port, 0) = f.port",
)
_A = {_ANYBODY: "a", _FALLBACK: "+a"}  # a unary + keeps an index of the column out


def _stands(a: str, port: str) -> str:
    return f"""{a}.{port} AND {STRENGTH.format(a=f"{a}.")} <= :strength
    AND ({a}.expires_at IS NULL OR {a}.expires_at > :now)"""


def _at_ip(port: str, of: tuple[str, str] = _ANYBODY) -> str:
    """A few trunks with an address of the ip that admits the source; the first of each trunk."""
    addresses, there = of
    return f"""
    SELECT * FROM (
        SELECT NULL, {_TRUNK}, {_ADDRESS}
        FROM {addresses} CROSS JOIN trunk t ON t.id = a.trunk_id
        WHERE {there.format(ip=":ip", port=_OF_FALLBACK[port])}
        AND {_stands(_A[of], port)} AND t.enabled AND NOT EXISTS (
            SELECT 1 FROM address b
            WHERE b.trunk_id = a.trunk_id AND b.ip = :ip AND b.rowid < a.rowid
            AND {_stands("+b", port)}
        ) LIMIT :others
    )"""


def _in_network(port: str, of: tuple[str, str] = _ANYBODY) -> str:
    """The same, for the networks that the ip is in."""
    addresses, there = of
    return f"""
    SELECT * FROM (
        SELECT NULL, {_TRUNK}, {_ADDRESS}
        FROM {_NETWORKS} CROSS JOIN {addresses} CROSS JOIN trunk t ON t.id = a.trunk_id
        WHERE {there.format(ip="n.ip", port=_OF_FALLBACK[port])}
        AND {_stands(_A[of], port)} AND t.enabled AND NOT EXISTS (
            SELECT 1 FROM {_NETWORKS} CROSS JOIN address b
            ON b.trunk_id = a.trunk_id AND b.ip = n.ip AND b.rowid < a.rowid
            WHERE {_stands("+b", port)}
        ) LIMIT :others
    )"""


_BY_TOKEN = "t.token IN (:user, :line) AND t.enabled"
_NUMBERS = "number m CROSS JOIN trunk t ON t.id = m.trunk_id"
_BY_NUMBER = "m.spelling IN (:number1, :number2, :number3) AND t.enabled"
_IN_RANGE = "substr(:number{}, 1, r.length) || '*'"
_BY_RANGE = f"m.spelling IN ({', '.join(_IN_RANGE.format(n) for n in (1, 2, 3))}) AND t.enabled"
_BY_AOR_USER = "t.aor_user = :user AND t.enabled"
_ITS_ADDRESSES = "LEFT JOIN address a ON a.trunk_id = t.id AND a.ip = :ip"
_ITS_NETWORKS = "CROSS JOIN address a ON a.trunk_id = t.id AND a.ip = n.ip"
_PORT, _ANY_PORT = "port = :port", "exact = 0"
_OF_FALLBACK = {_PORT: "port = :port", _ANY_PORT: "port >= 0"}
_NAMED = f"""
SELECT NULL, {_TRUNK}, {_ADDRESS} FROM trunk t {_ITS_ADDRESSES}
WHERE {_BY_TOKEN}
UNION ALL
SELECT m.spelling, {_TRUNK}, {_ADDRESS} FROM {_NUMBERS} {_ITS_ADDRESSES}
WHERE {_BY_NUMBER}
UNION ALL
SELECT m.spelling, {_TRUNK}, {_ADDRESS} FROM range r CROSS JOIN {_NUMBERS} {_ITS_ADDRESSES}
WHERE {_BY_RANGE}
UNION ALL
SELECT NULL, {_TRUNK}, {_ADDRESS} FROM trunk t {_ITS_ADDRESSES}
WHERE {_BY_AOR_USER}
UNION ALL
SELECT NULL, {_TRUNK}, {_ADDRESS} FROM {_NETWORKS} CROSS JOIN trunk t {_ITS_NETWORKS}
WHERE {_BY_TOKEN}
UNION ALL
SELECT m.spelling, {_TRUNK}, {_ADDRESS} FROM {_NETWORKS} CROSS JOIN {_NUMBERS} {_ITS_NETWORKS}
WHERE {_BY_NUMBER}
UNION ALL
SELECT m.spelling, {_TRUNK}, {_ADDRESS}
FROM {_NETWORKS} CROSS JOIN range r CROSS JOIN {_NUMBERS} {_ITS_NETWORKS}
WHERE {_BY_RANGE}
UNION ALL
SELECT NULL, {_TRUNK}, {_ADDRESS} FROM {_NETWORKS} CROSS JOIN trunk t {_ITS_NETWORKS}
WHERE {_BY_AOR_USER}
"""
_EVIDENCE = f"""{_NAMED}
UNION ALL {_at_ip(_PORT)}
UNION ALL {_at_ip(_ANY_PORT)}
UNION ALL {_at_ip(_PORT, _FALLBACK)}
UNION ALL {_at_ip(_ANY_PORT, _FALLBACK)}
UNION ALL {_in_network(_PORT)}
UNION ALL {_in_network(_ANY_PORT)}
UNION ALL {_in_network(_PORT, _FALLBACK)}
UNION ALL {_in_network(_ANY_PORT, _FALLBACK)}
"""

TRUNK_ID = 1
"""Which column of what `decide` and `gather` fetch has the trunk's id."""

Fetch = Callable[[str, dict[str, Any]], list[tuple[Any, ...]]]
"""Runs one SELECT with its parameters and returns all its rows."""


def decide(request: Request, now: float, fetch: Fetch) -> tuple[Decision, Evidence]:
    """Identify a request, and say on what evidence.

    Where the request names its trunk, who else is at its address does not matter, and is not read:
    all that it names are known, wherever they are.
    """
    evidence = _collect(_NAMED, request, now, fetch, OTHERS)
    decision = identify(request, evidence, now)
    if not isinstance(decision, Identified) or decision.rule not in NAMING:
        evidence = gather(request, now, fetch)
        decision = identify(request, evidence, now)
    return decision, evidence


def gather(request: Request, now: float, fetch: Fetch, others: int = OTHERS) -> Evidence:
    """Collect what identification needs to know about `request` at `now`.

    Of the candidates that nothing in the request names only `others` are read, at least two: they
    matter to the decision by being none, one or several.
    """
    return _collect(_EVIDENCE, request, now, fetch, others)


def _collect(query: str, request: Request, now: float, fetch: Fetch, others: int) -> Evidence:
    source, tokens = request.source, request.tokens
    numbers = [number for _, number in request.numbers]
    rows = fetch(
        query,
        {
            "ip": str(source.ip),
            "port": source.port,
            "bits": bits_of(source.ip),
            "version": source.ip.version,
            "strength": STRENGTHS.index(source.transport) + 1,
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
        if address[0] is not None:
            trunks[id_] = (id_, token, aor_user, target)
            policy[id_] = (unmatched, fallback)
            at_ip.setdefault(id_, {})[tuple(address)] = None
    return Evidence(
        trunks=tuple(
            Trunk(
                *trunks[id_],
                tuple(address_of(row) for row in at_ip[id_]),
                unmatched=policy[id_][0],
                fallback=bool(policy[id_][1]),
            )
            for id_ in sorted(trunks)
        ),
        token_owners=token_owners,
        number_owners=number_owners,
    )


_COLUMNS = "ip, port, transport, origin, socket, learned_at, expires_at, exact, note, in_file"
ADDRESSES = f"SELECT trunk_id, {_COLUMNS} FROM address ORDER BY trunk_id, ip, port"

FORMER_ADDRESSES = f"SELECT {_COLUMNS}, ended_at FROM former_address WHERE trunk_id = ? LIMIT 100"
ADDRESSES_OF_TRUNK = f"SELECT {_COLUMNS} FROM address WHERE trunk_id = ? LIMIT 100"

END_ADDRESSES = f"""
INSERT OR REPLACE INTO former_address (trunk_id, {_COLUMNS}, ended_at)
SELECT trunk_id, {_COLUMNS}, min(ifnull(expires_at, :now), :now) FROM address WHERE {{which}}
"""
"""Keep addresses that end for a while: `which` is a condition on their rows."""

NEAR = """
SELECT trunk_id FROM (SELECT trunk_id FROM address WHERE ip = :ip LIMIT 100)
UNION SELECT trunk_id FROM (
    SELECT a.trunk_id FROM prefix p CROSS JOIN network n
    ON p.version = :version AND n.bits = substr(:bits, 1, p.length)
    CROSS JOIN address a ON a.ip = n.ip LIMIT 100
)
UNION SELECT trunk_id FROM (
    SELECT trunk_id FROM former_address WHERE ip = :ip ORDER BY ended_at DESC LIMIT 100
)
UNION SELECT trunk_id FROM (
    SELECT trunk_id FROM former_address WHERE origin = 'pinned' ORDER BY ended_at DESC LIMIT 100
)
"""
"""Trunks that have, or had, an address at an ip, or one that may hold it: a few of each kind."""

PUT_ADDRESS = f"""
INSERT INTO address (trunk_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trunk_id, ip, ifnull(port, 0), transport, origin, in_file) DO UPDATE SET
expires_at = excluded.expires_at, socket = excluded.socket, exact = excluded.exact,
note = excluded.note
"""
"""Write an address; one that is there already keeps its age."""


LEARNED_UNTIL = """SELECT expires_at FROM address
    WHERE trunk_id = ? AND ip = ? AND +port = ? AND transport = ? AND origin = 'learned'"""
"""Until when an address stands that a trunk has learned already. The unary + keeps the index by ip
and port out: thousands of trunks may be there."""

_REGISTRATION = (
    "trunk_id, account, call_id, cseq, state, since, granted_s, expires_at, next_at,"
    " registrar, home, held, failures, failure, last_status, last_phrase, reason"
)
REGISTRATIONS = f"SELECT {_REGISTRATION} FROM registration"
REGISTRATION = f"{REGISTRATIONS} WHERE trunk_id = ?"

PUT_REGISTRATION = (
    "INSERT OR REPLACE INTO registration VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""Write a registration, as `registration_row` makes it."""

PUT_EVENT = "INSERT INTO event (trunk_id, at, what, status, reason) VALUES (?, ?, ?, ?, ?)"

TRIM_EVENTS = """
DELETE FROM event WHERE trunk_id = :id AND id <= (
    SELECT id FROM event WHERE trunk_id = :id ORDER BY id DESC LIMIT 1 OFFSET :limit
)
"""
"""Keep the last `limit` events of a trunk."""


def row_of(trunk_id: str, address: Address) -> tuple[Any, ...]:
    """Make the parameters of `PUT_ADDRESS`."""
    a = address
    place = (str(a.ip), a.port, a.transport, a.origin, a.socket)
    return (trunk_id, *place, a.learned_at, a.expires_at, a.exact, a.note, a.in_file)


def address_of(row: Sequence[Any]) -> Address:
    """Make an address of the columns of one, or of those up to `exact`."""
    ip, port, transport, origin, socket, learned_at, expires_at, exact, *rest = row
    note, in_file = rest or ("", False)
    return Address(
        canonical_network(ip),
        port,
        Transport(transport),
        Origin(origin),
        socket,
        learned_at,
        expires_at,
        bool(exact),
        note,
        bool(in_file),
    )


def registration_row(account: str, registration: Registration) -> tuple[Any, ...]:
    """Make the parameters of `PUT_REGISTRATION`. `account`: for whom, and where."""
    r = registration
    return (
        r.trunk_id,
        account,
        r.call_id,
        r.cseq,
        r.state,
        r.since,
        r.granted_s,
        r.expires_at,
        r.next_at,
        str(r.registrar) if r.registrar else None,
        str(r.home) if r.home else None,
        r.held,
        r.failures,
        r.failure,
        r.last_status,
        r.last_phrase,
        r.reason,
    )


def registration_of(row: Sequence[Any]) -> tuple[str, Registration]:
    """Make (account, registration) of a row of `REGISTRATIONS`."""
    (trunk_id, account, call_id, cseq, state, since, granted_s, expires_at, next_at) = row[:9]
    registrar, home, held, failures, failure, last_status, last_phrase, reason = row[9:]
    return account, Registration(
        trunk_id=trunk_id,
        call_id=call_id,
        cseq=cseq,
        state=State(state),
        since=since,
        granted_s=granted_s,
        expires_at=expires_at,
        next_at=next_at,
        registrar=Source.parse(registrar) if registrar else None,
        home=_next_hop(home) if home else None,
        held=bool(held),
        failures=failures,
        failure=Failure(failure) if failure else None,
        last_status=last_status,
        last_phrase=last_phrase,
        reason=reason,
    )


def _next_hop(text: str) -> NextHop:
    place = Source.parse(text)
    return NextHop(place.transport, str(place.ip), place.port)
