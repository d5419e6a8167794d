"""The results of the rounds, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.contest import Reading, Round
from bench.spread import Spread, ratios


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal (bench/README.md): the most that Whence may cost, as a multiple of *other*."""

    other: str
    title: str
    most: float


GOALS = (
    Goal("recipe_debian", "recipe as Debian", 0.6),
    Goal("relay", "bare relay", 1.15),
)
OURS = "whence"


class Report:
    """The valid rounds of one run.

    *titles*: contestant's key → its title, in the order of the table. *circumstances*: how the
    rounds were run.
    """

    def __init__(
        self,
        titles: Mapping[str, str],
        rounds: Sequence[Round],
        circumstances: Mapping[str, str | int | float],
    ) -> None:
        self._titles = titles
        self._rounds = rounds
        self._circumstances = circumstances

    def show(self, console: Console) -> None:
        """Print the table, and each goal with the result."""
        table = Table(caption="median of the rounds (lowest–highest)")
        table.add_column("CPU time of Kamailio")
        table.add_column("µs a call", justify="right")
        for goal in GOALS:
            table.add_column(f"÷ {goal.title}", justify="right")
        for key, title in self._titles.items():
            other = (_text(self._ratio(key, goal.other), ".2f") for goal in GOALS)
            table.add_row(title, _text(self._cost(key), ".0f"), *other)
        console.print(table)
        for goal in GOALS:
            reached = self._ratio(OURS, goal.other).median
            verdict = "met" if reached <= goal.most else "not met yet"
            console.print(f"Whence ÷ {goal.title}: {reached:.2f}; goal {goal.most}: {verdict}")
        beside = Spread.of(self._readings(OURS, lambda reading: reading.beside_us))
        console.print(
            f"Not in the table: Whence's agent, beside Kamailio, {_text(beside, '.0f')} µs a call"
        )
        console.print(", ".join(f"{name} {value}" for name, value in self._circumstances.items()))

    def write(self, directory: Path) -> None:
        """Write calls.json and calls.txt."""
        with (directory / "calls.txt").open("w", encoding="utf-8") as text:
            self.show(Console(file=text, width=100, soft_wrap=True))
        content = json.dumps(self._as_json(), indent=2, ensure_ascii=False)
        (directory / "calls.json").write_text(content + "\n", "utf-8")

    def _as_json(self) -> dict[str, Any]:
        contestants = {
            key: {
                "title": title,
                "cost_us": _rounded(self._cost(key)),
                "ratio_to": {goal.other: _rounded(self._ratio(key, goal.other)) for goal in GOALS},
            }
            for key, title in self._titles.items()
        }
        return {
            "circumstances": dict(self._circumstances),
            "contestants": contestants,
            "goals": {goal.other: goal.most for goal in GOALS},
            "rounds": [
                {key: _rounded(reading) for key, reading in readings.items()}
                for readings in self._rounds
            ],
        }

    def _cost(self, key: str) -> Spread:
        return Spread.of(self._readings(key))

    def _ratio(self, key: str, other: str) -> Spread:
        return Spread.of(ratios(self._readings(key), self._readings(other)))

    def _readings(
        self, key: str, of: Callable[[Reading], float] = lambda reading: reading.kamailio_us
    ) -> list[float]:
        return [of(readings[key]) for readings in self._rounds]


def _text(spread: Spread, form: str) -> str:
    return f"{spread.median:{form}} ({spread.low:{form}}–{spread.high:{form}})"


def _rounded(values: Spread | Reading) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(values).items()}
