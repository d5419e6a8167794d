"""Reading callgrind's output, and the goals of `make bench-instructions`."""

import pytest

from bench.instructions import BEFORE, FIRST, RELAY, grown, report, totals

COUNTED = "version: 1\nevents: Ir\nsummary: {0}\n\nfn=(1) main\n1 5\n\ntotals: {0}\n"


def test_totals_are_in_the_order_of_pids() -> None:
    files = {pid: COUNTED.format(n) for pid, n in ((1002, 700), (999, 5), (1000, 30))}
    assert totals(files) == [5, 30, 700]


def test_totals_without_a_count_raise() -> None:
    with pytest.raises(ValueError, match="of 2 processes 1 wrote no total"):
        totals({1: COUNTED.format(5), 2: "events: Ir\n"})


def test_totals_without_a_process_raise() -> None:
    with pytest.raises(ValueError, match="of 0 processes"):
        totals({})


def test_grown_is_the_worker_not_the_busiest_process() -> None:
    registrar_client, worker = 900_000, 1_000
    assert grown([5, registrar_client, worker], [5, registrar_client + 10, worker + 500]) == 500


def test_grown_of_other_processes_raises() -> None:
    with pytest.raises(ValueError, match="longer"):
        grown([1, 2], [1, 2, 3])


def test_goals_are_ratios_to_the_relay() -> None:
    goals = report({RELAY: 200.0, BEFORE: 210.0, FIRST: 600.0}, {}).goals
    assert [(goal.figure, goal.most, goal.held) for goal in goals] == [
        (1.05, 1.1, True),
        (3.0, 2.5, False),
    ]
