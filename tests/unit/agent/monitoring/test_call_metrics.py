"""The metrics of calls, of reloads and of phones."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import generate_latest
from prometheus_client.registry import Collector

from tests.unit.agent.monitoring.call_stories import Clock, agent, answer, begin, hang_up, happen
from tests.unit.agent.monitoring.reports import NOW, identified
from whence.agent.monitoring.call_metrics import CallMetrics
from whence.agent.monitoring.call_stats import TRUNKS_LIMIT
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.metrics import registry
from whence.agent.monitoring.node_metrics import NodeMetrics, PhoneMetrics
from whence.agent.monitoring.reload_results import ReloadResults
from whence.agent.registration.status import RegistrationStatus
from whence.core.monitoring.call_progress import EventKind
from whence.errors import ConfigError
from whence.store import location


class AllTrunks:
    """The registrations, which have each trunk but `gone`."""

    def __contains__(self, trunk_id: str) -> bool:
        return trunk_id != "gone"


def shown(collector: Collector) -> list[str]:
    return generate_latest(registry(collector)).decode().splitlines()


def value(collector: Collector, name: str) -> float:
    (line,) = (line for line in shown(collector) if line.startswith(f"{name} "))
    return float(line.split()[1])


def metrics_of(calls: Calls) -> CallMetrics:
    return CallMetrics(calls, cast("RegistrationStatus", AllTrunks()))


def test_metrics_count_calls_by_outcome_and_duration(tmp_path: Path) -> None:
    calls = agent(tmp_path, Clock())
    first, second = begin(calls), begin(calls, 1, identified("gone"))
    begin(calls, 2)
    answer(calls, first)
    lines = shown(metrics_of(calls))
    assert 'whence_calls_in_progress{state="ringing"} 2.0' in lines
    assert 'whence_calls_in_progress{state="answered"} 1.0' in lines
    hang_up(calls, first, NOW + 50)
    happen(calls, EventKind.FAILED, second, NOW + 3, status=486)
    lines = shown(metrics_of(calls))
    for line in (
        'whence_calls_total{direction="in",outcome="answered"} 1.0',
        'whence_calls_total{direction="in",outcome="busy"} 1.0',
        'whence_calls_total{direction="out",outcome="answered"} 0.0',
        'whence_trunk_calls_total{direction="in",outcome="answered",trunk="acme"} 1.0',
        'whence_call_duration_seconds_bucket{direction="in",le="30.0"} 0.0',
        'whence_call_duration_seconds_bucket{direction="in",le="60.0"} 1.0',
        'whence_call_duration_seconds_bucket{direction="in",le="+Inf"} 1.0',
        'whence_call_duration_seconds_sum{direction="in"} 45.0',
        "whence_call_events_unmatched_total 0.0",
    ):
        assert line in lines
    assert not any("gone" in line for line in lines)


def test_metrics_of_calls_name_a_bounded_number_of_trunks(tmp_path: Path) -> None:
    calls = agent(tmp_path, Clock())
    for number in range(TRUNKS_LIMIT + 5):
        arrival = begin(calls, number, identified(f"trunk-{number}"))
        happen(calls, EventKind.FAILED, arrival, NOW + number, status=404)
    lines = shown(metrics_of(calls))
    assert sum(line.startswith("whence_trunk_calls_total") for line in lines) == TRUNKS_LIMIT
    total = f'whence_calls_total{{direction="in",outcome="rejected"}} {TRUNKS_LIMIT + 5}.0'
    assert total in lines


def test_metrics_of_a_drop_in_have_no_calls() -> None:
    assert shown(metrics_of(Calls(10))) == []


def test_metrics_show_whether_the_last_reload_succeeded() -> None:
    clock, faults = Clock(), [["a fault"]]

    def reload() -> None:
        if faults:
            raise ConfigError(faults.pop())

    reloads = ReloadResults(reload, clock)
    metrics = NodeMetrics(reloads, NOW)
    assert "whence_last_reload_successful 1.0" in shown(metrics)
    clock.now += 10
    with pytest.raises(ConfigError):
        reloads()
    assert "whence_last_reload_successful 0.0" in shown(metrics)
    assert value(metrics, "whence_last_reload_success_timestamp_seconds") == NOW
    reloads()
    assert "whence_last_reload_successful 1.0" in shown(metrics)
    assert value(metrics, "whence_last_reload_success_timestamp_seconds") == NOW + 10
    assert value(metrics, "whence_agent_start_timestamp_seconds") == NOW


def test_metrics_count_registered_phones(tmp_path: Path) -> None:
    path = tmp_path / "location.db"
    metrics = PhoneMetrics(path)
    assert shown(metrics) == []
    location.make(path)
    with sqlite3.connect(path) as database:
        for user, contact, expires in (
            ("alice", "sip:a@192.0.2.1", "2999-01-01 00:00:00"),
            ("alice", "sip:a@192.0.2.2", "2999-01-01 00:00:00"),
            ("bob", "sip:b@192.0.2.3", "2001-01-01 00:00:00"),
        ):
            database.execute(
                "INSERT INTO location (ruid, username, contact, expires) VALUES (?, ?, ?, ?)",
                (contact, user, contact, expires),
            )
    lines = shown(metrics)
    assert "whence_phone_contacts 2.0" in lines
    assert "whence_users_registered 1.0" in lines
