"""The plan of a call in sentences, for an operator."""

from __future__ import annotations

from collections.abc import Callable

from whence.core.outbound.identity import Identity
from whence.core.outbound.limits import LimitReason
from whence.core.outbound.model import OutboundTrunk, OutboundUser, Route, Routing
from whence.core.outbound.numbers import Called
from whence.core.outbound.selection import Plan, RefusalReason, Standing
from whence.core.text import summarize

_STANDINGS = {
    Standing.READY: "is ready",
    Standing.FAILED_LATELY: "failed lately, so it is tried after the others",
    Standing.NOT_REGISTERED: "is not registered, so it gets no call",
    Standing.UNKNOWN: "is disabled, or does not exist",
    Standing.NUMBER_NOT_WRITABLE: (
        "would read the number as one of its own country; write country in [edge]"
    ),
    Standing.NUMBER_NOT_ALLOWED: "has limits whose prefixes do not have the number",
    Standing.CONCURRENT_CALLS: "has as many calls as its limit concurrent_calls",
    Standing.CALLS_PER_MINUTE: "got as many calls within a minute as its limit calls_per_minute",
}

_REFUSALS = {
    RefusalReason.NO_TRUNKS: 'user "{user}" has no trunks; write trunks = ["…"] in [[user]]',
    RefusalReason.BARRED: "route number {route} has no trunks, so its numbers may not be called",
    RefusalReason.NO_TRUNK_READY: "no trunk can carry the call",
    RefusalReason.NUMBER_NOT_ALLOWED: (
        'limits of user "{user}" have no prefix of {number}; add one to prefixes'
    ),
    RefusalReason.CONCURRENT_CALLS: (
        'user "{user}" has as many calls as its limit concurrent_calls'
    ),
    RefusalReason.CALLS_PER_MINUTE: (
        'user "{user}" began as many calls within a minute as its limit calls_per_minute'
    ),
}


_LIMITS = frozenset(map(RefusalReason, LimitReason))
"""Reasons for a refusal before any route is read."""


def explain_plan(
    plan: Plan,
    called: Called,
    user: OutboundUser,
    routing: Routing,
    shown: Callable[[OutboundTrunk], Identity | None],
) -> list[str]:
    """Return the steps of a plan, each as a sentence. `shown`: what a trunk would get."""
    is_limited = plan.refusal is not None and plan.refusal.reason in _LIMITS
    steps = [] if is_limited else [_rule(plan, called, user, routing)]
    steps += [f'trunk "{id_}" {_STANDINGS[standing]}' for id_, standing in plan.considered]
    for place, trunk in enumerate(plan.trunks, 1):
        what = shown(trunk)
        if what is not None:
            further = "".join(f", {name}: {value}" for name, value in what.headers)
            steps.append(
                f'try {place}: trunk "{trunk.id}" gets {what.request_uri} from '
                f"{what.from_}{further}"
            )
    if plan.refusal is not None:
        refusal, reason = plan.refusal, refusal_message(plan, called, user)
        steps.append(f"the edge answers {refusal.status} {refusal.phrase}: {reason}")
    return steps


def refusal_message(plan: Plan, called: Called, user: OutboundUser) -> str:
    """Return why no trunk gets a call, for a plan with a refusal; else an empty text."""
    if plan.refusal is None:
        return ""
    return _REFUSALS[plan.refusal.reason].format(
        user=user.name, number=called.number, route=(plan.route or 0) + 1
    )


def standing_message(standing: Standing) -> str:
    """Return why a trunk gets a call, or gets none, as a predicate without its subject."""
    return _STANDINGS[standing]


def _rule(plan: Plan, called: Called, user: OutboundUser, routing: Routing) -> str:
    """Return which rule decides about the trunks."""
    if called.emergency:
        return f"{called.number} is an emergency number, which has its own trunks"
    if plan.route is not None:
        route = routing.routes[plan.route]
        return f"{called.number}: route number {plan.route + 1} holds{_condition(route)}"
    return f'{called.number}: no route holds, so user "{user.name}" has its own trunks'


def _condition(route: Route) -> str:
    """Return the condition of a route."""
    numbers = f"prefix {route.prefix}" if route.prefix else ""
    if route.pattern is not None:
        numbers = f"regex {route.pattern.pattern}"
    users = f"users {summarize(sorted(route.users))}" if route.users else ""
    conditions = ", ".join(filter(None, (numbers, users)))
    return f" ({conditions})" if conditions else ""
