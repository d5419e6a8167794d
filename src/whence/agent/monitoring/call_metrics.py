"""Metrics of calls: in progress, by outcome, and how long they lasted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.open_calls import OpenCalls
from whence.agent.registration.status import RegistrationStatus
from whence.core.monitoring.call_progress import CallState, Direction, Outcome

DIRECTIONS = (Direction.IN, Direction.OUT, Direction.LOCAL)


class CallMetrics(Collector):
    """The calls of trunks and users. Only trunks of the file are named."""

    def __init__(self, calls: Calls, trunks: RegistrationStatus) -> None:
        self._calls = calls
        self._trunks = trunks

    def collect(self) -> Iterable[Metric]:
        """Read every metric. A drop-in has none: its edge reports no ends."""
        if self._calls.open_calls is not None:
            yield from self._over()
            yield from _in_progress(self._calls.open_calls)

    def _over(self) -> Iterator[Metric]:
        stats = self._calls.stats
        outcomes = CounterMetricFamily(
            "whence_calls", "Calls that are over, by outcome.", labels=["direction", "outcome"]
        )
        for direction in DIRECTIONS:
            for outcome in Outcome:
                outcomes.add_metric([direction, outcome], stats.outcomes[direction, outcome])
        yield outcomes

        of_trunks = CounterMetricFamily(
            "whence_trunk_calls",
            "Calls of a trunk that are over, by outcome; of the first 1000 trunks with a call.",
            labels=["trunk", "direction", "outcome"],
        )
        for trunk, counts in stats.by_trunk.items():
            if trunk in self._trunks:
                for (direction, outcome), count in counts.items():
                    of_trunks.add_metric([trunk, direction, outcome], count)
        yield of_trunks

        durations = HistogramMetricFamily(
            "whence_call_duration_seconds",
            "How long answered calls lasted.",
            labels=["direction"],
        )
        for direction, one in stats.durations.items():
            durations.add_metric([direction], one.buckets(), one.sum_s)
        yield durations


def _in_progress(open_calls: OpenCalls) -> Iterator[Metric]:
    active = GaugeMetricFamily(
        "whence_calls_in_progress", "Calls that are not over.", labels=["state"]
    )
    states = Counter(open_calls.states())
    for state in (CallState.RINGING, CallState.ANSWERED):
        active.add_metric([state], states[state])
    yield active
    yield CounterMetricFamily(
        "whence_call_events_unmatched",
        "Reports on calls whose decision was not reported.",
        open_calls.unmatched,
    )
