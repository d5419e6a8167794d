"""The growth in `make bench-scale`, with made-up readings."""

from bench.scale import Key, report

KEYS = [
    Key("Whence", "one", "few", 10),
    Key("Whence", "one", "few", 1_000),
    Key("Whence", "one", "few", 100_000),
    Key("Whence", "one", "all", 10),
    Key("Whence", "one", "all", 100_000),
    Key("recipe", "spread", "all", 10),
    Key("recipe", "spread", "all", 100_000),
]
COSTS = [[200, 400], [204, 408], [208, 416], [200, 400], [400, 800], [400, 800], [400, 800]]
ROUNDS = [{key: costs[n] for key, costs in zip(KEYS, COSTS, strict=True)} for n in range(2)]


def test_growth_divides_most_by_fewest_of_each_round() -> None:
    rows = report(KEYS, ROUNDS, {}).tables[0].rows
    assert [row[-1] for row in rows] == ["1.00", "1.02", "1.04", "1.00", "2.00", "1.00", "1.00"]


def test_goals_are_for_like_calls_of_whence_alone() -> None:
    [goal] = report(KEYS, ROUNDS, {}).goals
    assert (goal.figure, goal.most, goal.held) == (1.04, 1.05, True)
    assert "from 10 to 100000 trunks, one address, the same ten" in goal.title


def test_goals_of_one_size_are_none() -> None:
    assert report(KEYS[:1], ROUNDS, {}).goals == []
