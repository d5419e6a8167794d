"""Medians, spreads, and ratios within a round, of several rounds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")


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
