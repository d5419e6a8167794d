"""Calls in progress: how they end, and what a new agent takes over."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.monitoring.call_stories import (
    PHONE,
    Clock,
    agent,
    answer,
    begin,
    call_out,
    hang_up,
    happen,
)
from tests.unit.agent.monitoring.reports import NOW, identified, refused
from whence.agent.monitoring.call_record import CallFilter
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.open_calls import (
    ANSWERED_S,
    EARLY_LIMIT,
    FILE,
    LATE_ANSWER_S,
    RINGING_S,
)
from whence.core.dialogs.arrival import Arrival
from whence.core.identification.decision import Reason
from whence.core.monitoring.call_progress import CallState, EventKind, Hangup, Outcome
from whence.ipc import call_events
from whence.ipc.decisions import Sender


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def calls(tmp_path: Path, clock: Clock) -> Calls:
    return agent(tmp_path, clock)


def states(calls: Calls) -> list[CallState | None]:
    return [call.state for call in calls.last(100)]


def test_call_goes_from_ringing_to_ended(calls: Calls, tmp_path: Path) -> None:
    arrival = begin(calls)
    assert states(calls) == [CallState.RINGING]
    answer(calls, arrival)
    assert states(calls) == [CallState.ANSWERED]
    assert not (tmp_path / "calls.json").exists()
    hang_up(calls, arrival)
    (call,) = calls.last(10)
    assert call.progress is not None
    assert (call.state, call.progress.duration_s) == (CallState.ENDED, 60.0)
    assert (call.progress.hung_up_by, call.progress.answered_by) == (Hangup.CALLER, PHONE)
    assert (tmp_path / "calls.json").read_text().count("\n") == 1
    assert calls.stats.outcomes == {("in", Outcome.ANSWERED): 1}
    assert calls.stats.by_trunk["acme"] == {("in", Outcome.ANSWERED): 1}


def test_events_before_the_decision_are_kept(calls: Calls) -> None:
    arrival = Arrival.of(NOW, 7)
    answer(calls, arrival)
    hang_up(calls, arrival)
    assert begin(calls) == arrival
    assert states(calls) == [CallState.ENDED]


def test_events_without_a_decision_are_bounded_and_counted(calls: Calls, clock: Clock) -> None:
    for number in range(EARLY_LIMIT + 3):
        hang_up(calls, Arrival.of(NOW + number))
    assert calls.open_calls is not None
    assert calls.open_calls.unmatched == 3
    clock.now += 2 * EARLY_LIMIT
    calls.sweep()
    assert calls.open_calls.unmatched == EARLY_LIMIT + 3


def test_refusal_after_the_decision_ends_the_call(calls: Calls) -> None:
    begin(calls)
    begin(calls, decision=refused("acme", reason=Reason.USER_NOT_REGISTERED))
    (call,) = calls.last(10)
    assert (call.state, call.status, call.trunk) == (CallState.FAILED, 480, "acme")
    assert call.progress is not None
    assert call.progress.reason == "user_not_registered"


def test_refused_call_is_over_at_once(calls: Calls, tmp_path: Path) -> None:
    begin(calls, decision=refused("acme", "bell"))
    (call,) = calls.last(10)
    assert (call.state, call.status, call.outcome) == (CallState.FAILED, 403, Outcome.REJECTED)
    assert (tmp_path / "calls.json").read_text().count("\n") == 1


@pytest.mark.parametrize("is_answered", [False, True])
def test_new_agent_takes_over_calls_in_progress(
    tmp_path: Path, clock: Clock, is_answered: bool
) -> None:
    former = agent(tmp_path, clock)
    arrival, over = begin(former), begin(former, 1)
    answer(former, over)
    hang_up(former, over)
    if is_answered:
        answer(former, arrival)
    calls = agent(tmp_path, clock)  # the former one was killed
    assert [call.call_id for call in calls.last(10)] == ["call-0"]
    answer(calls, arrival, NOW + 30)
    hang_up(calls, arrival, tag="callee's")
    (call,) = calls.last(10)
    assert call.progress is not None
    assert call.progress.duration_s == (60.0 if is_answered else 35.0)
    assert call.progress.hung_up_by is Hangup.CALLEE
    assert agent(tmp_path, clock).last(10) == []


def test_file_that_is_cut_loses_its_last_record_only(tmp_path: Path, clock: Clock) -> None:
    former = agent(tmp_path, clock)
    begin(former), begin(former, 1)
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-10])
    assert [call.call_id for call in agent(tmp_path, clock).last(10)] == ["call-0"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"\xff" * 50, b"00003abc", b"99999", b"x" * 9])
def test_file_that_is_damaged_gives_no_call(tmp_path: Path, clock: Clock, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    (tmp_path / FILE).chmod(0o600)
    calls = agent(tmp_path, clock)
    assert calls.last(10) == []
    begin(calls)
    assert states(agent(tmp_path, clock)) == [CallState.RINGING]


def test_file_of_calls_in_progress_is_bounded(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whence.agent.monitoring.open_calls.COMPACT_BYTES", 5_000)
    calls = agent(tmp_path, clock)
    standing = begin(calls)
    answer(calls, standing)
    for number in range(1, 200):
        arrival = begin(calls, number)
        answer(calls, arrival)
        hang_up(calls, arrival)
        assert (tmp_path / FILE).stat().st_size < 8_000
    assert [call.call_id for call in agent(tmp_path, clock).last(10)] == ["call-0"]


def test_file_that_cannot_be_written_is_logged_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = agent(tmp_path, clock)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    begin(calls), begin(calls, 1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    (tmp_path / FILE).rmdir()
    clock.now += 60
    begin(calls, 2)
    assert len(agent(tmp_path, clock).last(10)) == 3


@pytest.mark.parametrize(("is_answered", "after_s"), [(False, RINGING_S), (True, ANSWERED_S + 5)])
def test_call_without_an_end_is_lost_after_a_bound(
    calls: Calls, clock: Clock, tmp_path: Path, is_answered: bool, after_s: float
) -> None:
    arrival = begin(calls)
    if is_answered:
        answer(calls, arrival)
    clock.now = NOW + after_s
    calls.sweep()
    assert states(calls) != [CallState.LOST]
    clock.now += 1
    calls.sweep()
    assert states(calls) == [CallState.LOST]
    assert (tmp_path / "calls.json").read_text().count('"lost"') == 2
    hang_up(calls, arrival)
    assert states(calls) == [CallState.LOST]


def test_restart_of_kamailio_ends_calls_that_ring(calls: Calls, clock: Clock) -> None:
    answered, late = begin(calls), begin(calls, 1)
    begin(calls, 2)
    answer(calls, answered)
    clock.now = NOW + 10
    calls.kamailio_restarted("exit status 1")
    begin(calls, 11)
    answer(calls, late, NOW + 20)
    clock.now += LATE_ANSWER_S + 1
    calls.sweep()
    assert states(calls) == ["ringing", "lost", "answered", "answered"]
    hang_up(calls, answered)
    assert states(calls)[-1] == "ended"


# Calls out.


def test_call_out_has_the_trunks_that_were_tried(tmp_path: Path, clock: Clock) -> None:
    calls = agent(tmp_path, clock)
    arrival = call_out(calls)
    assert [call.trunk for call in calls.last(1)] == ["acme"]
    tried = call_events.tried(arrival, "acme", "server_failed", 503, NOW)
    calls.receive_event(call_events.read(tried))
    calls.receive_event(call_events.read(call_events.tried(arrival, "bolt", "", 200, NOW)))
    answer(calls, arrival)
    calls = agent(tmp_path, clock)
    hang_up(calls, arrival)
    (call,) = calls.last(1)
    assert (call.direction, call.trunk, call.status) == ("out", "bolt", 200)
    assert call.progress is not None
    assert [(one.trunk, one.status, one.reason) for one in call.progress.tried] == [
        ("acme", 503, "server_failed"),
        ("bolt", 200, ""),
    ]
    assert calls.stats.by_trunk["bolt"] == {("out", Outcome.ANSWERED): 1}


def test_call_out_that_is_refused_is_over(calls: Calls) -> None:
    call_out(calls, planned=(), refusal="no_route", status=403)
    (call,) = calls.last(1)
    assert (call.state, call.status, call.direction) == (CallState.FAILED, 403, "out")
    assert calls.stats.outcomes == {("out", Outcome.REJECTED): 1}


# Filters.


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["call-2", "call-1", "call-0", "out-1"]),
        ({"trunk": "bell"}, ["call-2"]),
        ({"user": "alice"}, ["call-0", "out-1"]),
        ({"user": "alice@edge.example"}, ["call-0", "out-1"]),
        ({"user": "bob"}, ["call-1"]),
        ({"number": "+44 20 7946 0000"}, ["out-1"]),
        ({"number": "02079460000"}, ["out-1"]),
        ({"number": "0033123456789"}, ["call-2", "call-1"]),
        ({"failed": True}, ["call-1"]),
        ({"failed": False}, ["call-2", "call-0", "out-1"]),
        ({"active": True}, ["call-2", "out-1"]),
        ({"since": NOW + 1}, ["call-2", "call-1"]),
        ({"since": NOW + 1, "failed": True, "trunk": "bell"}, []),
    ],
)
def test_find_returns_what_a_filter_wants(
    calls: Calls, wanted: dict[str, Any], expected: list[str]
) -> None:
    call_out(calls)
    first = begin(calls, sender=Sender("sip:anonymous@anonymous.invalid", "tag"))
    answer(calls, first)
    hang_up(calls, first)
    second = begin(calls, 1, target="sip:bob@edge.example")
    happen(calls, EventKind.FAILED, second, NOW + 3, status=486)
    begin(calls, 2, identified("bell"), target="sip:pbx@192.0.2.9")
    assert [call.call_id for call in calls.find(CallFilter(**wanted))] == expected
