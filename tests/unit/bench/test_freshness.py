"""The results of `make bench-freshness`, with made-up probes."""

from hypothesis import given
from hypothesis import strategies as st

from bench.freshness import Probe, percentile, report

VALUES = st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=300)


@given(VALUES, st.floats(min_value=1, max_value=100))
def test_percentile_bounds_its_share_of_values(values: list[float], percent: float) -> None:
    reached = percentile(values, percent)
    assert reached in values
    assert sum(value <= reached for value in values) >= len(values) * percent / 100 - 1e-9


def test_percentile_99_of_100_is_the_last_but_one() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile(range(1, 101), 50) == 50


def test_goal_is_for_the_99th_percentile() -> None:
    quick, slow = Probe(3.0, 1), Probe(50.0, 40)
    [goal] = report([quick] * 99 + [slow], {}).goals
    assert (goal.figure, goal.held) == (3.0, True)
    late = report([quick] * 98 + [slow] * 2, {})
    assert (late.goals[0].figure, late.goals[0].held) == (50.0, False)
    assert "p50 3.0 ms, p99 50.0 ms, at most 50.0 ms, of 100" in late.notes[0]
    assert late.readings[0] == (3.0, 1)
