"""Explains decisions for people: what each step compared, the nearest trunk, what was missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from whence.core.identification.address import Address, Origin
from whence.core.identification.decision import Decision, Identified, Refused, Rule, Step
from whence.core.identification.request import Evidence, Request
from whence.core.identification.trunk import Trunk
from whence.core.sip.transport_address import IP, TransportAddress
from whence.core.text import format_duration


@dataclass(frozen=True, slots=True)
class FormerAddress:
    """An address that ended, and when it ended."""

    address: Address
    ended_at: float


@dataclass(frozen=True, slots=True)
class IgnoredReply:
    """A reply to a REGISTER from `ip`, though the next hop was `asked`: it taught no address."""

    ip: IP
    asked: str
    at: float


@dataclass(frozen=True, slots=True)
class NearbyTrunk:
    """A trunk that the request names, or that has or had to do with its source."""

    trunk_id: str
    enabled: bool
    named: tuple[str, ...] = ()
    """What names it in the request, as `number +4420…`."""
    addresses: tuple[Address, ...] = ()
    """All its addresses, also expired ones that are still stored."""
    former: tuple[FormerAddress, ...] = ()
    gone: bool = False
    """Whether it is removed from the file. Its token stays reserved for a while."""
    ignored: tuple[IgnoredReply, ...] = ()

    def has_to_do_with(self, ip: IP) -> bool:
        """Return whether it is named, or has or had an address at `ip` or a reply from there."""
        return (
            bool(self.named)
            or any(address.holds(ip) for address in self.addresses)
            or any(former.address.holds(ip) for former in self.former)
            or any(reply.ip == ip for reply in self.ignored)
        )

    def as_of(self, at: float) -> NearbyTrunk:
        """Return the trunk with the addresses, ends and replies of `at` and before only."""
        return replace(
            self,
            addresses=tuple(a for a in self.addresses if a.learned_at <= at),
            former=tuple(f for f in self.former if f.ended_at <= at),
            ignored=tuple(i for i in self.ignored if i.at <= at),
        )


class Lack(StrEnum):
    """The code of what was missing, so that a request did not belong to a trunk."""

    ADDRESS_EXPIRED = "address_expired"
    ADDRESS_REVOKED = "address_revoked"
    TRANSPORT_TOO_WEAK = "transport_too_weak"
    PORT_DIFFERS = "port_differs"
    ELSEWHERE = "elsewhere"
    """It is named, but its addresses do not admit the source."""
    NOT_REGISTERED = "not_registered"
    """It is named, but has no valid address."""
    DISABLED = "disabled"
    GONE = "gone"
    """It is removed from the file."""
    REPLY_IGNORED = "reply_ignored"
    """A reply to its REGISTER came from the source, but taught no address."""
    NOTHING_DISTINGUISHES = "nothing_distinguishes"
    """Nothing in the request names exactly one of the candidates."""


class Missing(NamedTuple):
    """One thing that was missing: its code, and a sentence."""

    code: Lack
    message: str


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest trunk of a request, and what was missing. `trunk_id` None: no trunk is near."""

    trunk_id: str | None
    missing: tuple[Missing, ...]

    def __str__(self) -> str:
        missing = "; ".join(one.message for one in self.missing)
        return f"{self.trunk_id or 'no trunk'}: {missing}"


def nearest(
    request: Request, decision: Decision, neighbours: Iterable[NearbyTrunk], now: float
) -> Nearest | None:
    """Return the nearest of the neighbours; None without one, or for an identified request."""
    if isinstance(decision, Identified):
        return None
    admitted = decision.candidates if isinstance(decision, Refused) else ()
    neighbours = list(neighbours)
    others = [one for one in neighbours if one.trunk_id not in admitted]
    # For a refused request, only trunks that it names are of interest.
    if admitted:
        others = [one for one in others if one.named]
    found = min((_judge(one, request.source, now) for one in others), default=None)
    if found is not None:
        return Nearest(found.trunk_id, found.missing)
    if admitted:
        listed = " and ".join((", ".join(admitted[:-1]), admitted[-1]))
        unlearned = [
            Missing(Lack.REPLY_IGNORED, f"{one.trunk_id}: {_ignored(reply, now).message}")
            for one in neighbours
            for reply in one.ignored
            if reply.ip == request.source.ip
        ]
        message = f"nothing in the request names exactly one of {listed}"
        return Nearest(None, (Missing(Lack.NOTHING_DISTINGUISHES, message), *unlearned))
    return None


@dataclass(frozen=True, slots=True, order=True)
class _Judged:
    """How near a trunk is: smaller is nearer. The fields are compared in this order."""

    elsewhere: bool
    how_many: int
    unnamed: bool
    ended_s: float
    trunk_id: str
    missing: tuple[Missing, ...]


def _judge(one: NearbyTrunk, source: TransportAddress, now: float) -> _Judged:
    here = [
        _missing(address, None, source, now)
        for address in one.addresses
        if address.holds(source.ip)
    ]
    here += [
        _missing(former.address, former.ended_at, source, now)
        for former in one.former
        if former.address.holds(source.ip)
    ]
    here += [
        (now - reply.at, (_ignored(reply, now),)) for reply in one.ignored if reply.ip == source.ip
    ]
    ended_s, missing = min(
        here,
        key=lambda judged: (len(judged[1]), judged[0]),
        default=(0.0, (_elsewhere(one, source, now),)),
    )
    if not one.enabled:
        belongs = f"{' and '.join(one.named)} belongs to it, but " if one.named else ""
        gone = (Lack.GONE, "gone from the file") if one.gone else (Lack.DISABLED, "disabled")
        missing = (Missing(gone[0], f"{belongs}it is {gone[1]}"),)
    return _Judged(not here, len(missing), not one.named, ended_s, one.trunk_id, missing)


def _missing(
    address: Address, ended_at: float | None, source: TransportAddress, now: float
) -> tuple[float, tuple[Missing, ...]]:
    """Return how long ago the address ended, in seconds, and what was missing."""
    missing = []
    ended_s = 0.0
    if ended_at is not None and address.expires_at != ended_at:
        ended_s = now - ended_at
        message = f"its address {address.ip} was revoked {format_duration(ended_s)} ago"
        missing.append(Missing(Lack.ADDRESS_REVOKED, message))
    elif address.expires_at is not None and not address.live(now):
        ended_s = now - address.expires_at
        message = f"its address {address.ip} expired {format_duration(ended_s)} ago"
        missing.append(Missing(Lack.ADDRESS_EXPIRED, message))
    if not address.fits_transport(source.transport):
        message = f"learned over {address.transport}, came over {source.transport}"
        if address.origin is Origin.PINNED:
            message = f"pinned over {address.transport}, came over {source.transport}"
        missing.append(Missing(Lack.TRANSPORT_TOO_WEAK, message))
    if not address.fits_port(source.port):
        message = f"its port is {address.port} (exact), came from {source.port}"
        missing.append(Missing(Lack.PORT_DIFFERS, message))
    return ended_s, tuple(missing)


def _ignored(reply: IgnoredReply, now: float) -> Missing:
    return Missing(
        Lack.REPLY_IGNORED,
        f"a reply to its REGISTER came from {reply.ip} {format_duration(now - reply.at)} ago, but"
        f" {reply.asked} was asked: no address was learned; if this is the provider's, write it"
        ' in networks, or learn_from = "any"',
    )


def _elsewhere(one: NearbyTrunk, source: TransportAddress, now: float) -> Missing:
    names = " and ".join(one.named) or "it"
    live = sorted({str(address.ip) for address in one.addresses if address.live(now)})
    if not live:
        message = f"{names} belongs to it, but it has no address now: it is not registered"
        return Missing(Lack.NOT_REGISTERED, message)
    listed = ", ".join(live[:3]) + (", …" if len(live) > 3 else "")
    message = f"{names} belongs to it, whose calls come from {listed}, not from {source.ip}"
    return Missing(Lack.ELSEWHERE, message)


def fitting(
    step: Step, source: TransportAddress, evidence: Evidence, now: float
) -> tuple[str, ...]:
    """Return the part of each trunk in `step.left` that matched, in that order; "" for none.

    `source`: the source of the request. `now`: the instant of the decision.
    """
    trunks = {trunk.id: trunk for trunk in evidence.trunks}
    return tuple(
        [_fitting_of_trunk(step, id_, trunks.get(id_), source, evidence, now) for id_ in step.left]
    )


def _fitting_of_trunk(
    step: Step,
    id_: str,
    trunk: Trunk | None,
    source: TransportAddress,
    evidence: Evidence,
    now: float,
) -> str:
    if step.rule is Rule.TOKEN:
        return "its token"
    if step.rule is Rule.NUMBER:
        owners = evidence.number_owners
        owned = [owners[str(v), id_] for v in step.values if (str(v), id_) in owners]
        return f"its {owned[0] if owned else 'account'}"
    if trunk is None:
        return ""
    if step.rule is Rule.AOR_USER:
        return f"its account {trunk.aor_user}"
    if step.rule is Rule.FALLBACK:
        return "it is a fallback"
    admitting = [one for one in trunk.addresses if one.admits(source, now)]
    if step.rule is Rule.PORT:
        admitting = [one for one in admitting if one.port == source.port]
    elif step.rule is not Rule.ADDRESS:
        return ""
    return _address_sentence(admitting[0], now) if admitting else ""


def _address_sentence(address: Address, now: float) -> str:
    port = "any port" if address.port is None else f"port {address.port}"
    exact = " (exact)" if address.exact else ""
    lasts = (
        "" if address.expires_at is None else f", {format_duration(address.expires_at - now)} more"
    )
    return f"{address.origin} {address.ip} over {address.transport}, {port}{exact}{lasts}"
