"""The results of the bench, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.registrations.contest import Phase, Reading
from bench.registrations.storm import Storm

OURS = "whence"
GOAL_TRUNKS = 20_000
GOAL_S = 60.0
GOAL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Result:
    """A contestant's reading with many trunks, and its base with few."""

    key: str
    title: str
    base: Reading
    reading: Reading

    @property
    def failed(self) -> bool:
        return self.reading.failures > 0

    @property
    def more_trunks(self) -> int:
        return self.reading.trunks - self.base.trunks

    @property
    def agent_bytes(self) -> float:
        """The agent's memory in bytes a trunk, above the base."""
        return (self.reading.agent_bytes - self.base.agent_bytes) / self.more_trunks

    @property
    def agent_peak_bytes(self) -> float:
        """The agent's peak memory in bytes a trunk, above the base."""
        return (self.reading.agent_peak_bytes - self.base.agent_peak_bytes) / self.more_trunks

    @property
    def kamailio_bytes(self) -> float:
        """Kamailio's memory in bytes a trunk, above the base; it is a peak."""
        return (self.reading.kamailio_bytes - self.base.kamailio_bytes) / self.more_trunks

    @property
    def goals(self) -> dict[str, tuple[bool, str]]:
        """Goal → whether it is reached, and the result; only for Whence."""
        if self.key != OURS:
            return {}
        took_s = self.reading.start_s + self.reading.cold.seconds
        allowed_s = GOAL_S * self.reading.trunks / GOAL_TRUNKS
        return {
            f"{self.reading.trunks} trunks registered within {max(allowed_s, 5):.0f} s": (
                took_s <= max(allowed_s, 5),
                f"{took_s:.1f} s, {self.reading.start_s:.1f} s of it until the first REGISTER",
            ),
            f"{GOAL_BYTES} bytes of the agent a trunk": (
                self.agent_bytes <= GOAL_BYTES,
                f"{self.agent_bytes:.0f}, at its peak {self.agent_peak_bytes:.0f}",
            ),
            "no failure": (self.reading.failures == 0, f"{self.reading.failures}"),
        }


@dataclass(frozen=True, slots=True)
class NoResult:
    """A contestant that could not register the trunks."""

    key: str
    title: str
    trunks: int
    why: str

    def sentence(self) -> str:
        """Return the sentence for the report."""
        return f"{self.title}, {self.trunks} trunks: no result: {self.why}"


class Report:
    """The readings of a run, as text and as JSON."""

    def __init__(
        self,
        results: Sequence[Result],
        missing: Sequence[NoResult],
        storms: Sequence[Storm],
        circumstances: Mapping[str, str | int | float],
    ) -> None:
        self._results = results
        self._missing = missing
        self._storms = storms
        self._circumstances = circumstances

    def show(self, console: Console) -> None:
        """Print tables, goals and circumstances."""
        console.print(self._costs())
        console.print(self._memory())
        for result in self._results:
            for goal, (met, reached) in result.goals.items():
                console.print(f"goal: {goal}: {'met' if met else 'not met yet'} ({reached})")
        for missing in self._missing:
            console.print(missing.sentence())
        for storm in self._storms:
            console.print(storm.sentence())
        console.print(", ".join(f"{name} {value}" for name, value in self._circumstances.items()))

    def write(self, directory: Path) -> None:
        """Write registrations.json and registrations.txt."""
        with (directory / "registrations.txt").open("w", encoding="utf-8") as text:
            self.show(Console(file=text, width=120, soft_wrap=True))
        content = json.dumps(self._as_json(), indent=2, ensure_ascii=False)
        (directory / "registrations.json").write_text(content + "\n", "utf-8")

    def _costs(self) -> Table:
        table = Table(
            caption="registrations a second; CPU time, user and system, in µs a registration"
        )
        for title in ("trunks", "", "", "a second", "challenged", "sent again"):
            table.add_column(title, justify="right")
        for title in ("agent", "Kamailio", "registrar"):
            table.add_column(title, justify="right")
        for result in self._results:
            reading = result.reading
            for name, phase in (("cold start", reading.cold), ("refreshes", reading.steady)):
                table.add_row(str(reading.trunks), result.title, name, *_cells(phase))
        return table

    def _memory(self) -> Table:
        table = Table(caption="memory in bytes a trunk, above the base; start: until 1st REGISTER")
        for title in ("trunks", "", "agent", "agent's peak", "Kamailio", "start, s", "failures"):
            table.add_column(title, justify="right")
        for result in self._results:
            table.add_row(
                str(result.reading.trunks),
                result.title,
                f"{result.agent_bytes:.0f}",
                f"{result.agent_peak_bytes:.0f}",
                f"{result.kamailio_bytes:.0f}",
                f"{result.reading.start_s:.1f}",
                str(result.reading.failures),
            )
        return table

    def _as_json(self) -> dict[str, Any]:
        return {
            "circumstances": dict(self._circumstances),
            "results": [
                {
                    "contestant": result.key,
                    "reading": _rounded(asdict(result.reading)),
                    "base": _rounded(asdict(result.base)),
                    "agent_bytes_a_trunk": round(result.agent_bytes),
                    "agent_peak_bytes_a_trunk": round(result.agent_peak_bytes),
                    "kamailio_bytes_a_trunk": round(result.kamailio_bytes),
                    "goals": {goal: met for goal, (met, _) in result.goals.items()},
                }
                for result in self._results
            ],
            "no_results": [asdict(missing) for missing in self._missing],
            "storms": [_rounded({**asdict(storm), "met": storm.met}) for storm in self._storms],
        }


def _cells(phase: Phase) -> list[str]:
    return [
        f"{phase.a_second:.0f}",
        str(phase.challenged),
        str(phase.sent_again),
        f"{phase.agent_us:.0f}",
        f"{phase.kamailio_us:.0f}",
        f"{phase.registrar_us:.0f}",
    ]


def _rounded(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _rounded(value) for name, value in values.items()}
    return round(values, 3) if isinstance(values, float) else values
