"""The report of `make bench`, with made-up readings."""

import json
from pathlib import Path

import pytest

from bench.contest import Reading, Round
from bench.report import Report

COSTS = {
    "recipe_debian": [400, 800],
    "recipe_tlsf": [300, 600],
    "relay": [200, 400],
    "whence": [220, 440],
}


@pytest.fixture
def report() -> Report:
    rounds: list[Round] = [
        {key: Reading(costs[number], 7) for key, costs in COSTS.items()} for number in range(2)
    ]
    return Report({key: f"the {key}" for key in COSTS}, rounds, {"rounds": 2, "kamailio": "5.6.3"})


def test_json_has_each_cost_and_ratio(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path)
    written = json.loads((tmp_path / "calls.json").read_text("utf-8"))
    whence = written["contestants"]["whence"]
    assert whence["cost_us"] == {"median": 330, "low": 220, "high": 440}
    assert whence["ratio_to"]["recipe_debian"] == {"median": 0.55, "low": 0.55, "high": 0.55}
    assert whence["ratio_to"]["relay"]["median"] == 1.1
    assert written["goals"] == {"recipe_debian": 0.6, "relay": 1.15}
    assert written["rounds"][1]["relay"] == {"kamailio_us": 400, "beside_us": 7}


def test_text_has_the_same_values(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path)
    text = (tmp_path / "calls.txt").read_text("utf-8")
    [row] = [line for line in text.splitlines() if "the whence" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["the whence", "330 (220–440)", "0.55 (0.55–0.55)", "1.10 (1.10–1.10)"]
    assert "Whence ÷ recipe as Debian: 0.55; goal 0.6: met" in text
    assert "kamailio 5.6.3" in text
