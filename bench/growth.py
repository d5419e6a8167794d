"""How the cost of a call grows with the number of trunks, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench.contest import Round
from bench.layout import Pattern, Places
from bench.spread import Spread, ratios

MOST = 1.05
"""The goal for the growth from the fewest to the most trunks (bench/README.md)."""

CALLED: dict[str, str] = {
    "all": "all in turn",
    "few": "the same ten",
    "anew": "all, none cached",
}


class Key(NamedTuple):
    """A row of the table: contestant, number of trunks, their places, pattern of the calls."""

    who: str
    trunks: int
    places: Places
    pattern: Pattern

    def __str__(self) -> str:
        return "-".join(map(str, self))


class Growth:
    """The valid rounds of one run."""

    def __init__(
        self,
        keys: Sequence[Key],
        rounds: Sequence[Round],
        circumstances: dict[str, str | int | float],
    ) -> None:
        self._keys = sorted(keys, key=lambda key: (key.who, key.places, key.pattern, key.trunks))
        self._rounds = rounds
        self._circumstances = circumstances

    def growths(self) -> dict[tuple[str, str, str], Spread]:
        """Return (who, places, pattern) → cost with most ÷ with fewest trunks, in each round."""
        found: dict[tuple[str, str, str], Spread] = {}
        for key in self._keys:
            fewest = self._fewest(key)
            if key.trunks == max(other.trunks for other in self._keys) > fewest.trunks:
                found[key.who, key.places, key.pattern] = self._ratio(key, fewest)
        return found

    def show(self, console: Console) -> None:
        """Print the table, and each goal with the result."""
        table = Table(caption="CPU time of Kamailio; median of the rounds (lowest–highest)")
        for title in ("", "trunks", "addresses", "called", "µs a call", "÷ fewest trunks"):
            table.add_column(title, justify="right" if "÷" in title or "µs" in title else "left")
        for key in self._keys:
            cost, ratio = Spread.of(self._costs(key)), self._ratio(key, self._fewest(key))
            table.add_row(
                key.who,
                f"{key.trunks}",
                "one" if key.places == "one" else "its own each",
                CALLED[key.pattern],
                f"{cost.median:.0f} ({cost.low:.0f}–{cost.high:.0f})",
                f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})",
            )
        console.print(table)
        for (who, places, pattern), growth in self.growths().items():
            verdict = ""
            if who == "whence":
                verdict = f"; goal {MOST}: {'met' if growth.median <= MOST else 'not met yet'}"
            where = "one address" if places == "one" else "an address each"
            console.print(
                f"{who}, growth at {where}, called {CALLED[pattern]}: {growth.median:.2f}{verdict}"
            )
        console.print(", ".join(f"{name} {value}" for name, value in self._circumstances.items()))

    def write(self, directory: Path) -> None:
        """Write scale.json and scale.txt."""
        with (directory / "scale.txt").open("w", encoding="utf-8") as text:
            self.show(Console(file=text, width=140, soft_wrap=True))
        content = json.dumps(self._as_json(), indent=2, ensure_ascii=False)
        (directory / "scale.json").write_text(content + "\n", "utf-8")

    def _as_json(self) -> dict[str, Any]:
        return {
            "circumstances": self._circumstances,
            "goal": MOST,
            "growth": [
                {"who": who, "places": places, "called": pattern, **_rounded(growth)}
                for (who, places, pattern), growth in self.growths().items()
            ],
            "cost_us": [
                {**key._asdict(), **_rounded(Spread.of(self._costs(key)))} for key in self._keys
            ],
            "rounds": [
                {key: round(reading.kamailio_us, 3) for key, reading in readings.items()}
                for readings in self._rounds
            ],
        }

    def _fewest(self, key: Key) -> Key:
        return min(
            (other for other in self._keys if other._replace(trunks=key.trunks) == key),
            key=lambda other: other.trunks,
        )

    def _ratio(self, key: Key, other: Key) -> Spread:
        return Spread.of(ratios(self._costs(key), self._costs(other)))

    def _costs(self, key: Key) -> list[float]:
        return [readings[str(key)].kamailio_us for readings in self._rounds]


def _rounded(values: Spread) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(values).items()}
