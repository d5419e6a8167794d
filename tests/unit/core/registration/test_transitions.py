"""Test that the table of transitions has exactly the transitions of the machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.core.registration.trunk import (
    ACCOUNT,
    FROM_ONE,
    FROM_TWO,
    IMPOSTOR,
    NOW,
    ONE,
    OURS,
    REPLIES,
    STALE,
    TARGETS,
    TWO,
    Trunk,
    after_a_restart,
)
from whence.core.registration.events import (
    Action,
    Answered,
    ClockStepped,
    Due,
    Expired,
    KeepAliveFailed,
    MachineEvent,
    Pause,
    Randomness,
    Redirected,
    RegisterNow,
    Unanswered,
    Unregister,
)
from whence.core.registration.machine import step
from whence.core.registration.model import Registration, Reply, State, StatusClass
from whence.core.registration.transitions import (
    MEANINGS,
    TRANSITIONS,
    EventKind,
    Outcome,
    kind_of,
)
from whence.core.sip.contact import Contact
from whence.core.sip.uri import Uri

# Each transition of the machine is in the table.

RESTART = None
EVENTS = st.one_of(
    st.builds(Due, TARGETS),
    st.builds(Answered, REPLIES, st.sampled_from([FROM_ONE, FROM_ONE, FROM_TWO, IMPOSTOR])),
    st.just(Unanswered()),
    st.builds(Redirected, TARGETS),
    st.builds(Unregister, st.none() | TARGETS, st.booleans()),
    st.sampled_from([Pause(), RegisterNow(), KeepAliveFailed(), Expired(), RESTART]),
    st.builds(ClockStepped, st.sampled_from([-3600.0, 60.0])),
)
LATER_S = st.sampled_from([0.0, 0.0, 36.0, 3600.0, 8 * 86_400.0])


@settings(deadline=None)
@given(st.lists(st.tuples(EVENTS, LATER_S), max_size=30), st.integers(0, 1))
def test_transition_of_the_machine_is_in_the_table(
    story: list[tuple[MachineEvent | None, float]], late: int
) -> None:
    trunk = Trunk()
    for event, later_s in story:
        trunk.now += later_s
        if event is RESTART:
            trunk.registration = after_a_restart(trunk.registration, trunk.now)
            continue
        # `take` and `after_a_restart` look the transition up in the table.
        trunk.take(answering(event, trunk.registration.cseq - late))


def answering(event: MachineEvent, cseq: int) -> MachineEvent:
    """Return an answer with this CSeq; other events unchanged."""
    if isinstance(event, Answered):
        return event._replace(reply=event.reply._replace(cseq=cseq))
    return event


# Each entry of the table is a transition of the machine.


def test_table_entry_is_reached_by_the_machine() -> None:
    missing = {(*key, outcome) for key, outcomes in TRANSITIONS.items() for outcome in outcomes}
    for state, kind, outcome in explore():
        assert outcome in TRANSITIONS[state, kind]
        missing.discard((state, kind, outcome))
        if not missing:
            return
    assert missing == set()


def explore() -> Iterator[tuple[State, EventKind, Outcome]]:
    """Yield the transition of every event in every reachable situation, each situation once."""
    start = Registration("acme", "call-1"), NOW
    seen, todo = {situation(*start)}, deque([start])

    def visit(registration: Registration, now: float) -> None:
        if (found := situation(registration, now)) not in seen:
            seen.add(found)
            todo.append((registration, now))

    while todo:
        before, now = todo.popleft()
        for event in some_events(before):
            after, actions = step(before, event, now, ACCOUNT, Randomness(0.5, "cnonce"))
            yield before.state, kind_of(event), Outcome(after.state, classes(actions))
            visit(after, now)
        restarted = after_a_restart(before, now)
        yield before.state, EventKind.RESTART, Outcome(restarted.state)
        visit(restarted, now)
        ends = [end for end in (before.expires_at, before.learned_until) if end and end > now]
        visit(before, min(ends, default=now))


def situation(r: Registration, now: float) -> tuple[Any, ...]:
    """Return the parts of a registration that the machine uses; equal parts, equal situation."""
    request = r.in_flight
    return (
        (r.state, r.wanted, r.suspended, r.again, r.failure, r.next_at is None, r.home is None),
        (r.granted(now), r.learned(now)),
        request
        and (
            (request.expires_s == 0, bool(request.others), request.challenges),
            (request.redirected, request.following, request.lengthened),
        ),
    )


def some_events(r: Registration) -> Iterator[MachineEvent]:
    for targets in [(), (ONE,), (ONE, TWO)]:
        yield Due(targets)
        yield Unregister(targets)
    yield from (Redirected(()), Redirected((TWO,)), Unanswered())
    yield from (Unregister(None), Unregister(None, suspended=True))
    yield from (Pause(), RegisterNow(), KeepAliveFailed(), Expired(), ClockStepped(0.0))
    new_target = Contact(Uri("sip", "", "reg2.provider.example"))
    other_phone = Contact(Uri("sip", "someone", "203.0.113.1"), 60)
    for reply in [
        Reply(200, "", r.cseq, contacts=(OURS,)),
        Reply(200, "", r.cseq, contacts=(other_phone,)),
        Reply(302, "", r.cseq, contacts=(new_target,)),
        Reply(302, "", r.cseq),
        Reply(401, "", r.cseq, challenges=(STALE,)),
        Reply(401, "", r.cseq),
        Reply(403, "", r.cseq),
        Reply(423, "", r.cseq, min_expires_s=7200),
        Reply(423, "", r.cseq),
        Reply(503, "", r.cseq),
    ]:
        yield Answered(reply, FROM_ONE)
    yield Answered(Reply(200, "", r.cseq, contacts=(OURS,)), IMPOSTOR)
    yield Answered(Reply(302, "", r.cseq, contacts=(new_target,)), IMPOSTOR)


def classes(actions: tuple[Action, ...]) -> tuple[type[Action], ...]:
    return tuple(type(action) for action in actions)


# The table is complete.


def test_table_has_each_state_and_each_event() -> None:
    assert set(TRANSITIONS) == {(state, kind) for state in State for kind in EventKind}
    assert all(TRANSITIONS.values())
    assert set(MEANINGS) == set(State)


@pytest.mark.parametrize("status_class", StatusClass)
def test_status_class_is_an_event_kind(status_class: StatusClass) -> None:
    assert EventKind(f"Answered {status_class}")


@pytest.mark.parametrize(
    ("status_class", "statuses"),
    [
        (StatusClass.SUCCESS, (200, 202, 299)),
        (StatusClass.REDIRECTION, (300, 302, 399)),
        (StatusClass.CHALLENGE, (401, 407)),
        (StatusClass.INTERVAL_TOO_BRIEF, (423,)),
        (StatusClass.SERVER_FAILURE, (408, 430, 500, 503, 600, 699)),
        (StatusClass.REFUSAL, (400, 402, 403, 404, 406, 409, 422, 424, 429, 431, 499)),
    ],
)
def test_status_has_its_class(status_class: StatusClass, statuses: tuple[int, ...]) -> None:
    assert {Reply(status, "", 1).status_class for status in statuses} == {status_class}
