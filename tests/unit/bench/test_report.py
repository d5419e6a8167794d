"""Goals, and the two files of a report."""

import json
from pathlib import Path

import pytest
import typer

from bench.report import Goal, Report, Session, Table, debian_arguments


@pytest.mark.parametrize(
    ("goal", "sentence"),
    [
        (Goal("cost", 0.55, 0.6), "cost: goal 0.6, figure 0.55: held"),
        (Goal("agent", 230.1, 80, "µs"), "agent: goal 80 µs, figure 230.1 µs: not held"),
        (Goal("memory", 2499.7, 2500, "bytes"), "memory: goal 2500 bytes, figure 2500 bytes: held"),
    ],
)
def test_sentence_has_goal_figure_and_verdict(goal: Goal, sentence: str) -> None:
    assert goal.sentence() == sentence


def test_figure_above_the_goal_is_not_rounded_to_it() -> None:
    assert Goal("cost", 0.6001, 0.6).sentence() == "cost: goal 0.6, figure 0.6001: not held"


def test_text_and_json_have_the_same_values(tmp_path: Path) -> None:
    table = Table("costs", ("", "µs"), [["Whence", "345 (230–460)"]])
    goal = Goal("cost", 0.55, 0.6)
    Report("calls", [table], [goal], {"Kamailio": "5.6.3"}, [{"a": 1.23456}], ["a note"]).write(
        tmp_path
    )
    text = (tmp_path / "calls.txt").read_text("utf-8")
    for line in ("345 (230–460)", "a note", goal.sentence(), "Kamailio: 5.6.3"):
        assert line in text
    written = json.loads((tmp_path / "calls.json").read_text("utf-8"))
    assert written["goals"] == [
        {"title": "cost", "figure": 0.55, "most": 0.6, "unit": "", "held": True}
    ]
    assert written["readings"] == [{"a": 1.235}]
    assert written["circumstances"] == {"Kamailio": "5.6.3"}


def test_circumstances_name_what_a_comparison_needs() -> None:
    found = Session().circumstances(rounds=5, calls_a_second=400)
    assert {"processors", "load average at start and end", "Kamailio"} <= found.keys()
    assert (found["rounds"], found["calls a second"]) == (5, 400)
    assert str(found["Debian starts Kamailio with"]).startswith(" ".join(debian_arguments()))


def test_reject_raises_if_there_is_a_fault() -> None:
    Session().reject([])
    with pytest.raises(typer.Exit):
        Session().reject(["round 1: a call failed"])
