"""Doubts about the keys for users' calls: `whence check` warns of them, and the file is valid."""

from __future__ import annotations

from collections.abc import Iterator

from whence.agent.config.models import Config
from whence.agent.config.outbound import RouteConfig


def outbound_doubts(config: Config) -> Iterator[str]:
    """Yield a sentence for each doubt, with its place and remedy."""
    enabled = {trunk.id for trunk in config.trunk if trunk.enabled}
    emergency = config.outbound.emergency_trunks
    if any(user.trunks for user in config.user) and not emergency:
        yield (
            "outbound: has no emergency_numbers, so limits count for emergency calls, too; write "
            'emergency_numbers = ["112"] and emergency_trunks = ["…"]'
        )
    if emergency and enabled.isdisjoint(emergency):
        yield "outbound: emergency_trunks: all are disabled; enable one, or name another one"
    for user in config.user:
        if user.trunks and enabled.isdisjoint(user.trunks):
            yield f'user "{user.name}": trunks: all are disabled; enable one, or name another one'
    yield from _unreached_routes(config.route)


def _unreached_routes(routes: list[RouteConfig]) -> Iterator[str]:
    for at, route in enumerate(routes):
        before = next((i for i in range(at) if _precedes(routes[i], route)), None)
        if before is not None:
            what = "its numbers are not barred" if not route.trunks else "it decides nothing"
            yield (
                f"route number {at + 1}: route number {before + 1} holds for its numbers before, "
                f"so {what}; move it up, or remove it"
            )


def _precedes(first: RouteConfig, second: RouteConfig) -> bool:
    """Return whether the first route decides for numbers and users of the second one.

    A route with trunks does not hold for a user who has none of them. So it precedes another
    one with trunks only if it has all of these.
    """
    if first.regex or (second.regex and first.prefix) or not second.prefix.startswith(first.prefix):
        return False
    if first.users and not (second.users and set(second.users) <= set(first.users)):
        return False
    return not (first.trunks and second.trunks) or set(second.trunks) <= set(first.trunks)
