"""What several rounds say together: medians, spreads, and ratios within a round. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some readings and how far they lie apart; in their own unit."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, readings: Sequence[float]) -> Spread:
        """Sum up *readings*; StatisticsError where there are none."""
        return cls(median(readings), min(readings), max(readings))


def ratios(readings: Sequence[float], others: Sequence[float]) -> list[float]:
    """Divide reading by reading of the same round.

    A machine is slow for minutes at a time. Two readings of one round were both taken then, and
    the slowness cancels; the ratio of two medians, from different rounds, would keep it.
    """
    return [mine / other for mine, other in zip(readings, others, strict=True)]


def in_turn(contestants: Sequence[T], round_: int) -> list[T]:
    """Return the order of a round: who comes first moves on by one."""
    first = round_ % len(contestants)
    return [*contestants[first:], *contestants[:first]]
