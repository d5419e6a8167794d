"""The SQL that reads the evidence for one request, and the evidence made of its rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Any

from whence.core.identification.decision import NAMING, Decision, Identified
from whence.core.identification.identify import identify
from whence.core.identification.request import Evidence, Request
from whence.core.identification.trunk import Trunk
from whence.core.sip.phone_number import PREFIX_END, closeness, owns
from whence.core.sip.transport_address import TransportAddress, bits_of
from whence.store.rows import address_of

OTHERS = 2
"""How many candidates are read that the request does not name. Two show that it is not one."""


# The first query finds the trunks that the request names, and nearly always settles the decision.
# Only otherwise a second query reads other trunks at the address. Thousands of trunks at one
# address cost no more than two.
#
# CROSS JOIN fixes the order of tables. UNION ALL, joins and NOT EXISTS avoid temporary tables,
# except for the few rows of `_THERE`. With UNION, GROUP BY, IN (SELECT …) or WITH the same query
# takes up to ten times as long. SQLite needs as much time to open a table as to find a row in it.
# So one join reads all named trunks, and the query has no part for what the request lacks.
# Table `number` holds accounts, too, so that one look-up finds both. The indexes skip the addresses
# of stronger transports, however many there are.
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
"""The request's ip and the networks that hold it, as `address.ip` writes them."""


@lru_cache(maxsize=256)
def _named(tokens: int, numbers: int, accounts: int) -> str:
    """Write the query for all trunks that a request names, with their addresses at its source.

    The arguments count the request's tokens, numbers and accounts. `accounts` includes the numbers,
    which come first. Trunks without an address at the source are found, too. A disabled or removed
    trunk has no address, but its token, number and account name no other trunk.
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
        "SELECT m.spelling, 0, m.e164, m.trunk_id FROM number_prefix p CROSS JOIN number m"
        f" ON m.spelling = substr(:account{i}, 1, p.length) || '*' WHERE NOT m.of_account"
        for i in range(numbers)
    ]
    if not ways:  # `sip:host` alone names no trunk
        ways = ["SELECT NULL AS spelling, 0 AS of_account, '' AS e164, NULL AS id WHERE 0"]
    return f"""
    SELECT w.spelling, w.of_account, w.e164, {_TRUNK}, {_ADDRESS}
    FROM ({" UNION ALL ".join(ways)}) w CROSS JOIN trunk t ON t.id = w.id
    LEFT JOIN {_THERE} h LEFT JOIN address a ON t.enabled AND a.trunk_id = t.id AND a.ip = h.ip"""


_ANY_TRUNK = f"{_THERE} h CROSS JOIN address a ON a.ip = h.ip"


_FALLBACK = f"""{_THERE} h CROSS JOIN fallback f ON f.ip = h.ip AND f.{{port}}
    CROSS JOIN address a ON a.trunk_id = f.trunk_id AND a.ip = f.ip
    AND ifnull(a.port, 0) = f.port"""


_A = {_ANY_TRUNK: "a", _FALLBACK: "+a"}  # with a unary +, SQLite uses no index of the column


_PORT, _ANY_PORT = "port = :port", "exact = 0"


_OF_FALLBACK = {_PORT: "port = :port", _ANY_PORT: "port >= 0"}


def _is_valid(a: str, port: str) -> str:
    return f"""{a}.{port} AND {a}.strength <= :strength
    AND ({a}.expires_at IS NULL OR {a}.expires_at > :now)"""


def _some(of: str, port: str) -> str:
    """Write the query for a few trunks with an address that admits the source, one row each."""
    return f"""
    SELECT * FROM (
        SELECT NULL, 0, '', {_TRUNK}, {_ADDRESS}
        FROM {of.format(port=_OF_FALLBACK[port])} CROSS JOIN trunk t ON t.id = a.trunk_id
        WHERE {_is_valid(_A[of], port)} AND t.enabled AND NOT EXISTS (
            SELECT 1 FROM {_THERE} k CROSS JOIN address b
            ON b.trunk_id = a.trunk_id AND b.ip = k.ip AND b.rowid < a.rowid
            WHERE {_is_valid("+b", port)}
        ) LIMIT :others
    )"""


_OTHERS = " UNION ALL ".join(
    _some(of, port) for of in (_ANY_TRUNK, _FALLBACK) for port in (_PORT, _ANY_PORT)
)


TRUNK_AT = f"""
SELECT {_ADDRESS} FROM {_THERE} h CROSS JOIN address a ON a.trunk_id = :id AND a.ip = h.ip
"""
"""The addresses of one trunk that hold an ip; `at` makes the parameters."""


ADMITS_IP = f"""
SELECT 1 FROM {_ANY_TRUNK} WHERE a.expires_at IS NULL OR a.expires_at > :now LIMIT 1"""
"""Whether any trunk has a valid address at the ip, for any port and transport."""


TRUNK_ID = 3
"""The column of the trunk's id in the rows that `decide` and `gather` fetch."""


ADDRESS_AT = 11
"""The first column of its address. All columns of the address are None if it has none there."""


Row = tuple[Any, ...]


def without_address(row: Row) -> Row:
    """Return the row without its address: the trunk is then named, but no candidate."""
    return row[:ADDRESS_AT] + (None,) * (len(row) - ADDRESS_AT)


Fetch = Callable[[str, dict[str, Any]], list[Row]]
"""Runs one SELECT with its parameters, and returns all rows. The caller ensures that all rows for
one decision come from one state of the directory."""


def decide_by_name(
    request: Request, now: float, fetch: Fetch
) -> tuple[Identified, Evidence] | None:
    """Identify a request that names its trunk, with one query; return None for any other request.

    Other trunks at its address do not matter then, and are not read. The query finds all trunks
    that the request names, also those without an address there.
    """
    evidence = _evidence(request, fetch(_naming(request), _asked(request, now, OTHERS)))
    decision = identify(request, evidence, now)
    if isinstance(decision, Identified) and decision.rule in NAMING:
        return decision, evidence
    return None


def decide(request: Request, now: float, fetch: Fetch) -> tuple[Decision, Evidence]:
    """Identify a request, and return the decision with its evidence."""
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
    """Return the evidence for `request` at `now`.

    `others` bounds the candidates that the request does not name; at least two. The decision only
    depends on whether there are none, one or several.
    """
    asked = _asked(request, now, others)
    return _evidence(request, fetch(_naming(request), asked) + fetch(_OTHERS, asked))


def at(trunk_id: str, source: TransportAddress) -> dict[str, Any]:
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
        "strength": source.transport.strength,
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
        e164s[named] = e164 and e164 + named[0][len(spelling.removesuffix(PREFIX_END)) :]
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
    """Return whether a number begins a prefix of its trunk, or is listed beside a prefix of it."""
    return number + PREFIX_END in owning or (len(owning) > 1 and number in owning)
