"""Rows of the directory: the rows that a reload installs, and conversions to core values."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from whence.core.identification.address import Address, ManagedBy, Origin
from whence.core.outbound.model import OutboundUser
from whence.core.registration.backoff import Failure
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.registration.nonces import NonceCounts
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_network
from whence.store.outbound import NO_OUTBOUND, OutboundRows
from whence.store.schema import LEARN_FROM_KEY


@dataclass(frozen=True, slots=True)
class NumberRow:
    """One spelling of a trunk's number, or of its account."""

    spelling: str
    of_account: bool
    e164: str
    """Empty: unknown."""


@dataclass(frozen=True, slots=True)
class TrunkRow:
    """One trunk of the file, with its numbers and pinned addresses."""

    id: str
    aor_user: str
    target: str
    unmatched: Literal["accept", "refuse"]
    fallback: bool
    enabled: bool
    fingerprint: str
    """The fingerprint of its credentials: sixteen bits, other ones for most other credentials."""
    number_headers: tuple[str, ...]
    number_format: str
    """`Style` as text; empty: as sent."""
    match_port: bool
    """Whether its learned addresses admit only their own port."""
    learns_from_any: bool
    numbers: tuple[NumberRow, ...]
    pinned: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class UserRow:
    """One local user."""

    name: str
    domain: str
    md5: Secret
    """HA1, in hex."""
    sha256: Secret | None = None
    """The same with SHA-256."""
    caller: OutboundUser | None = None
    """Its settings as a caller; None: the defaults."""


@dataclass(frozen=True, slots=True)
class DirectoryRows:
    """All rows that one transaction installs.

    They replace all numbers, users and pins of the previous file.
    """

    trunks: Iterable[TrunkRow]
    """Read once, inside the transaction, because there may be a hundred thousand."""
    users: Collection[UserRow] = ()
    removed: Collection[str] = ()
    """Ids of trunks to delete."""
    replaced: Collection[str] = ()
    """Ids of trunks that lose their registration and its addresses. The trunk is removed, or has
    another account now."""
    number_headers: Collection[str] = ()
    """All headers of the trunks' `number_headers`, without those that are always read."""
    outbound: OutboundRows = NO_OUTBOUND


def learns_from_any(meta: str, trunk_id: str) -> bool:
    """Return whether a drop-in's trunk learns from any address.

    `meta`: the value of `LEARN_FROM_KEY`. Raises ValueError if it has another form.
    """
    stored = json.loads(meta or "{}")
    if not isinstance(stored, dict):
        raise ValueError(f"{LEARN_FROM_KEY} is no table")  # noqa: TRY004 - of the directory
    return bool(stored.get(trunk_id, stored.get("", "asked")) == "any")


def _text(word: StrEnum | None) -> str | None:
    """Return a word as SQLite takes it: for a value of a subclass it would look for an adapter."""
    return None if word is None else str(word)


def row_of(trunk_id: str, address: Address) -> tuple[Any, ...]:
    """Make the parameters of `PUT_ADDRESS`."""
    a = address
    place = (str(a.ip), a.port, str(a.transport), str(a.origin), a.socket)
    rest = (
        a.learned_at,
        a.expires_at,
        int(a.exact),
        a.note,
        str(a.managed_by or ""),
        str(a.ground),
    )
    return (trunk_id, *place, *rest, a.transport.strength)


def address_of(row: Sequence[Any]) -> Address:
    """Make an address of its columns; those behind `exact` may be missing."""
    ip, port, transport, origin, socket, learned_at, expires_at, exact, *rest = row
    note, managed_by, ground = rest or ("", "", "")
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
        ManagedBy(managed_by) if managed_by else None,
        ground,
    )


def event_row(trunk_id: str, at: float, event: HistoryEvent) -> tuple[Any, ...]:
    """Make the parameters of `PUT_EVENT`."""
    return trunk_id, at, str(event.what), event.message, event.status, _text(event.reason)


def event_of(row: Sequence[Any]) -> HistoryEvent:
    """Make an event of the columns `_EVENT` in statements.py."""
    what, message, status, reason = row
    return HistoryEvent(EventKind(what), message, status, _reason(reason))


def _reason(code: str | None) -> RegistrationReason | None:
    return RegistrationReason(code) if code is not None else None


def registration_row(account: AccountKey, registration: Registration) -> tuple[Any, ...]:
    """Make the parameters of `PUT_REGISTRATION`."""
    r = registration
    return (
        r.trunk_id,
        account.aor,
        account.server,
        r.call_id,
        r.cseq,
        str(r.state),
        r.since,
        r.granted_s,
        r.expires_at,
        r.registered_at,
        r.next_at,
        str(r.registrar) if r.registrar else None,
        str(r.home) if r.home else None,
        int(r.suspended),
        r.failures,
        _text(r.failure),
        r.last_status,
        r.last_phrase,
        _text(r.reason),
        r.message,
        r.learned_until,
        str(r.unexpected) if r.unexpected else None,
        r.nonce_counts.text,
        " ".join(map(repr, r.auth_rejections)),
    )


def registration_of(row: Sequence[Any]) -> tuple[AccountKey, Registration]:
    """Make (account, registration) of a row of `REGISTRATIONS`."""
    (trunk_id, aor, server, call_id, cseq, state, since, granted_s, expires_at) = row[:9]
    registered_at, next_at, registrar, home, suspended, failures, failure = row[9:16]
    last_status, last_phrase, reason, message, learned_until, unexpected = row[16:22]
    nonces, auth_rejections = row[22:]
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
        registrar=TransportAddress.parse(registrar) if registrar else None,
        home=TransportAddress.parse(home) if home else None,
        suspended=bool(suspended),
        failures=failures,
        failure=Failure(failure) if failure else None,
        last_status=last_status,
        last_phrase=last_phrase,
        reason=_reason(reason),
        message=message,
        learned_until=learned_until,
        unexpected=TransportAddress.parse(unexpected) if unexpected else None,
        nonce_counts=NonceCounts(nonces),
        auth_rejections=tuple(map(float, auth_rejections.split())),
    )
