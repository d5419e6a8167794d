"""The rows for users' calls through trunks: users, trunks with credentials, routes.

The agent writes them with `install`. The edge reads them with the functions of `DirectoryReader`.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from whence.core.outbound.encryption import decrypt, encrypt
from whence.core.outbound.health import HEALTHY, Health
from whence.core.outbound.limits import NO_CALLS, Counts
from whence.core.outbound.model import (
    NO_ROUTING,
    ContactForm,
    Emergency,
    FromUser,
    Limits,
    NumberHeader,
    OutboundTrunk,
    OutboundUser,
    Route,
    Routing,
)
from whence.core.outbound.numbers import DialPlan, NumberFormat
from whence.core.outbound.selection import TrunkStatus
from whence.core.sip.digest import Credentials
from whence.core.sip.phone_number import Style
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.store import schema

_USER = """
SELECT u.md5, u.sha256, u.name, c.trunks, c.caller_number, c.caller_numbers, c.anonymous, c.limits
FROM user u LEFT JOIN caller c ON c.name = u.name AND c.domain = u.domain
WHERE u.name = ? AND u.domain = ?"""
_ROUTES = "SELECT prefix, pattern, trunks, users, try_s FROM route ORDER BY position"
_TRUNK = (
    "trunk_id, account, domain, port, numbers, plan, number_format, from_user, number_header,"
    " diversion, contact, limits, tls_name, credentials"
)

_TRUNK_COLUMNS = len(_TRUNK.split(","))

_IS_NEW_HOME = """
SELECT 1 FROM trunk t LEFT JOIN home h ON h.trunk_id = t.id
WHERE t.id = ?1 AND (h.server, h.socket, h.contact) IS NOT (?2, ?3, ?4)"""

_PUT_HOME = "INSERT OR REPLACE INTO home VALUES (?, ?, ?, ?)"

_KIND = "s"
"""The kind of an encrypted value: the credentials of a trunk."""

_CREDENTIALS_LIMIT = 1_048_576
"""The longest encrypted credentials, in characters."""


@dataclass(frozen=True, slots=True)
class LocalUser:
    """A local user: the hashes for its digests, and its settings as a caller."""

    md5: Secret
    """HA1, in hex."""
    sha256: Secret | None
    """The same with SHA-256; None: the operator gave only the hash with MD5."""
    caller: OutboundUser


@dataclass(frozen=True, slots=True)
class OutboundTrunkRow:
    """A trunk for users' calls, as a reload installs it."""

    trunk: OutboundTrunk
    credentials: Credentials
    tls_name: str


@dataclass(frozen=True, slots=True)
class OutboundRows:
    """All rows for users' calls. They replace those of the previous file."""

    routing: Routing = NO_ROUTING
    trunks: Collection[OutboundTrunkRow] = ()


NO_OUTBOUND = OutboundRows()
"""No user may call a number."""


@dataclass(frozen=True, slots=True)
class TrunkAccess:
    """What the edge needs to send a call to a trunk."""

    trunk: OutboundTrunk
    credentials: Credentials
    """For its challenges. Without the key of the directory they answer none."""
    tls_name: str
    """The name that the certificate of its server needs, over TLS."""
    home: TransportAddress | None
    """The server that granted the last registration. None: the trunk never registered."""
    socket: TransportAddress | None
    """Our socket that the provider knows. None where `home` is None."""
    contact: Uri | None
    """The registered Contact. None where `home` is None."""
    expires_at: float | None
    """When the registration ends, in seconds since the epoch. None: it is not registered.

    A grant by a source that may not be learned does not count: it may be forged.
    """

    def is_registered(self, now: float) -> bool:
        """Return whether a registration is valid, so that the trunk may get calls."""
        return self.home is not None and self.expires_at is not None and now < self.expires_at

    def status(
        self,
        now: float,
        health: Health = HEALTHY,
        counts: Counts = NO_CALLS,
        *,
        emergency: bool = False,
    ) -> TrunkStatus:
        """Return its status for `plan_call`. An emergency call needs no valid registration."""
        is_ready = self.home is not None if emergency else self.is_registered(now)
        return TrunkStatus(self.trunk, is_ready, health, counts)


# Writing.


def install(db: sqlite3.Connection, rows: OutboundRows, key: str) -> None:
    """Replace trunks, routes and emergency numbers, inside the caller's transaction.

    `key`: encrypts the credentials. The rows of `trunk` are written before.
    """
    db.execute("DELETE FROM outbound_trunk")
    values = ", ".join("?" * _TRUNK_COLUMNS)
    db.executemany(
        f"INSERT INTO outbound_trunk ({_TRUNK}) VALUES ({values})",
        (_trunk_row(row, key) for row in rows.trunks),
    )
    db.execute("DELETE FROM route")
    db.executemany(
        "INSERT INTO route (position, prefix, pattern, trunks, users, try_s)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(at, *_route_row(route)) for at, route in enumerate(rows.routing.routes)],
    )
    emergency = rows.routing.emergency
    for name, value in (
        (schema.EMERGENCY_NUMBERS_KEY, " ".join(sorted(emergency.numbers))),
        (schema.EMERGENCY_TRUNKS_KEY, " ".join(emergency.trunks)),
        (schema.DIAL_PLAN_KEY, _plan_text(rows.routing.plan)),
    ):
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def install_callers(db: sqlite3.Connection, callers: Iterable[tuple[str, OutboundUser]]) -> None:
    """Replace the settings of users as callers. `callers`: (domain, user); defaults need no row."""
    db.execute("DELETE FROM caller")
    db.executemany(
        "INSERT INTO caller VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                user.name,
                domain,
                " ".join(user.trunks),
                user.caller_number,
                " ".join(user.caller_numbers),
                user.anonymous,
                _limits_text(user.limits),
            )
            for domain, user in callers
            if user != OutboundUser(user.name)
        ],
    )


class Home(NamedTuple):
    """Where a trunk is registered by a grant."""

    trunk_id: str
    server: str
    """The next hop of the REGISTER, as text."""
    socket: str
    """Our socket that sent it."""
    contact: str
    """The URI in its Contact."""


def is_new_home(db: sqlite3.Connection, home: Home) -> bool:
    """Return whether a grant changes where a trunk's calls are sent, or their Contact."""
    return db.execute(_IS_NEW_HOME, home).fetchone() is not None


def put_home(db: sqlite3.Connection, home: Home) -> None:
    """Write where a trunk is registered now, if that changed."""
    if is_new_home(db, home):
        db.execute(_PUT_HOME, home)


def _trunk_row(row: OutboundTrunkRow, key: str) -> tuple[Any, ...]:
    trunk = row.trunk
    return (
        trunk.id,
        trunk.account,
        trunk.domain,
        trunk.port,
        " ".join(trunk.numbers),
        _plan_text(trunk.plan),
        str(trunk.number_format),
        str(trunk.from_user),
        str(trunk.number_header),
        trunk.diversion,
        str(trunk.contact),
        _limits_text(trunk.limits),
        row.tls_name,
        _encrypted(row.credentials, key, trunk.id),
    )


def _route_row(route: Route) -> tuple[Any, ...]:
    pattern = route.pattern.pattern if route.pattern is not None else ""
    users = " ".join(sorted(route.users))
    return route.prefix, pattern, " ".join(route.trunks), users, route.try_s


def _encrypted(credentials: Credentials, key: str, trunk_id: str) -> str:
    one = credentials
    password = one.password.reveal() if one.password is not None else None
    content = [one.user, one.realm, password, {name: ha1.reveal() for name, ha1 in one.ha1}]
    return encrypt(key, _KIND, (trunk_id,), json.dumps(content).encode())


def _plan_text(plan: DialPlan) -> str:
    return " ".join([str(plan.style), *map(str, plan.lengths)])


def _limits_text(limits: Limits) -> str:
    numbers = (limits.concurrent, limits.per_minute, limits.duration_s)
    return " ".join([*map(str, numbers), *limits.prefixes])


# Reading. `fetch` runs one SELECT with its parameters, and returns all rows.


Fetch = Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]


def read_user(fetch: Fetch, name: str, domain: str) -> LocalUser | None:
    """Return a local user; None if there is no such user."""
    rows = fetch(_USER, (name, domain))
    return _user(rows[0]) if rows else None


def read_routing(fetch: Fetch) -> Routing:
    """Return all rules for users' calls."""
    routes = tuple(_route(*row) for row in fetch(_ROUTES, ()))

    def meta(key: str) -> str:
        rows = fetch(schema.META, (key,))
        return str(rows[0][0]) if rows else ""

    numbers, trunks = meta(schema.EMERGENCY_NUMBERS_KEY), meta(schema.EMERGENCY_TRUNKS_KEY)
    emergency = Emergency(frozenset(numbers.split()), tuple(trunks.split()))
    return Routing(routes, emergency, _plan(meta(schema.DIAL_PLAN_KEY)))


def read_access(fetch: Fetch, ids: Sequence[str], key: str) -> list[TrunkAccess]:
    """Return the trunks with these ids. `key`: that of the credentials; empty: unknown."""
    return [_access(row, key) for row in fetch(_trunks_query(len(ids)), tuple(ids))] if ids else []


@lru_cache(maxsize=32)
def _trunks_query(count: int) -> str:
    of_trunk = ", ".join(f"o.{name.strip()}" for name in _TRUNK.split(","))
    return f"""
    SELECT {of_trunk}, h.server, h.socket, h.contact,
    CASE WHEN r.suspended = 0 THEN min(r.expires_at, r.learned_until) END
    FROM outbound_trunk o LEFT JOIN home h ON h.trunk_id = o.trunk_id
    LEFT JOIN registration r ON r.trunk_id = o.trunk_id
    WHERE o.trunk_id IN ({", ".join("?" * count)})"""


def _user(row: Sequence[Any]) -> LocalUser:
    md5, sha256, name, trunks, number, numbers, anonymous, limits = row
    caller = OutboundUser(name)
    if trunks is not None:
        caller = _caller(name, trunks, number, numbers, bool(anonymous), limits)
    return LocalUser(Secret(md5), Secret(sha256) if sha256 else None, caller)


def _access(row: Sequence[Any], key: str) -> TrunkAccess:
    *columns, tls_name, credentials = row[:_TRUNK_COLUMNS]
    home, socket, contact, expires_at = row[_TRUNK_COLUMNS:]
    trunk = _trunk(*columns)
    return TrunkAccess(
        trunk,
        _credentials(key, trunk.id, credentials) or NO_CREDENTIALS,
        tls_name,
        *_places(home, socket, contact),
        expires_at,
    )


@lru_cache(maxsize=1024)
def _places(
    home: str | None, socket: str | None, contact: str | None
) -> tuple[TransportAddress | None, TransportAddress | None, Uri | None]:
    if home is None or socket is None or contact is None:
        return None, None, None
    return TransportAddress.parse(home), TransportAddress.parse(socket), Uri.parse(contact)


NO_CREDENTIALS = Credentials("")
"""They answer no challenge."""


@lru_cache(maxsize=4096)
def _caller(
    name: str, trunks: str, number: str, numbers: str, anonymous: bool, limits: str
) -> OutboundUser:
    return OutboundUser(
        name, tuple(trunks.split()), number, tuple(numbers.split()), anonymous, _limits(limits)
    )


@lru_cache(maxsize=1024)
def _trunk(
    trunk_id: str,
    account: str,
    domain: str,
    port: int | None,
    numbers: str,
    plan: str,
    number_format: str,
    from_user: str,
    number_header: str,
    diversion: int,
    contact: str,
    limits: str,
) -> OutboundTrunk:
    return OutboundTrunk(
        trunk_id,
        account,
        domain,
        port,
        tuple(numbers.split()),
        _plan(plan),
        NumberFormat(number_format),
        FromUser(from_user),
        NumberHeader(number_header),
        bool(diversion),
        ContactForm(contact),
        _limits(limits),
    )


@lru_cache(maxsize=1024)
def _credentials(key: str, trunk_id: str, value: str) -> Credentials | None:
    content = decrypt(key, _KIND, (trunk_id,), value, _CREDENTIALS_LIMIT)
    if content is None:
        return None
    user, realm, password, ha1 = json.loads(content)
    return Credentials(
        user,
        Secret(password) if password is not None else None,
        tuple((name, Secret(digest)) for name, digest in ha1.items()),
        realm,
    )


def _route(prefix: str, pattern: str, trunks: str, users: str, try_s: float) -> Route:
    compiled = re.compile(pattern, re.ASCII) if pattern else None
    return Route(tuple(trunks.split()), prefix, compiled, frozenset(users.split()), try_s)


def _plan(text: str) -> DialPlan:
    style, *lengths = text.split(" ")
    return DialPlan(Style.parse(style), tuple(map(int, lengths)))


def _limits(text: str) -> Limits:
    concurrent, per_minute, duration_s, *prefixes = text.split()
    return Limits(int(concurrent), int(per_minute), int(duration_s), tuple(prefixes))
