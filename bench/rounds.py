"""Rounds in which all contestants are read in turn, with medians and ratios of the readings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class InvalidError(Exception):
    """An invalid reading: calls or registrations failed, or processes started or ended."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, the lowest and the highest of some readings, in their unit."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, readings: Sequence[float]) -> Spread:
        """Return the spread of *readings*. Raises: StatisticsError if there are none."""
        return cls(median(readings), min(readings), max(readings))

    def text(self, form: str = ".0f") -> str:
        """Return the values as `median (low–high)`, or one value if there is only one."""
        if self.low == self.high:
            return f"{self.median:{form}}"
        return f"{self.median:{form}} ({self.low:{form}}–{self.high:{form}})"


def ratios(readings: Sequence[float], others: Sequence[float]) -> list[float]:
    """Divide each reading by the other one of its round.

    A machine may be slow for minutes. Both readings of a round are slow then, and their ratio is
    not affected. The ratio of two medians, from different rounds, would be.
    """
    return [mine / other for mine, other in zip(readings, others, strict=True)]


def in_turn(contestants: Sequence[T], round_: int) -> list[T]:
    """Return the order of a round: each round begins with the next contestant."""
    first = round_ % len(contestants)
    return [*contestants[first:], *contestants[:first]]


def hold(
    readers: Mapping[T, Callable[[], R]], rounds: int, show: Callable[[str], None]
) -> tuple[list[dict[T, R]], list[str]]:
    """Run the rounds; return the readings of the valid ones, and a line for each other.

    A round with a missing reading is dropped: a ratio needs both readings of one round.
    Raises: InvalidError if more than a third of the rounds is invalid.
    """
    valid: list[dict[T, R]] = []
    faults: list[str] = []
    for number in range(1, rounds + 1):
        try:
            valid.append({key: readers[key]() for key in in_turn(list(readers), number - 1)})
            verdict = "valid"
        except InvalidError as error:
            faults.append(f"round {number}: {error}")
            verdict = "invalid"
        show(f"round {number} of {rounds}: {verdict}")
    if len(faults) > rounds // 3:
        raise InvalidError("\n".join(faults))
    return valid, [f"dropped {fault.splitlines()[0]}" for fault in faults]
