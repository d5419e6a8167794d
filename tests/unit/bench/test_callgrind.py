"""Reading callgrind's output."""

import pytest

from bench.callgrind import busiest
from bench.instructions import RELAY, against_relay

COUNTED = "version: 1\nevents: Ir\nsummary: {0}\n\nfn=(1) main\n1 5\n\ntotals: {0}\n"


def test_busiest_process_counts() -> None:
    assert busiest([COUNTED.format(n) for n in (5, 700, 30)]) == 700


def test_busiest_with_a_missing_total_raises() -> None:
    with pytest.raises(ValueError, match="of 2 processes 1 wrote no total"):
        busiest([COUNTED.format(5), "events: Ir\n"])


def test_busiest_without_a_process_raises() -> None:
    with pytest.raises(ValueError, match="of 0 processes"):
        busiest([])


def test_against_relay_divides_by_the_relay() -> None:
    assert against_relay({RELAY: 200.0, "ours": 300.0}) == {RELAY: 1.0, "ours": 1.5}
