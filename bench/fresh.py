"""The time from a 200 that teaches an address to the first call admitted from there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from rich.console import Console

from bench.circumstances import Circumstances

MOST_MS = 10.0
"""The goal for the 99th percentile, in ms (bench/README.md)."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of one new address.

    *ms*: from the send of the 200 to the first admitted call. *refused*: calls refused before it.
    """

    ms: float
    refused: int


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that *percent* of the values do not exceed.

    Raises: ValueError if there are no values.
    """
    if not values:
        raise ValueError("no value has no percentile")
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


class Fresh:
    """The results of all probes, with *others_a_second* other registrations a second."""

    def __init__(
        self, probes: Sequence[Probe], others_a_second: float, circumstances: Circumstances
    ) -> None:
        self._probes = probes
        self._circumstances = {
            **circumstances,
            "probes": len(probes),
            "registrations_a_second_beside": round(others_a_second, 1),
        }
        times = [probe.ms for probe in probes]
        self.p50, self.p99, self.most = percentile(times, 50), percentile(times, 99), max(times)

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.p99 <= MOST_MS

    def show(self, console: Console) -> None:
        """Print the results."""
        refused = [probe.refused for probe in self._probes]
        console.print(
            f"200 sent → call from there admitted: p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, "
            f"at most {self.most:.1f} ms"
        )
        console.print(
            f"calls refused before the first was admitted: {percentile(refused, 50)} at p50, "
            f"{max(refused)} at most; none in {sum(not n for n in refused)} of {len(refused)}"
        )
        console.print(f"goal p99 {MOST_MS:g} ms: {'met' if self.met else 'not met'}")
        console.print(", ".join(f"{name} {value}" for name, value in self._circumstances.items()))

    def write(self, directory: Path) -> None:
        """Write freshness.txt and freshness.json."""
        with (directory / "freshness.txt").open("w", encoding="utf-8") as text:
            self.show(Console(file=text, width=100, soft_wrap=True))
        content = {
            "circumstances": self._circumstances,
            "goal_p99_ms": MOST_MS,
            "met": self.met,
            "p50_ms": round(self.p50, 3),
            "p99_ms": round(self.p99, 3),
            "most_ms": round(self.most, 3),
            "probes": [[round(probe.ms, 3), probe.refused] for probe in self._probes],
        }
        (directory / "freshness.json").write_text(json.dumps(content) + "\n", "utf-8")
