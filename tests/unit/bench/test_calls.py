"""The results of `make bench`, with made-up readings."""

import pytest

from bench.calls import Round, report

TITLES = {
    "recipe_debian": "recipe as Debian",
    "relay": "bare relay",
    "whence": "Whence",
    "asterisk": "asterisk",
}
COSTS = {"recipe_debian": [400, 800], "relay": [200, 400], "asterisk": [4000, 8000]}
OURS = {"kamailio": 150.0, "agent": 79.0, "supervisor": 1.0}


def rounds(*rates: int) -> list[Round]:
    found: list[Round] = []
    for number, factor in enumerate((1, 2)):
        costs: dict[str, dict[str, float]] = {
            name: {"other" if name == "asterisk" else "kamailio": costs[number]}
            for name, costs in COSTS.items()
        }
        costs["whence"] = {role: us * factor for role, us in OURS.items()}
        found.append({(name, rate): us for name, us in costs.items() for rate in rates})
    return found


def test_cost_has_all_processes_of_a_contestant() -> None:
    table = report(TITLES, [400], rounds(400), {}).tables[0]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["Whence"][:4] == ["345 (230–460)", "225 (150–300)", "118 (79–158)", "2 (1–2)"]
    assert rows["Whence"][4:] == ["0.57", "1.15"]
    assert rows["asterisk"][:2] == ["6000 (4000–8000)", "0"]


def test_goals_are_for_each_rate_and_for_the_agent() -> None:
    goals = report(TITLES, [50, 400], rounds(50, 400), {}).goals
    assert [goal.figure for goal in goals] == pytest.approx([0.575, 0.575, 118.5])
    assert [goal.held for goal in goals] == [True, True, False]


def test_agent_has_no_goal_at_another_rate() -> None:
    assert len(report(TITLES, [400], rounds(400), {}).goals) == 1
