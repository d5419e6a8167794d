"""The growth report of `make bench-scale`, with made-up readings."""

import json
from pathlib import Path

import pytest

from bench.contest import Reading, Round
from bench.growth import Growth, Key

KEYS = [
    Key("whence", 100_000, "one", "all"),
    Key("whence", 10, "one", "all"),
    Key("whence", 1_000, "one", "all"),
    Key("whence", 10, "spread", "all"),
    Key("whence", 100_000, "spread", "all"),
    Key("recipe", 10, "spread", "all"),
    Key("recipe", 100_000, "spread", "all"),
]
COSTS = [[208, 416], [200, 400], [204, 408], [200, 400], [220, 440], [400, 800], [400, 800]]


@pytest.fixture
def growth() -> Growth:
    rounds: list[Round] = [
        {str(key): Reading(costs[n], 5) for key, costs in zip(KEYS, COSTS, strict=True)}
        for n in range(2)
    ]
    return Growth(KEYS, rounds, {"kamailio": "5.6.3"})


def test_growth_is_most_by_fewest_within_each_round(growth: Growth) -> None:
    found = {key: spread.median for key, spread in growth.growths().items()}
    assert found == {
        ("recipe", "spread", "all"): 1.0,
        ("whence", "one", "all"): 1.04,
        ("whence", "spread", "all"): 1.1,
    }


def test_text_and_json_have_the_same_values(growth: Growth, tmp_path: Path) -> None:
    growth.write(tmp_path)
    text = (tmp_path / "scale.txt").read_text("utf-8")
    assert "whence, growth at one address, called all in turn: 1.04; goal 1.05: met" in text
    assert "whence, growth at an address each, called all in turn: 1.10; goal 1.05: not" in text
    assert "recipe, growth at an address each, called all in turn: 1.00\n" in text
    written = json.loads((tmp_path / "scale.json").read_text("utf-8"))
    assert written["goal"] == 1.05
    assert {"who": "whence", "places": "one", "called": "all"}.items() <= written["growth"][
        1
    ].items()
    assert written["rounds"][1]["whence-10-one-all"] == 400


def test_growth_of_one_size_is_empty() -> None:
    key = Key("whence", 10, "one", "all")
    assert Growth([key], [{str(key): Reading(1, 0)}], {}).growths() == {}
