"""Alarms about users' calls."""

from __future__ import annotations

import pytest

from whence.agent.monitoring.alarms import Alarms
from whence.agent.monitoring.call_alarms import TRACKED_LIMIT, CallAlarms
from whence.core.dialogs.arrival import Arrival
from whence.core.monitoring.alarms import AlarmKind
from whence.core.monitoring.call_progress import CallEvent, EventKind
from whence.core.sip.transport_address import TransportAddress
from whence.ipc.call_events import CallOut

NOW = 1_800_000_000.0


def raised(alarms: Alarms) -> list[tuple[AlarmKind, str | None]]:
    return [(one.alarm.kind, one.alarm.trunk) for one in alarms.since(0, 100)]


def refused(reason: str) -> CallOut:
    source = TransportAddress.parse("udp:192.0.2.7:5060")
    arrival = Arrival(1, 1)
    return CallOut(arrival, "alice", source, "", "+4420", "", "", "", refusal=reason, status=486)


def event(number: int, kind: EventKind, reason: str = "", trunk: str = "acme") -> CallEvent:
    return CallEvent(kind, Arrival(number, 1), NOW, 500, trunk=trunk, reason=reason)


@pytest.mark.parametrize(
    ("reason", "kinds"),
    [
        ("concurrent_calls", [AlarmKind.CALL_LIMIT_REACHED]),
        ("calls_per_minute", [AlarmKind.CALL_LIMIT_REACHED]),
        ("number_not_allowed", [AlarmKind.CALL_LIMIT_REACHED]),
        ("no_trunk_ready", [AlarmKind.ALL_TRUNKS_FAILED]),
        ("barred", []),
        ("no_number", []),
        ("", []),
    ],
)
def test_call_alarm_names_limit_that_is_reached(reason: str, kinds: list[AlarmKind]) -> None:
    alarms = Alarms(clock=lambda: NOW)
    CallAlarms(alarms).receive_call_out(refused(reason), b"")
    assert [kind for kind, _ in raised(alarms)] == kinds


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("challenge_from_elsewhere", AlarmKind.CHALLENGE_FROM_ELSEWHERE),
        ("credentials_rejected", AlarmKind.CALL_CREDENTIALS_REJECTED),
    ],
)
def test_call_alarm_names_trunk_that_failed(reason: str, kind: AlarmKind) -> None:
    alarms = Alarms(clock=lambda: NOW)
    CallAlarms(alarms).receive_event(event(1, EventKind.TRIED, reason))
    assert raised(alarms) == [(kind, "acme")]


def test_call_alarm_is_raised_where_all_trunks_fail() -> None:
    alarms = Alarms(clock=lambda: NOW)
    observer = CallAlarms(alarms)
    for one in (
        event(1, EventKind.TRIED, "unavailable"),
        event(2, EventKind.TRIED, "unavailable"),
        event(2, EventKind.TRIED, "", "bolt"),
        event(2, EventKind.FAILED),
        event(3, EventKind.FAILED),
    ):
        observer.receive_event(one)
    assert raised(alarms) == []
    observer.receive_event(event(1, EventKind.TRIED, "no_answer", "bolt"))
    observer.receive_event(event(1, EventKind.FAILED))
    assert raised(alarms) == [(AlarmKind.ALL_TRUNKS_FAILED, None)]


def test_call_alarms_track_few_calls() -> None:
    observer = CallAlarms(Alarms(clock=lambda: NOW))
    for number in range(2 * TRACKED_LIMIT):
        observer.receive_event(event(number, EventKind.TRIED, "unavailable"))
    assert len(observer._failing) == TRACKED_LIMIT
