"""The arithmetic of the bench."""

from random import Random
from statistics import StatisticsError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.spread import Spread, in_turn, ratios

COSTS = st.floats(min_value=1, max_value=10_000)
ROUNDS = st.lists(st.tuples(COSTS, COSTS), min_size=1, max_size=20)


@given(st.lists(COSTS, min_size=1), st.randoms())
def test_a_spread_does_not_depend_on_the_order_of_rounds(
    readings: list[float], random: Random
) -> None:
    shuffled = list(readings)
    random.shuffle(shuffled)
    assert Spread.of(shuffled) == Spread.of(readings)


@given(st.lists(COSTS, min_size=1))
def test_the_median_lies_within_the_spread(readings: list[float]) -> None:
    spread = Spread.of(readings)
    assert spread.low <= spread.median <= spread.high


def test_one_bad_reading_does_not_move_the_median() -> None:
    assert Spread.of([200, 210, 5000]) == Spread(210, 200, 5000)


def test_no_reading_has_no_median() -> None:
    with pytest.raises(StatisticsError):
        Spread.of([])


@given(ROUNDS, st.lists(st.floats(min_value=0.1, max_value=10), min_size=20, max_size=20))
def test_a_machine_that_slows_down_for_a_round_does_not_change_its_ratio(
    rounds: list[tuple[float, float]], slowness: list[float]
) -> None:
    mine, others = zip(*rounds, strict=True)
    slow = [(a * factor, b * factor) for (a, b), factor in zip(rounds, slowness, strict=False)]
    slow_mine, slow_others = zip(*slow, strict=True)
    assert ratios(slow_mine, slow_others) == pytest.approx(ratios(mine, others))


def test_readings_of_different_rounds_are_never_compared() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


@given(st.integers(min_value=1, max_value=6), st.integers(min_value=0, max_value=100))
def test_each_comes_once_a_round_and_first_in_turn(contestants: int, round_: int) -> None:
    order = in_turn(range(contestants), round_)
    assert sorted(order) == list(range(contestants))
    assert order[0] == round_ % contestants
