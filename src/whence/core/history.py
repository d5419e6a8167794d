"""What of a registration's life is worth keeping: the history of one trunk.

A refresh that changes nothing is no event. Each failure is one, also the tenth of its kind. What an
event says is what the registration says: states, answers and reasons, never a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from whence.core.registration import (
    Action,
    Fact,
    Ignore,
    Lapsed,
    Registration,
    Silent,
    State,
    TakeBack,
    Want,
)

LIMIT = 50
"""How many events of one trunk are kept."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a trunk. `status`: the answer that it came of, where one did."""

    what: str
    reason: str
    status: int | None = None


UNEXPECTED = "reply_from_unexpected_address"

LAPSED = Event("lapsed", "what was granted ended without a refresh")


def said(registration: Registration) -> str:
    """Say how a registration stands: what is said again is no news. Empty while an attempt runs."""
    r = registration
    if r.state.under_way or r.state is State.NEW:
        return ""
    return f"{r.state}{_by(r)}: {r.reason}"


def _by(r: Registration) -> str:
    """Name the server that granted; where it was not asked, the reason says who answered."""
    return f" by {r.registrar}" if r.state is State.REGISTERED and r.unexpected is None else ""


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
        found.append(LAPSED)
    now = said(after)
    failed = after.failure is not None and now != "" and said(before) == ""
    if now and (_has_moved(before, after) or now != told or failed):
        found.append(_standing(before, after))
    return tuple(found)


def heard(before: Registration | None, after: Registration, at: float) -> tuple[Event, ...]:
    """Tell what is worth keeping of a registration that another one keeps: it stood as `before`, if
    it was known, and an answer made it `after`.
    """
    if before is not None and not _has_moved(before, after):
        lapsed = before.state is State.REGISTERED and not before.granted(at)
        if not lapsed and not after.failures and said(before) == said(after):
            return ()
    return (_standing(before, after),)


def _has_moved(before: Registration, after: Registration) -> bool:
    both = before.registrar is not None and after.registrar is not None
    return both and before.registrar != after.registrar


def _standing(before: Registration | None, after: Registration) -> Event:
    """How it stands now, and where another server granted, that it is another one."""
    if before is not None and _has_moved(before, after):
        reason = f"{after.reason} by {after.registrar}, before by {before.registrar}"
        return Event("moved", reason, after.last_status)
    return Event(after.state, f"{after.reason}{_by(after)}", after.last_status)


def ignored(
    before: Registration | None, actions: Iterable[Action], status: int | None
) -> tuple[Event, ...]:
    """Return what is worth keeping of replies that taught nothing: each address once in a row.

    `status`: of the reply.
    """
    known = before.unexpected if before is not None else None
    return tuple(
        Event(
            UNEXPECTED,
            f"{a.source} answered a REGISTER that went to {a.asked}: no address is learned",
            status,
        )
        for a in actions
        if isinstance(a, Ignore) and (known is None or known.ip != a.source.ip)
    )
