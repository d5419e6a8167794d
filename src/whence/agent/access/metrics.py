"""Metrics of the access to the API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from whence.core.access import WrongTokens


class AccessMetrics(Collector):
    """Wrong tokens, and the sources that are locked for them."""

    def __init__(self, wrong: WrongTokens, clock: Callable[[], float] = time.time) -> None:
        self._wrong = wrong
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield CounterMetricFamily(
            "whence_api_wrong_tokens",
            "Requests to the API with a token that is wrong, expired or revoked",
            value=self._wrong.count,
        )
        yield GaugeMetricFamily(
            "whence_api_locked_sources",
            "Sources whose tokens the API does not verify, after too many wrong ones",
            value=self._wrong.locked(self._clock()),
        )
