"""Which trunks get a user's call, and in which order.

1. An emergency number: the trunks of `Emergency`.
2. The first route that holds decides, if it has a trunk that the user may use, or none at all.
   A route without trunks bars its numbers. A route gives a user no further trunk.
3. Without a route: the user's trunks.

A trunk that is not registered gets no call. A trunk that failed lately is tried after the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from whence.core.outbound.health import HEALTHY, Health
from whence.core.outbound.limits import NO_CALLS, Counts, LimitReason, trunk_limit, user_limit
from whence.core.outbound.model import TRY_S, OutboundTrunk, OutboundUser, Route, Routing
from whence.core.outbound.numbers import Called


class TrunkStatus(NamedTuple):
    """What the edge knows of a trunk at the time of a call."""

    trunk: OutboundTrunk
    registered: bool
    """Whether it is enabled, and its registrar granted a registration that is still valid."""
    health: Health = HEALTHY
    counts: Counts = NO_CALLS


class Standing(StrEnum):
    """Why a trunk gets a call, or does not get it."""

    READY = "ready"
    FAILED_LATELY = "failed_lately"
    """It is tried after the others."""
    NOT_REGISTERED = "not_registered"
    UNKNOWN = "unknown"
    """It is disabled, or the directory does not have it."""
    NUMBER_NOT_WRITABLE = "number_not_writable"
    """The number has no country, and would be another one in the country of the trunk."""
    NUMBER_NOT_ALLOWED = "number_not_allowed"
    CONCURRENT_CALLS = "concurrent_calls"
    CALLS_PER_MINUTE = "calls_per_minute"


class RefusalReason(StrEnum):
    """Why no trunk gets a call."""

    NO_TRUNKS = "no_trunks"
    """The user may call users only."""
    BARRED = "barred"
    """A route without trunks holds for the number."""
    NO_TRUNK_READY = "no_trunk_ready"
    NUMBER_NOT_ALLOWED = "number_not_allowed"
    CONCURRENT_CALLS = "concurrent_calls"
    CALLS_PER_MINUTE = "calls_per_minute"


class Refusal(NamedTuple):
    """The answer to a call that no trunk gets."""

    reason: RefusalReason
    status: int
    phrase: str


REFUSALS = {
    RefusalReason.NO_TRUNKS: (403, "Forbidden"),
    RefusalReason.BARRED: (403, "Forbidden"),
    RefusalReason.NUMBER_NOT_ALLOWED: (403, "Forbidden"),
    RefusalReason.CONCURRENT_CALLS: (486, "Busy Here"),
    RefusalReason.CALLS_PER_MINUTE: (480, "Temporarily Unavailable"),
    RefusalReason.NO_TRUNK_READY: (480, "Temporarily Unavailable"),
}
"""The status and phrase of the answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The trunks of a call, in the order in which the edge tries them."""

    trunks: tuple[OutboundTrunk, ...] = ()
    refusal: Refusal | None = None
    """Set where no trunk gets the call."""
    try_s: float = TRY_S
    route: int | None = None
    """The index of the route that decided; None: the user's own trunks."""
    considered: tuple[tuple[str, Standing], ...] = ()
    """The id of each trunk of the list, and its standing, in the order of the list."""


def plan_call(
    called: Called,
    user: OutboundUser,
    routing: Routing,
    status: Mapping[str, TrunkStatus],
    now: float,
    counts: Counts = NO_CALLS,
) -> Plan:
    """Return the trunks for a user's call to a number.

    `status`: of the trunks that the directory has, by id; `candidates` returns the ids that are
    needed. `counts`: the calls of this user.
    """
    limit = user_limit(user.limits, counts, called)
    if limit is not None:
        return Plan(refusal=_refusal(RefusalReason(limit)))
    if called.emergency:
        return _choose(called, routing.emergency.trunks, status, now, TRY_S, None)
    index = _route(called.number, user, routing.routes)
    if index is None:
        return _choose(called, user.trunks, status, now, TRY_S, None)
    route = routing.routes[index]
    if not route.trunks:
        return Plan(refusal=_refusal(RefusalReason.BARRED), route=index)
    return _choose(called, _permitted(route, user), status, now, route.try_s, index)


def candidates(called: Called, user: OutboundUser, routing: Routing) -> tuple[str, ...]:
    """Return the ids of the trunks that a call may use, in their order, before their status."""
    if called.emergency:
        return routing.emergency.trunks
    index = _route(called.number, user, routing.routes)
    return user.trunks if index is None else _permitted(routing.routes[index], user)


def _route(number: str, user: OutboundUser, routes: tuple[Route, ...]) -> int | None:
    """Return the index of the first route that holds for a user who may use one of its trunks."""
    for index, route in enumerate(routes):
        if route.fits(number, user.name) and (not route.trunks or _permitted(route, user)):
            return index
    return None


def _permitted(route: Route, user: OutboundUser) -> tuple[str, ...]:
    return tuple(id_ for id_ in route.trunks if id_ in user.trunks)


def _choose(
    called: Called,
    ids: tuple[str, ...],
    status: Mapping[str, TrunkStatus],
    now: float,
    try_s: float,
    route: int | None,
) -> Plan:
    considered = tuple((id_, _standing(called, status.get(id_), now)) for id_ in ids)
    ordered = [
        status[id_].trunk
        for wanted in (Standing.READY, Standing.FAILED_LATELY)
        for id_, standing in considered
        if standing is wanted
    ]
    reason = RefusalReason.NO_TRUNK_READY if ids else RefusalReason.NO_TRUNKS
    refusal = None if ordered else _refusal(reason)
    return Plan(tuple(ordered), refusal, try_s, route, considered)


def _standing(called: Called, status: TrunkStatus | None, now: float) -> Standing:
    if status is None:
        return Standing.UNKNOWN
    trunk = status.trunk
    if not status.registered:
        return Standing.NOT_REGISTERED
    limit: LimitReason | None = trunk_limit(trunk.limits, status.counts, called)
    if limit is not None:
        return Standing(limit)
    has_country = called.number.startswith("+") or called.emergency
    if not has_country and trunk.plan.write(called.number, trunk.number_format) is None:
        return Standing.NUMBER_NOT_WRITABLE
    return Standing.FAILED_LATELY if status.health.is_failing(now) else Standing.READY


def _refusal(reason: RefusalReason) -> Refusal:
    return Refusal(reason, *REFUSALS[reason])
