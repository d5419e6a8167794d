"""The report of `make bench-freshness`, with made-up probes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fresh import Fresh, Probe, percentile

VALUES = st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=300)


@given(VALUES, st.floats(min_value=1, max_value=100))
def test_percentile_bounds_its_share_of_values(values: list[float], percent: float) -> None:
    reached = percentile(values, percent)
    assert reached in values
    assert sum(value <= reached for value in values) >= len(values) * percent / 100 - 1e-9


def test_percentile_99_of_100_is_the_last_but_one() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile(range(1, 101), 50) == 50


def test_percentile_of_no_value_raises() -> None:
    with pytest.raises(ValueError, match="no value"):
        percentile([], 50)


def test_goal_is_for_the_99th_percentile(tmp_path: Path) -> None:
    quick, slow = Probe(3.0, 1), Probe(50.0, 40)
    assert Fresh([quick] * 99 + [slow], 100, {}).met
    late = Fresh([quick] * 98 + [slow] * 2, 99.6, {"kamailio": "5.6.3"})
    assert not late.met
    late.write(tmp_path)
    text = (tmp_path / "freshness.txt").read_text("utf-8")
    assert "p50 3.0 ms, p99 50.0 ms, at most 50.0 ms" in text
    assert "goal p99 10 ms: not met" in text
    assert "registrations_a_second_beside 99.6" in text
    written = json.loads((tmp_path / "freshness.json").read_text("utf-8"))
    assert (written["p99_ms"], written["met"], written["probes"][0]) == (50.0, False, [3.0, 1])
