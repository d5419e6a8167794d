"""Counts calls by how they ended, and their durations."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from whence.agent.monitoring.call_record import CallRecord
from whence.core.monitoring.call_progress import Direction, Outcome

BUCKETS_S = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
"""Upper bounds of the durations that are counted together, in seconds; then all longer ones."""

TRUNKS_LIMIT = 1000
"""How many trunks have counts of their own: the first ones that had a call."""


@dataclass
class CallStats:
    """The calls that are over, since the agent's start."""

    outcomes: Counter[tuple[Direction, Outcome]] = field(default_factory=Counter)
    by_trunk: dict[str, Counter[tuple[Direction, Outcome]]] = field(default_factory=dict)
    durations: dict[Direction, Durations] = field(default_factory=dict)

    def count(self, call: CallRecord) -> None:
        """Count a call that is over."""
        outcome, direction = call.outcome, call.direction
        if outcome is None:
            return
        self.outcomes[direction, outcome] += 1
        trunk = call.trunk
        if trunk is not None:
            counter = self.by_trunk.get(trunk)
            if counter is None and len(self.by_trunk) < TRUNKS_LIMIT:
                counter = self.by_trunk[trunk] = Counter()
            if counter is not None:
                counter[direction, outcome] += 1
        duration_s = call.progress.duration_s if call.progress is not None else None
        if duration_s is not None:
            self.durations.setdefault(direction, Durations()).add(duration_s)


@dataclass
class Durations:
    """A histogram of durations."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def add(self, duration_s: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_S, duration_s)] += 1
        self.sum_s += duration_s

    def buckets(self) -> list[tuple[str, float]]:
        """Return the upper bounds, and how many durations are not above each."""
        total, found = 0, []
        for bound, count in zip((*map(float, BUCKETS_S), float("inf")), self.counts, strict=True):
            total += count
            found.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return found
