"""What of a registration's life is worth keeping: the history of one trunk.

A refresh that changes nothing is no event. Each failure is one, also the tenth of its kind. What an
event says is what the registration says: states, answers and reasons, never a secret.
"""

from __future__ import annotations

from dataclasses import dataclass

from whence.core.registration import Event as Fact
from whence.core.registration import Lapsed, Registration, Silent, State, TakeBack, Want

LIMIT = 50
"""How many events of one trunk are kept."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a trunk. `status`: the answer that it came of, where one did."""

    what: str
    reason: str
    status: int | None = None


def said(registration: Registration) -> str:
    """Say how a registration stands: what is said again is no news. Empty while an attempt runs."""
    r = registration
    if r.state.under_way or r.state is State.NEW:
        return ""
    by = f" by {r.registrar}" if r.state is State.REGISTERED else ""
    return f"{r.state}{by}: {r.reason}"


def events(before: Registration, after: Registration, fact: Fact, told: str) -> tuple[Event, ...]:
    """Tell what one step is worth keeping. `told`: what was `said` last."""
    found = []
    if isinstance(fact, Want):
        found.append(Event("wanted", "to be registered now"))
    elif isinstance(fact, TakeBack) and fact.held:
        found.append(Event("held", "taken back by the operator"))
    elif isinstance(fact, Silent) and before.next_at != after.next_at:
        found.append(Event("silent", "keep-alives are unanswered: the refresh is brought forward"))
    elif isinstance(fact, Lapsed) and before.expires_at != after.expires_at:
        found.append(Event("lapsed", "what was granted ended without a refresh"))
    now = said(after)
    failed = after.failure is not None and now != "" and said(before) == ""
    moved = None not in (before.registrar, after.registrar) and before.registrar != after.registrar
    if now and moved:
        reason = f"{after.reason} by {after.registrar}, before by {before.registrar}"
        found.append(Event("moved", reason, after.last_status))
    elif now and (now != told or failed):
        by = f" by {after.registrar}" if after.state is State.REGISTERED else ""
        found.append(Event(after.state, f"{after.reason}{by}", after.last_status))
    return tuple(found)
