"""What of a registration's life is kept, and what is no event."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whence.core.registration.backoff import Failure
from whence.core.registration.events import Due, Expired, Pause, RegisterNow, Unanswered, Unregister
from whence.core.registration.history import (
    EventKind,
    HistoryEvent,
    events,
    sentence,
    standing,
    tracked_events,
)
from whence.core.registration.model import PendingRegister, Registration, State
from whence.core.registration.reason import RegistrationReason as Code
from whence.core.registration.reason import Why
from whence.core.sip.transport_address import TransportAddress

HOME = TransportAddress.parse("udp:192.0.2.1:5060")
REGISTERED = Registration(
    "acme",
    "call-1",
    state=State.REGISTERED,
    registrar=HOME,
    granted_s=60,
    expires_at=100.0,
    reason=Code.GRANTED,
    message="granted 60 s",
    last_status=200,
)
REFRESHING = replace(
    REGISTERED,
    state=State.REGISTERING,
    in_flight=PendingRegister(TransportAddress.parse("udp:192.0.2.1:5060"), 60),
)
REFUSED = replace(
    REGISTERED,
    state=State.WAITING,
    failure=Failure.REFUSED,
    failures=1,
    last_status=403,
    last_phrase="No",
    reason=Code.REJECTED,
    message="403 No",
)
REPLY = Unanswered()
"""It does not matter which: the step has been taken."""


def test_a_first_grant_is_an_event_with_who_granted() -> None:
    assert events(REFRESHING, REGISTERED, REPLY, None) == (
        HistoryEvent(
            EventKind.REGISTERED,
            "granted 60 s by udp:192.0.2.1:5060",
            200,
            Code.GRANTED,
        ),
    )


def test_a_refresh_that_changes_nothing_is_none() -> None:
    assert (
        events(
            REGISTERED,
            REFRESHING,
            Due((), Why(Code.NO_ADDRESS, "no address")),
            standing(REGISTERED),
        )
        == ()
    )
    assert events(REFRESHING, REGISTERED, REPLY, standing(REGISTERED)) == ()


def test_a_refresh_by_another_server_or_for_another_time_is_one() -> None:
    moved = replace(REGISTERED, registrar=TransportAddress.parse("udp:192.0.2.2:5060"))
    (event,) = events(REFRESHING, moved, REPLY, standing(REGISTERED))
    assert (event.what, event.reason) == (EventKind.REGISTRAR_CHANGED, Code.GRANTED)
    assert event.message == "granted 60 s by udp:192.0.2.2:5060, before by udp:192.0.2.1:5060"
    shorter = replace(REGISTERED, granted_s=30, message="granted 30 s")
    assert len(events(REFRESHING, shorter, REPLY, standing(REGISTERED))) == 1


def test_each_failure_is_one_also_where_it_is_the_same_again() -> None:
    refused = HistoryEvent(EventKind.WAITING, "403 No", 403, Code.REJECTED)
    assert events(REFRESHING, REFUSED, REPLY, standing(REGISTERED)) == (refused,)
    assert events(REFRESHING, REFUSED, REPLY, standing(REFUSED)) == (refused,)


@pytest.mark.parametrize(
    ("fact", "what"),
    [(RegisterNow(), "register_requested"), (Unregister((), suspended=True), "suspended")],
)
def test_what_the_operator_orders_is_one(fact: RegisterNow | Unregister, what: str) -> None:
    assert [e.what for e in events(REGISTERED, REGISTERED, fact, standing(REGISTERED))] == [what]


def test_being_paused_is_told_as_the_state_it_is() -> None:
    paused = replace(REGISTERED, state=State.PAUSED, reason=Code.PAUSED_BY_OPERATOR)
    (event,) = events(REGISTERED, paused, Pause(), standing(REGISTERED))
    assert (event.what, event.reason) == (EventKind.PAUSED, Code.PAUSED_BY_OPERATOR)


def test_a_lapse_is_one_and_a_grant_that_still_stands_is_none() -> None:
    gone = replace(REFUSED, expires_at=None)
    assert [e.what for e in events(REFUSED, gone, Expired(), standing(REFUSED))] == ["expired"]
    assert events(REFUSED, REFUSED, Expired(), standing(REFUSED)) == ()


def test_another_wording_is_no_news() -> None:
    reworded = replace(REGISTERED, message="granted for 60 s")
    assert events(REFRESHING, reworded, REPLY, standing(REGISTERED)) == ()


def test_another_answer_that_makes_it_wait_is_news() -> None:
    assert standing(replace(REFUSED, last_status=404)) != standing(REFUSED)
    assert standing(replace(REFUSED, last_phrase="Never")) != standing(REFUSED)


def test_a_standing_is_told_to_people_in_a_sentence() -> None:
    assert sentence(REGISTERED) == "registered by udp:192.0.2.1:5060: granted 60 s"
    assert sentence(REFUSED) == "waiting: 403 No"


# Of a registration that another one keeps.


def test_a_first_grant_and_one_after_a_lapse_are_news_and_a_refresh_is_not() -> None:
    granted = replace(REGISTERED, expires_at=100.0)
    (first,) = tracked_events(None, granted, 1.0)
    assert first.what == "registered"
    assert tracked_events(granted, replace(granted, expires_at=200.0), 50.0) == ()
    (after_a_lapse,) = tracked_events(granted, replace(granted, expires_at=200.0), 150.0)
    assert after_a_lapse.what == "registered"


def test_another_server_and_each_failure_are_news() -> None:
    granted = replace(REGISTERED, expires_at=100.0)
    moved = replace(granted, registrar=TransportAddress.parse("udp:192.0.2.2:5060"))
    assert [event.what for event in tracked_events(granted, moved, 50.0)] == ["registrar_changed"]
    failing = replace(granted, state=State.WAITING, failures=2, reason=Code.SERVER_FAILED)
    assert [event.what for event in tracked_events(failing, failing, 50.0)] == ["waiting"]
