"""Metrics of the node: its start, its settings file, its certificate, its phones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from whence.agent.monitoring.reload_results import ReloadResults
from whence.errors import LocationError
from whence.store import location


class NodeMetrics(Collector):
    """The agent's start, and the last reload."""

    def __init__(self, reloads: ReloadResults[Any], started_at: float) -> None:
        self._reloads = reloads
        self._started_at = started_at

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        yield GaugeMetricFamily(
            "whence_agent_start_timestamp_seconds",
            "When the agent started, in seconds since 1970: it changes with each restart.",
            self._started_at,
        )
        yield GaugeMetricFamily(
            "whence_last_reload_successful",
            "1 while the last reload of the settings file succeeded.",
            self._reloads.succeeded,
        )
        yield GaugeMetricFamily(
            "whence_last_reload_success_timestamp_seconds",
            "When the settings file was last applied, in seconds since 1970.",
            self._reloads.succeeded_at,
        )


class PhoneMetrics(Collector):
    """The registered phones."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """`path`: the location table."""
        self._path = path
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Read every metric."""
        contacts = GaugeMetricFamily(
            "whence_phone_contacts", "Contacts that phones of users have registered."
        )
        users = GaugeMetricFamily(
            "whence_users_registered", "Users of whom at least one phone is registered."
        )
        try:
            contact_count, user_count = location.counts(self._path, self._clock())
        except LocationError:
            return  # the series are absent while the table cannot be read
        contacts.add_metric([], contact_count)
        users.add_metric([], user_count)
        yield contacts
        yield users
