"""Medians, spreads and ratios of the bench's rounds."""

from random import Random
from statistics import StatisticsError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rounds import InvalidError, Spread, hold, in_turn, ratios

COSTS = st.floats(min_value=1, max_value=10_000)
ROUNDS = st.lists(st.tuples(COSTS, COSTS), min_size=1, max_size=20)


@given(st.lists(COSTS, min_size=1), st.randoms())
def test_spread_does_not_depend_on_the_order(readings: list[float], random: Random) -> None:
    shuffled = list(readings)
    random.shuffle(shuffled)
    assert Spread.of(shuffled) == Spread.of(readings)


@given(st.lists(COSTS, min_size=1))
def test_spread_has_its_median_inside(readings: list[float]) -> None:
    spread = Spread.of(readings)
    assert spread.low <= spread.median <= spread.high


def test_median_ignores_one_bad_reading() -> None:
    assert Spread.of([200, 210, 5000]) == Spread(210, 200, 5000)


def test_spread_of_no_reading_raises() -> None:
    with pytest.raises(StatisticsError):
        Spread.of([])


@given(ROUNDS, st.lists(st.floats(min_value=0.1, max_value=10), min_size=20, max_size=20))
def test_ratio_of_a_round_ignores_a_slow_machine(
    rounds: list[tuple[float, float]], slowness: list[float]
) -> None:
    mine, others = zip(*rounds, strict=True)
    slow = [(a * factor, b * factor) for (a, b), factor in zip(rounds, slowness, strict=False)]
    slow_mine, slow_others = zip(*slow, strict=True)
    assert ratios(slow_mine, slow_others) == pytest.approx(ratios(mine, others))


def test_ratios_of_different_lengths_raise() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


@given(st.integers(min_value=1, max_value=6), st.integers(min_value=0, max_value=100))
def test_in_turn_has_each_once_and_rotates_the_first(contestants: int, round_: int) -> None:
    order = in_turn(range(contestants), round_)
    assert sorted(order) == list(range(contestants))
    assert order[0] == round_ % contestants


def test_hold_drops_a_round_with_an_invalid_reading() -> None:
    readings = iter([1, 2, 3])

    def fails_once() -> int:
        if (reading := next(readings)) == 2:
            raise InvalidError("a call failed")
        return reading

    shown: list[str] = []
    valid, faults = hold({"a": fails_once, "b": lambda: 0}, 3, shown.append)
    assert valid == [{"a": 1, "b": 0}, {"a": 3, "b": 0}]
    assert faults == ["dropped round 2: a call failed"]
    assert shown == ["round 1 of 3: valid", "round 2 of 3: invalid", "round 3 of 3: valid"]


def test_hold_with_more_than_a_third_invalid_raises() -> None:
    readings = iter([0, 1, 0, 1, 0])

    def fails_twice() -> int:
        if next(readings):
            raise InvalidError("a call failed")
        return 0

    with pytest.raises(InvalidError, match="round 2: a call failed\nround 4: a call failed"):
        hold({"a": fails_twice}, 5, lambda _: None)


def test_text_has_the_range_if_there_is_one() -> None:
    assert Spread.of([2.0, 1.0, 4.0]).text() == "2 (1–4)"
    assert Spread.of([1.234]).text(".2f") == "1.23"
