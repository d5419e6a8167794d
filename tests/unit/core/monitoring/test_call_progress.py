"""What becomes of a call: its state, its outcome, who ended it."""

from __future__ import annotations

import pytest

from whence.core.dialogs.arrival import Arrival
from whence.core.monitoring.call_progress import (
    TRIED_LIMIT,
    CallEvent,
    CallState,
    EventKind,
    Hangup,
    Outcome,
    Progress,
    Tried,
    outcome_of,
)
from whence.core.sip.transport_address import TransportAddress

PHONE = TransportAddress.parse("udp:192.0.2.7:5060")
TAG = "caller-tag"


def event(kind: EventKind, at: float = 0.0, **parts: object) -> CallEvent:
    return CallEvent(kind, Arrival(1), at, **parts)  # type: ignore[arg-type]


def after(*events: CallEvent) -> Progress:
    progress = Progress()
    for one in events:
        progress = progress.after(one, TAG)
    return progress


ANSWERED = event(EventKind.ANSWERED, 10.0, status=200, source=PHONE)


def test_call_without_an_event_rings() -> None:
    assert (Progress().state, Progress().outcome, Progress().duration_s) == (
        CallState.RINGING,
        None,
        None,
    )


def test_call_that_is_answered_is_in_progress() -> None:
    progress = after(ANSWERED)
    assert (progress.state, progress.outcome) == (CallState.ANSWERED, None)
    assert (progress.status, progress.answered_by) == (200, PHONE)


@pytest.mark.parametrize(
    ("tag", "by", "expected"),
    [
        (TAG, None, Hangup.CALLER),
        ("other", None, Hangup.CALLEE),
        ("", None, Hangup.CALLEE),
        (TAG, Hangup.CALLEE, Hangup.CALLEE),
    ],
)
def test_call_that_ends_has_a_duration_and_a_party(
    tag: str, by: Hangup | None, expected: Hangup
) -> None:
    progress = after(ANSWERED, event(EventKind.ENDED, 72.5, from_tag=tag, by=by))
    assert (progress.state, progress.outcome) == (CallState.ENDED, Outcome.ANSWERED)
    assert (progress.duration_s, progress.hung_up_by) == (62.5, expected)


def test_answer_sent_again_changes_nothing() -> None:
    again = event(EventKind.ANSWERED, 15.0, status=202)
    assert after(ANSWERED, again) == after(ANSWERED)


def test_failure_of_an_answered_call_changes_nothing() -> None:
    assert after(ANSWERED, event(EventKind.FAILED, 12.0, status=487)) == after(ANSWERED)


def test_events_after_the_end_change_nothing() -> None:
    ended = after(ANSWERED, event(EventKind.ENDED, 20.0, from_tag=TAG))
    for late in (ANSWERED, event(EventKind.ENDED, 30.0), event(EventKind.FAILED, 30.0, status=500)):
        assert ended.after(late, TAG) == ended


def test_call_that_fails_has_its_status_and_reason() -> None:
    progress = after(event(EventKind.FAILED, 3.0, status=480, reason="user_not_registered"))
    assert (progress.state, progress.status) == (CallState.FAILED, 480)
    assert (progress.reason, progress.outcome) == ("user_not_registered", Outcome.NO_ANSWER)


def test_clock_that_is_set_back_gives_no_negative_duration() -> None:
    assert after(ANSWERED, event(EventKind.ENDED, 5.0)).duration_s == 0.0


def test_call_that_is_lost_has_no_duration() -> None:
    lost = after(ANSWERED).lost(99.0)
    assert (lost.state, lost.outcome, lost.duration_s) == (CallState.LOST, Outcome.LOST, None)
    ended = after(ANSWERED, event(EventKind.ENDED, 20.0))
    assert ended.lost(99.0) == ended


def test_tries_of_trunks_are_kept_in_their_order() -> None:
    tries = [event(EventKind.TRIED, trunk=f"t{n}", status=503, reason="server") for n in range(40)]
    assert after(*tries[:2]).tried == (Tried("t0", 503, "server"), Tried("t1", 503, "server"))
    assert len(after(*tries).tried) == TRIED_LIMIT


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0, "no_answer"),
        (200, "answered"),
        (404, "rejected"),
        (408, "no_answer"),
        (480, "no_answer"),
        (486, "busy"),
        (487, "cancelled"),
        (500, "failed"),
        (503, "failed"),
        (600, "busy"),
        (603, "rejected"),
    ],
)
def test_outcome_of_a_status(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome
