"""`make bench-scale`: the CPU time of a call with few and with many trunks."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import NamedTuple, get_args

from bench.contestants.base import CALLERS_PORT, Contestant, Stage
from bench.contestants.native import Recipe
from bench.contestants.whence import GrantedNode
from bench.layout import Layout, Pattern, Places
from bench.report import Circumstances, Goal, Report, Session, Table
from bench.rounds import Spread, hold, ratios
from testkit.network import Network

MOST = 1.05
SIZES = [10, 100_000]
FIRST = IPv4Address("127.64.0.0")
CALLED: Mapping[Pattern, str] = {
    "few": "the same ten: decided before",
    "anew": "all, each undecided",
    "all": "all in turn",
}
LIKE_FOR_LIKE: Sequence[Pattern] = ("few", "anew")
PLACES: Mapping[Places, str] = {"one": "one address", "spread": "an address each"}


class Key(NamedTuple):
    """A row: contestant, places of the trunks, pattern of the calls, number of trunks."""

    who: str
    places: Places
    pattern: Pattern
    trunks: int


Round = Mapping[Key, float]
"""Row → CPU time of all processes in µs a call."""


def measure(rounds: int, calls: int, rate: float, sizes: Sequence[int]) -> Report:
    """Let Whence and the recipe carry calls, each with few and with many trunks.

    Raises: InvalidError.
    """
    session = Session()
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whence-bench-")))
        ports = count(CALLERS_PORT)
        running: dict[Key, Contestant] = {}
        for trunks in sizes:
            for places in get_args(Places):
                stage = Stage(network, home, Layout(trunks, places, FIRST), ports=ports)
                ours = stack.enter_context(GrantedNode(stage, f"{places}-{trunks}").serving())
                running |= {Key("Whence", places, one, trunks): ours for one in CALLED}
                session.show(f"Whence, {trunks} trunks, {PLACES[places]}: ready")
            recipe = stack.enter_context(Recipe(stage, f"recipe-{trunks}").serving())
            running[Key("recipe", "spread", "all", trunks)] = recipe
        # Readings of one ratio are next to each other in a round, seconds apart.
        order = sorted(running)
        readers = {key: partial(_total, running[key], calls, rate, key.pattern) for key in order}
        session.show("warm-up round: caches fill, and memory is used for the first time")
        warm = {
            key: partial(running[key].carry, calls, rate, key.pattern, warm_up=True)
            for key in order
        }
        hold(warm, 1, lambda _: None)
        measured, dropped = hold(readers, rounds, session.show)
    how = session.circumstances(rounds=rounds, calls_a_reading=calls, calls_a_second=rate)
    return report(order, measured, how, dropped)


def report(
    keys: Sequence[Key], rounds: Sequence[Round], how: Circumstances, notes: Sequence[str] = ()
) -> Report:
    """Return the results of the rounds."""
    rows, goals = [], []
    for key in keys:
        same = [other for other in keys if other._replace(trunks=key.trunks) == key]
        fewest = min(same, key=lambda other: other.trunks)
        costs = [one[key] for one in rounds]
        growth = Spread.of(ratios(costs, [one[fewest] for one in rounds]))
        rows.append(
            [
                *(key.who, PLACES[key.places], CALLED[key.pattern], str(key.trunks)),
                *(Spread.of(costs).text(), growth.text(".2f")),
            ]
        )
        is_goal = key.who == "Whence" and key.pattern in LIKE_FOR_LIKE
        if is_goal and key == max(same, key=lambda other: other.trunks) != fewest:
            what = f"{PLACES[key.places]}, {CALLED[key.pattern]}"
            name = f"growth from {fewest.trunks} to {key.trunks} trunks, {what}"
            goals.append(Goal(name, growth.median, MOST))
    columns = ("", "trunks at", "called", "trunks", "µs a call", "÷ fewest trunks")
    heading = "CPU time of all processes: median (lowest–highest)"
    readings = [{"/".join(map(str, key)): us for key, us in one.items()} for one in rounds]
    return Report("scale", [Table(heading, columns, rows, 3)], goals, how, readings, notes)


def _total(contestant: Contestant, calls: int, rate: float, pattern: Pattern) -> float:
    return sum(contestant.read(calls, rate, pattern).values())
