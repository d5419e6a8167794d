"""Test which changes of a registration are events in its history."""

from __future__ import annotations

import pytest

from whence.core.registration.backoff import Failure
from whence.core.registration.events import Due, Expired, Pause, RegisterNow, Unanswered, Unregister
from whence.core.registration.history import (
    EventKind,
    HistoryEvent,
    events,
    log_text,
    logged_state,
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
REFRESHING = REGISTERED._replace(
    state=State.REGISTERING,
    in_flight=PendingRegister(TransportAddress.parse("udp:192.0.2.1:5060"), 60),
)
REFUSED = REGISTERED._replace(
    state=State.WAITING,
    failure=Failure.REJECTED,
    failures=1,
    last_status=403,
    last_phrase="No",
    reason=Code.REJECTED,
    message="403 No",
)
REPLY = Unanswered()
"""Any result; the events depend only on the states before and after."""


def test_first_grant_is_an_event_with_the_server() -> None:
    assert events(REFRESHING, REGISTERED, REPLY, None) == (
        HistoryEvent(
            EventKind.REGISTERED,
            "granted 60 s by udp:192.0.2.1:5060",
            200,
            Code.GRANTED,
        ),
    )


def test_refresh_without_a_change_is_no_event() -> None:
    assert (
        events(
            REGISTERED,
            REFRESHING,
            Due((), Why(Code.NO_ADDRESS, "no address")),
            logged_state(REGISTERED),
        )
        == ()
    )
    assert events(REFRESHING, REGISTERED, REPLY, logged_state(REGISTERED)) == ()


def test_refresh_by_another_server_or_time_is_an_event() -> None:
    moved = REGISTERED._replace(registrar=TransportAddress.parse("udp:192.0.2.2:5060"))
    (event,) = events(REFRESHING, moved, REPLY, logged_state(REGISTERED))
    assert (event.what, event.reason) == (EventKind.REGISTRAR_CHANGED, Code.GRANTED)
    assert event.message == "granted 60 s by udp:192.0.2.2:5060, before by udp:192.0.2.1:5060"
    shorter = REGISTERED._replace(granted_s=30, message="granted 30 s")
    assert len(events(REFRESHING, shorter, REPLY, logged_state(REGISTERED))) == 1


def test_failure_repeated_is_an_event_each_time() -> None:
    refused = HistoryEvent(EventKind.WAITING, "403 No", 403, Code.REJECTED)
    assert events(REFRESHING, REFUSED, REPLY, logged_state(REGISTERED)) == (refused,)
    assert events(REFRESHING, REFUSED, REPLY, logged_state(REFUSED)) == (refused,)


@pytest.mark.parametrize(
    ("order", "what"),
    [(RegisterNow(), "register_requested"), (Unregister((), suspended=True), "suspended")],
)
def test_operator_order_is_an_event(order: RegisterNow | Unregister, what: str) -> None:
    assert [e.what for e in events(REGISTERED, REGISTERED, order, logged_state(REGISTERED))] == [
        what
    ]


def test_pause_is_an_event_of_its_state() -> None:
    paused = REGISTERED._replace(state=State.PAUSED, reason=Code.PAUSED_BY_OPERATOR)
    (event,) = events(REGISTERED, paused, Pause(), logged_state(REGISTERED))
    assert (event.what, event.reason) == (EventKind.PAUSED, Code.PAUSED_BY_OPERATOR)


def test_expired_is_an_event_only_when_a_grant_ended() -> None:
    gone = REFUSED._replace(expires_at=None)
    assert [e.what for e in events(REFUSED, gone, Expired(), logged_state(REFUSED))] == ["expired"]
    assert events(REFUSED, REFUSED, Expired(), logged_state(REFUSED)) == ()


def test_message_reworded_is_no_event() -> None:
    reworded = REGISTERED._replace(message="granted for 60 s")
    assert events(REFRESHING, reworded, REPLY, logged_state(REGISTERED)) == ()


def test_logged_state_differs_with_another_answer() -> None:
    assert logged_state(REFUSED._replace(last_status=404)) != logged_state(REFUSED)
    assert logged_state(REFUSED._replace(last_phrase="Never")) != logged_state(REFUSED)


def test_log_text_has_state_server_and_message() -> None:
    assert log_text(REGISTERED) == "registered by udp:192.0.2.1:5060: granted 60 s"
    assert log_text(REFUSED) == "waiting: 403 No"


# Tracked registrations.


def test_tracked_events_has_grants_and_no_refresh() -> None:
    granted = REGISTERED._replace(expires_at=100.0)
    (first,) = tracked_events(None, granted, 1.0)
    assert first.what == "registered"
    assert tracked_events(granted, granted._replace(expires_at=200.0), 50.0) == ()
    (after_expiry,) = tracked_events(granted, granted._replace(expires_at=200.0), 150.0)
    assert after_expiry.what == "registered"


def test_tracked_events_has_another_server_and_failures() -> None:
    granted = REGISTERED._replace(expires_at=100.0)
    moved = granted._replace(registrar=TransportAddress.parse("udp:192.0.2.2:5060"))
    assert [event.what for event in tracked_events(granted, moved, 50.0)] == ["registrar_changed"]
    failing = granted._replace(state=State.WAITING, failures=2, reason=Code.SERVER_FAILED)
    assert [event.what for event in tracked_events(failing, failing, 50.0)] == ["waiting"]
