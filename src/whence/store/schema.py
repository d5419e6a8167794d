"""The directory's tables, and what one request needs of them: SQL is the interface between
agent, which writes it, and edge, which reads it. The SQL is text here; running it is the shell's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

from whence.core.identification.address import (
    Address,
    Origin,
    Source,
    Transport,
    bits_of,
    canonical_network,
)
from whence.core.identification.identify import (
    NAMING,
    Decision,
    Evidence,
    Identified,
    Request,
    identify,
)
from whence.core.identification.trunk import Trunk
from whence.core.registration.backoff import Failure
from whence.core.registration.history import Event, EventKind
from whence.core.registration.machine import AccountKey, NextHop, Registration, State
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.phone_number import RANGE, closeness, owns

VERSION = 5

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
    mark      TEXT NOT NULL,        -- tells other credentials from these, and hardly more
    gone_at   REAL,                 -- null: in the file; else only the token counts
    number_headers TEXT NOT NULL DEFAULT 'p-called-party-id to',    -- small letters, blanks between
    number_format  TEXT NOT NULL DEFAULT ''             -- Style; empty: as sent
) STRICT, WITHOUT ROWID;

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
    ground     TEXT NOT NULL,       -- of a learned one: asked, dns, networks, rspauth, any
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
    ground     TEXT NOT NULL,
    ended_at   REAL NOT NULL,
    UNIQUE (trunk_id, ip, transport, origin)
) STRICT;
CREATE INDEX former_address_at ON former_address (ip, ended_at);
CREATE INDEX former_address_by_end ON former_address (ended_at);

CREATE TABLE ignored_reply (        -- to REGISTERs, of the last day, from whom was not asked
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    ip       TEXT NOT NULL,
    asked    TEXT NOT NULL,         -- the next hop of that REGISTER
    at       REAL NOT NULL,
    PRIMARY KEY (trunk_id, ip)
) STRICT;
CREATE INDEX ignored_reply_from ON ignored_reply (ip, at);

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

CREATE TABLE number (               -- what names a trunk in a request: its numbers, its account
    spelling   TEXT NOT NULL,       -- of a number: bare; of a range, it ends in *
    trunk_id   TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    of_account INTEGER NOT NULL DEFAULT 0,  -- 1: its account, or a form of it as a number
    e164       TEXT NOT NULL DEFAULT '',    -- with + and country, without *; empty: unknown
    PRIMARY KEY (spelling, trunk_id, of_account)
) STRICT, WITHOUT ROWID;
CREATE INDEX number_of_trunk ON number (trunk_id, of_account);
CREATE TRIGGER account_comes AFTER INSERT ON trunk WHEN NEW.aor_user <> '' BEGIN
    INSERT OR IGNORE INTO number (spelling, trunk_id, of_account)
    VALUES (NEW.aor_user, NEW.id, 1); END;
CREATE TRIGGER account_changes AFTER UPDATE OF aor_user ON trunk
    WHEN OLD.aor_user <> NEW.aor_user BEGIN
    DELETE FROM number WHERE trunk_id = NEW.id AND of_account; INSERT OR IGNORE INTO number
    (spelling, trunk_id, of_account) SELECT NEW.aor_user, NEW.id, 1 WHERE NEW.aor_user <> ''; END;

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
    trunk_id    TEXT PRIMARY KEY,   -- goes with its trunk: the taking back is the agent's own
    aor         TEXT NOT NULL,      -- for whom, and at which server: with another aor or server
    server      TEXT NOT NULL,      -- it is another registration; empty of a drop-in's
    call_id     TEXT NOT NULL,
    cseq        INTEGER NOT NULL,
    state       TEXT NOT NULL,
    since       REAL NOT NULL,
    granted_s   INTEGER,
    expires_at  REAL,
    registered_at REAL,             -- since when something has been granted without a gap
    next_at     REAL,
    registrar   TEXT,               -- the address that granted last
    home        TEXT,               -- the next hop that it was reached by
    held        INTEGER NOT NULL,   -- whether the operator took it back or parked it
    failures    INTEGER NOT NULL,
    failure     TEXT,               -- of which kind they are: a restart must not begin anew
    last_status INTEGER,
    last_phrase TEXT NOT NULL,
    reason      TEXT,               -- core/registration/reason.py; null: nothing has come of it yet
    message     TEXT NOT NULL,      -- the same for people
    learned_until REAL,             -- when the last grant ends that taught an address
    unexpected  TEXT                -- who granted last, where nothing was learned from it
) STRICT, WITHOUT ROWID;

CREATE TABLE event (                -- the last of each trunk: core/registration/history.py
    id       INTEGER PRIMARY KEY,
    trunk_id TEXT NOT NULL REFERENCES trunk (id) ON DELETE CASCADE,
    at       REAL NOT NULL,
    what     TEXT NOT NULL,         -- core/registration/history.py EventKind
    status   INTEGER,               -- the answer that it came of
    reason   TEXT,                  -- core/registration/reason.py; null: it is not about a state
    message  TEXT NOT NULL          -- the same for people
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
NUMBER_HEADERS_KEY = "number_headers"
"""In `meta`: the headers, but P-Called-Party-ID and To, that some trunk has in `number_headers`."""
LEARN_FROM_KEY = "learn_from"
"""Of a drop-in: JSON of trunk id → from where its addresses are learned; "" stands for all."""
META = "SELECT value FROM meta WHERE key = ?"

USER_HA1 = "SELECT md5 FROM user WHERE name = ? AND domain = ?"

OTHERS = 2
"""How many candidates that nothing in a request names are read: two tell that it is not one."""

# What a request's own words name is asked first, and names its trunk nearly always; only where it
# does not, who else is at its address. Thousands of trunks there cost no more than two.
#
# CROSS JOIN fixes the order of tables. UNION ALL, joins and NOT EXISTS spare every temporary table
# but the few places of `_THERE`: with UNION, GROUP BY, IN (SELECT …) or WITH the same query takes
# up to ten times as long. To open a table costs as much as to find a row in it: so all ways to a
# named trunk lead into one join, and there is none for what the request does not have. Accounts
# stand among the numbers, so that one look finds both. The indexes lead past the addresses of
# stronger transports, however many there are.
_TRUNK = (
    "t.id, t.token, t.aor_user, t.target, t.unmatched, t.fallback, t.number_headers,"
    " t.number_format"
)
_ADDRESS = "a.ip, a.port, a.transport, a.origin, a.socket, a.learned_at, a.expires_at, a.exact"
_THERE = """(
    SELECT :ip AS ip
    UNION ALL SELECT n.ip FROM prefix p CROSS JOIN network n
    ON p.version = :version AND n.bits = substr(:bits, 1, p.length)
)"""
"""The request's ip, and the networks that it is in, as they stand in `address`."""


@lru_cache(maxsize=256)
def _named(tokens: int, numbers: int, accounts: int) -> str:
    """All trunks that a request with so many tokens, numbers and accounts names, wherever they
    are, with their addresses there. One that is disabled, or gone, has none, but its token, number
    and account are not another's to take. `accounts`: with the numbers, which come first.
    """
    ways = [
        "SELECT NULL AS spelling, 0 AS of_account, '' AS e164, id FROM trunk"
        f" WHERE token = :token{i}"
        for i in range(tokens)
    ]
    ways += [
        "SELECT spelling, of_account, e164, trunk_id AS id FROM number"
        f" WHERE spelling = :account{i}"
        for i in range(accounts)
    ]
    ways += [
        "SELECT m.spelling, 0, m.e164, m.trunk_id FROM range r CROSS JOIN number m"
        f" ON m.spelling = substr(:account{i}, 1, r.length) || '*' WHERE NOT m.of_account"
        for i in range(numbers)
    ]
    if not ways:  # `sip:host` alone names nobody
        ways = ["SELECT NULL AS spelling, 0 AS of_account, '' AS e164, NULL AS id WHERE 0"]
    return f"""
    SELECT w.spelling, w.of_account, w.e164, {_TRUNK}, {_ADDRESS}
    FROM ({" UNION ALL ".join(ways)}) w CROSS JOIN trunk t ON t.id = w.id
    LEFT JOIN {_THERE} h LEFT JOIN address a ON t.enabled AND a.trunk_id = t.id AND a.ip = h.ip"""


_ANYBODY = f"{_THERE} h CROSS JOIN address a ON a.ip = h.ip"
_FALLBACK = f"""{_THERE} h CROSS JOIN fallback f ON f.ip = h.ip AND f.{{port}}
    CROSS JOIN address a ON a.trunk_id = f.trunk_id AND a.ip = f.ip
    AND ifnull(a.port, 0) = f.port"""
_A = {_ANYBODY: "a", _FALLBACK: "+a"}  # a unary + keeps an index of the column out
_PORT, _ANY_PORT = "port = :port", "exact = 0"
_OF_FALLBACK = {_PORT: "port = :port", _ANY_PORT: "port >= 0"}


def _stands(a: str, port: str) -> str:
    return f"""{a}.{port} AND {STRENGTH.format(a=f"{a}.")} <= :strength
    AND ({a}.expires_at IS NULL OR {a}.expires_at > :now)"""


def _some(of: str, port: str) -> str:
    """A few trunks with an address there that admits the source; the first of each trunk."""
    return f"""
    SELECT * FROM (
        SELECT NULL, 0, '', {_TRUNK}, {_ADDRESS}
        FROM {of.format(port=_OF_FALLBACK[port])} CROSS JOIN trunk t ON t.id = a.trunk_id
        WHERE {_stands(_A[of], port)} AND t.enabled AND NOT EXISTS (
            SELECT 1 FROM {_THERE} k CROSS JOIN address b
            ON b.trunk_id = a.trunk_id AND b.ip = k.ip AND b.rowid < a.rowid
            WHERE {_stands("+b", port)}
        ) LIMIT :others
    )"""


_OTHERS = " UNION ALL ".join(
    _some(of, port) for of in (_ANYBODY, _FALLBACK) for port in (_PORT, _ANY_PORT)
)

TRUNK_AT = f"""
SELECT {_ADDRESS} FROM {_THERE} h CROSS JOIN address a ON a.trunk_id = :id AND a.ip = h.ip
"""
"""The addresses of one trunk at an ip, or that hold it; `at` makes the parameters."""

ADMITS_IP = f"""
SELECT 1 FROM {_ANYBODY} WHERE a.expires_at IS NULL OR a.expires_at > :now LIMIT 1"""
"""Whether a trunk has an address there, whatever its port and transport."""

TRUNK_ID = 3
"""Which column of what `decide` and `gather` fetch has the trunk's id."""

ADDRESS_AT = 11
"""At which column its address begins; all of these are None where it has none there."""

Row = tuple[Any, ...]


def without_address(row: Row) -> Row:
    """Make of a row what it is of a trunk that has no address there: it is named, no candidate."""
    return row[:ADDRESS_AT] + (None,) * (len(row) - ADDRESS_AT)


Fetch = Callable[[str, dict[str, Any]], list[Row]]
"""Runs one SELECT with its parameters and returns all its rows. What is fetched for one decision
must come from one state of the directory: that is the shell's to see to."""


def decide(request: Request, now: float, fetch: Fetch) -> tuple[Decision, Evidence]:
    """Identify a request, and say on what evidence.

    Where the request names its trunk, who else is at its address does not matter, and is not read:
    all that it names are known, wherever they are.
    """
    asked = _asked(request, now, OTHERS)
    rows = fetch(_naming(request), asked)
    evidence = _evidence(request, rows)
    decision = identify(request, evidence, now)
    if isinstance(decision, Identified) and decision.rule in NAMING:
        return decision, evidence
    if others := fetch(_OTHERS, asked):
        evidence = _evidence(request, rows + others)
        decision = identify(request, evidence, now)
    return decision, evidence


def gather(request: Request, now: float, fetch: Fetch, others: int = OTHERS) -> Evidence:
    """Collect what identification needs to know about `request` at `now`.

    Of the candidates that nothing in the request names only `others` are read, at least two: they
    matter to the decision by being none, one or several.
    """
    asked = _asked(request, now, others)
    return _evidence(request, fetch(_naming(request), asked) + fetch(_OTHERS, asked))


def at(trunk_id: str, source: Source) -> dict[str, Any]:
    """Make the parameters of `TRUNK_AT`."""
    ip = source.ip
    return {"id": trunk_id, "ip": source.ip_text, "bits": bits_of(ip), "version": ip.version}


def _naming(request: Request) -> str:
    return _named(len(request.tokens), len(request.numbers), len(request.accounts))


def _asked(request: Request, now: float, others: int) -> dict[str, Any]:
    """Make the parameters of `_named` and `_OTHERS`."""
    source = request.source
    asked: dict[str, Any] = {
        "ip": source.ip_text,
        "port": source.port,
        "bits": bits_of(source.ip),
        "version": source.ip.version,
        "strength": STRENGTHS.index(source.transport) + 1,
        "now": now,
        "others": others,
    }
    for i, token in enumerate(request.tokens):
        asked[f"token{i}"] = token
    for i, account in enumerate(request.accounts):
        asked[f"account{i}"] = account
    return asked


def _evidence(request: Request, rows: list[Row]) -> Evidence:
    tokens, numbers = request.tokens, request.numbers
    trunks: dict[str, Row] = {}
    addresses: dict[str, dict[Row, None]] = {}
    token_owners: dict[str, str] = {}
    owning: dict[tuple[str, str], dict[str, str]] = {}
    accounts: dict[str, dict[str, None]] = {}
    e164s: dict[tuple[str, str], str] = {}
    for row in rows:
        spelling, of_account, e164, id_, token = row[:5]
        if of_account:
            accounts.setdefault(spelling, {})[id_] = None
            e164s[spelling, id_] = e164
        elif spelling is not None:
            for number in numbers:
                if owns(spelling, number):
                    owning.setdefault((number, id_), {})[spelling] = e164
        if token in tokens:
            token_owners[token] = id_
        if row[ADDRESS_AT] is not None:
            trunks[id_] = row
            addresses.setdefault(id_, {})[row[ADDRESS_AT:]] = None
    number_owners: dict[tuple[str, str], str] = {}
    pilots = set()
    for named, by in owning.items():
        spelling = next(iter(by)) if len(by) == 1 else max(by, key=closeness)
        number_owners[named] = spelling
        e164 = by[spelling]
        e164s[named] = e164 and e164 + named[0][len(spelling.removesuffix(RANGE)) :]
        if _is_pilot(named[0], by):
            pilots.add(named)
    return Evidence(
        tuple([_trunk(trunks[id_], addresses[id_]) for id_ in sorted(trunks)]),
        token_owners,
        number_owners,
        {account: tuple(ids) for account, ids in accounts.items()},
        e164s,
        pilots,
    )


def _trunk(row: Row, addresses: Iterable[Row]) -> Trunk:
    id_, token, aor_user, target, unmatched, fallback, headers, format_ = row[TRUNK_ID:ADDRESS_AT]
    there = tuple([address_of(address) for address in addresses])
    looked = _headers(headers)
    return Trunk(id_, token, aor_user, target, there, unmatched, bool(fallback), looked, format_)


@lru_cache(maxsize=1024)
def _headers(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _is_pilot(number: str, owning: Collection[str]) -> bool:
    """Whether a number begins a range of its trunk, or is in one and written down besides."""
    return number + RANGE in owning or (len(owning) > 1 and number in owning)


_COLUMNS = (
    "ip, port, transport, origin, socket, learned_at, expires_at, exact, note, in_file, ground"
)
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
UNION SELECT trunk_id FROM (
    SELECT trunk_id FROM ignored_reply WHERE ip = :ip ORDER BY at DESC LIMIT 100
)
"""
"""Trunks that have, or had, an address at an ip, or one that may hold it, or whose REGISTER was
answered from there: a few of each kind."""

IGNORED_REPLIES = "SELECT ip, asked, at FROM ignored_reply WHERE trunk_id = ? LIMIT 100"

IGNORED_LIMIT = 16
"""How many ips are kept of one trunk, from which a reply taught nothing."""

PUT_IGNORED = "INSERT OR REPLACE INTO ignored_reply SELECT ?, ?, ?, ? FROM trunk WHERE id = ?1"
"""Write that a reply taught nothing: trunk id, ip, whom was asked, when."""

TRIM_IGNORED = f"""
DELETE FROM ignored_reply WHERE trunk_id = ? AND rowid NOT IN (
    SELECT rowid FROM ignored_reply WHERE trunk_id = ?1 ORDER BY at DESC LIMIT {IGNORED_LIMIT}
)
"""

DROP_IGNORED = "DELETE FROM ignored_reply WHERE trunk_id = ? AND ip = ?"
"""Forget it: the ip is learned now."""

_KEYS = "id, token, aor_user, target, unmatched, fallback, enabled, mark, gone_at"

PUT_TRUNK = f"""
INSERT INTO trunk ({_KEYS}, number_headers, number_format)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?)
ON CONFLICT (id) DO UPDATE SET aor_user = excluded.aor_user, target = excluded.target,
unmatched = excluded.unmatched, fallback = excluded.fallback, enabled = excluded.enabled,
mark = excluded.mark, number_headers = excluded.number_headers,
number_format = excluded.number_format
"""
"""Write a trunk of the file; one that is there already keeps its token."""

PUT_GONE = f"INSERT INTO trunk ({_KEYS}) VALUES (?, ?, '', '', 'refuse', 0, 0, '', ?)"
"""Keep the token of a trunk that is gone: its id, the token, and since when."""

PUT_NAMED = f"""
INSERT INTO trunk ({_KEYS}) VALUES (?, ?, '', '', 'accept', 0, 1, '', NULL)
ON CONFLICT (id) DO NOTHING
"""
"""Write a trunk of which no more than its id and token is known yet."""

PUT_RECORD = f"""
INSERT INTO trunk ({_KEYS}) VALUES (?, ?, ?, ?, 'accept', 0, 1, '', NULL)
ON CONFLICT (id) DO UPDATE SET aor_user = excluded.aor_user, target = excluded.target, enabled = 1
"""
"""Write a trunk of which another one keeps the registration: id, token, user, target."""

PUT_NUMBER = "INSERT OR REPLACE INTO number VALUES (?, ?, ?, ?)"
"""Write a spelling, the id of the trunk that it belongs to, whether it is the account's, and the
number in E.164."""

DROP_NUMBERS = "DELETE FROM number WHERE NOT of_account"

PUT_ACCOUNT = "INSERT OR IGNORE INTO number (spelling, trunk_id, of_account) VALUES (?, ?, 1)"
"""Write one form of a trunk's account; the account itself is written with its trunk."""

PUT_RANGES = """
INSERT INTO range SELECT DISTINCT length(spelling) - 1 FROM number
WHERE spelling LIKE '%*' AND NOT of_account
"""
"""Write of which lengths there are ranges in `number`; there must be none before."""

PUT_ADDRESS = f"""
INSERT INTO address (trunk_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trunk_id, ip, ifnull(port, 0), transport, origin, in_file) DO UPDATE SET
expires_at = excluded.expires_at, socket = excluded.socket, exact = excluded.exact,
note = excluded.note, ground = excluded.ground
"""
"""Write an address; one that is there already keeps its age."""


IN_FILE = f"SELECT {_COLUMNS} FROM address WHERE trunk_id = ? AND in_file LIMIT 1000"
"""What the file pins of a trunk."""

LEARNED_UNTIL = """SELECT expires_at, exact FROM address
    WHERE trunk_id = ? AND ip = ? AND +port = ? AND transport = ? AND origin = 'learned'"""
"""Until when an address stands that a trunk has learned already. The unary + keeps the index by ip
and port out: thousands of trunks may be there."""

_REGISTRATION = (
    "trunk_id, aor, server, call_id, cseq, state, since, granted_s, expires_at, registered_at,"
    " next_at, registrar, home, held, failures, failure, last_status, last_phrase, reason,"
    " message, learned_until, unexpected"
)
REGISTRATIONS = f"SELECT {_REGISTRATION} FROM registration"
REGISTRATION = f"{REGISTRATIONS} WHERE trunk_id = ?"

PUT_REGISTRATION = f"INSERT OR REPLACE INTO registration VALUES ({', '.join('?' * 22)})"
"""Write a registration, as `registration_row` makes it."""

_EVENT = "what, message, status, reason"
PUT_EVENT = f"INSERT INTO event (trunk_id, at, {_EVENT}) VALUES (?, ?, ?, ?, ?, ?)"
"""Write an event, as `event_row` makes it."""

EVENTS_OF_TRUNK = f"SELECT at, {_EVENT} FROM event WHERE trunk_id = ? ORDER BY id"
EVENTS_AFTER = f"SELECT id, trunk_id, {_EVENT} FROM event WHERE id > ? ORDER BY id"

TRIM_EVENTS = """
DELETE FROM event WHERE trunk_id = :id AND id <= (
    SELECT id FROM event WHERE trunk_id = :id ORDER BY id DESC LIMIT 1 OFFSET :limit
)
"""
"""Keep the last `limit` events of a trunk."""


def learns_from_any(meta: str, trunk_id: str) -> bool:
    """Return whether a drop-in's trunk learns from any address. `meta`: see LEARN_FROM_KEY.

    Raises ValueError where it is no such text.
    """
    says = json.loads(meta or "{}")
    if not isinstance(says, dict):
        raise ValueError(f"{LEARN_FROM_KEY} is no table")  # noqa: TRY004 - of the directory
    return bool(says.get(trunk_id, says.get("", "asked")) == "any")


def row_of(trunk_id: str, address: Address) -> tuple[Any, ...]:
    """Make the parameters of `PUT_ADDRESS`."""
    a = address
    place = (str(a.ip), a.port, a.transport, a.origin, a.socket)
    return (trunk_id, *place, a.learned_at, a.expires_at, a.exact, a.note, a.in_file, a.ground)


def address_of(row: Sequence[Any]) -> Address:
    """Make an address of the columns of one, or of those up to `exact`."""
    ip, port, transport, origin, socket, learned_at, expires_at, exact, *rest = row
    note, in_file, ground = rest or ("", False, "")
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
        ground,
    )


def event_row(trunk_id: str, at: float, event: Event) -> tuple[Any, ...]:
    """Make the parameters of `PUT_EVENT`."""
    return trunk_id, at, event.what, event.message, event.status, event.reason


def event_of(row: Sequence[Any]) -> Event:
    """Make an event of its columns, without what stands before them in a row."""
    what, message, status, reason = row
    return Event(EventKind(what), message, status, _reason(reason))


def _reason(code: str | None) -> RegistrationReason | None:
    return RegistrationReason(code) if code is not None else None


def registration_row(account: AccountKey, registration: Registration) -> tuple[Any, ...]:
    """Make the parameters of `PUT_REGISTRATION`. `account`: for whom, and where."""
    r = registration
    return (
        r.trunk_id,
        account.aor,
        account.server,
        r.call_id,
        r.cseq,
        r.state,
        r.since,
        r.granted_s,
        r.expires_at,
        r.registered_at,
        r.next_at,
        str(r.registrar) if r.registrar else None,
        str(r.home) if r.home else None,
        r.held,
        r.failures,
        r.failure,
        r.last_status,
        r.last_phrase,
        r.reason,
        r.message,
        r.learned_until,
        str(r.unexpected) if r.unexpected else None,
    )


def registration_of(row: Sequence[Any]) -> tuple[AccountKey, Registration]:
    """Make (account, registration) of a row of `REGISTRATIONS`."""
    (trunk_id, aor, server, call_id, cseq, state, since, granted_s, expires_at) = row[:9]
    registered_at, next_at, registrar, home, held, failures, failure = row[9:16]
    last_status, last_phrase, reason, message, learned_until, unexpected = row[16:]
    return AccountKey(aor, server), Registration(
        trunk_id=trunk_id,
        call_id=call_id,
        cseq=cseq,
        state=State(state),
        since=since,
        granted_s=granted_s,
        expires_at=expires_at,
        registered_at=registered_at,
        next_at=next_at,
        registrar=Source.parse(registrar) if registrar else None,
        home=_next_hop(home) if home else None,
        held=bool(held),
        failures=failures,
        failure=Failure(failure) if failure else None,
        last_status=last_status,
        last_phrase=last_phrase,
        reason=_reason(reason),
        message=message,
        learned_until=learned_until,
        unexpected=Source.parse(unexpected) if unexpected else None,
    )


def _next_hop(text: str) -> NextHop:
    place = Source.parse(text)
    return NextHop(place.transport, str(place.ip), place.port)
