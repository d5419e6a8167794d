"""The results of `make bench-registrations`, with made-up readings."""

from dataclasses import replace

import pytest

from bench.registrations import MANY, Reading, report, slope

READING = Reading(
    trunks=1_000,
    first_s=1.2,
    all_s=2.5,
    cpu_s=2.4,
    agent_us=600,
    idle_ms=3,
    idle_ours_ms=0.4,
    bytes=100_000_000,
    agent_bytes=40_000_000,
)
MORE = replace(READING, trunks=10_000, agent_us=440, bytes=280_000_000, agent_bytes=67_000_000)
START = Reading(trunks=MANY, first_s=9.0)


def held(*readings: Reading) -> dict[str, bool]:
    return {goal.title: goal.held for goal in report({"Whence": readings}, {}).goals}


def test_slope_is_between_fewest_and_most_trunks() -> None:
    assert slope([READING, MORE, START], lambda one: one.agent_bytes) == 3_000
    slow = replace(READING, agent_bytes=50_000_000)
    assert slope([READING, slow, READING, MORE], lambda one: one.agent_bytes) == 3_000


def test_goals_have_the_medians_of_their_trunks() -> None:
    goals = held(READING, replace(READING, first_s=1.4), replace(READING, first_s=1.1), MORE, START)
    assert goals == {
        "1000 trunks: CPU time until all are registered, all processes": True,
        "1000 trunks: first REGISTER after the launch": True,
        "100000 trunks: first REGISTER after the launch": False,
        "10000 trunks: agent a registration": True,
        "1000 trunks: supervisor and agent at rest, a second": True,
        "1000 trunks: memory of all processes (PSS)": True,
        "memory of the agent a trunk": False,
    }


@pytest.mark.parametrize(
    ("worse", "missed"),
    [
        (replace(READING, cpu_s=2.6), "CPU time until"),
        (replace(READING, first_s=1.31), "first REGISTER"),
        (replace(READING, idle_ours_ms=0.6), "supervisor and agent"),
        (replace(READING, bytes=110_000_001), "memory of all"),
    ],
)
def test_goal_is_missed_by_its_own_figure(worse: Reading, missed: str) -> None:
    titles = [title for title, is_held in held(worse, MORE).items() if not is_held]
    assert [missed in title for title in titles if "of the agent a trunk" not in title] == [True]


def test_goals_of_one_size_have_no_slope() -> None:
    assert "memory of the agent a trunk" not in held(READING)


def test_rows_are_for_each_contestant_and_size() -> None:
    found = report({"Whence": [READING, READING, MORE], "uac": [READING]}, {}, ["a note"])
    assert [row[:2] for row in found.tables[0].rows] == [
        ["1000", "Whence"],
        ["10000", "Whence"],
        ["1000", "uac"],
    ]
    assert found.notes == ["Whence: 20000 bytes a trunk in all processes", "a note"]
