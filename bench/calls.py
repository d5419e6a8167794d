"""`make bench`: the CPU time of a call in all processes, for Whence, the recipe and a relay."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from bench.contestants.base import Contestant, Stage
from bench.contestants.native import DropIn, Recipe, RecipeTlsf, Relay
from bench.contestants.peer import Peer
from bench.contestants.whence import Node
from bench.layout import Layout
from bench.processes import AGENT, KAMAILIO, SUPERVISOR
from bench.registrar import Registrar
from bench.report import Circumstances, Goal, Report, Session, Table
from bench.rounds import Spread, hold, ratios
from testkit.network import Network

RATES = [50, 400]
WARM_RATE = 200
"""At least so many calls a second warm up."""
MOST_OF_RECIPE = 0.6
AGENT_RATE, MOST_AGENT_US = 50, 80
CONTESTANTS: Sequence[type[Contestant]] = (Recipe, RecipeTlsf, DropIn, Relay, Node)

Reading = Mapping[str, float]
"""Role → CPU time in µs a call."""
Round = Mapping[tuple[str, int], Reading]
"""(contestant, calls a second) → its reading."""


def measure(
    rounds: int, seconds: float, rates: Sequence[int], trunks: int, peers: Sequence[str]
) -> Report:
    """Let all contestants carry calls in turn, and return the results.

    *seconds*: of calls in a reading. Raises: InvalidError.
    """
    session = Session()
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whence-bench-")))
        registrar = stack.enter_context(Registrar(network.ip("registrar"), home))
        layout = Layout(trunks, "one", IPv4Address(registrar.address[0]))
        stage = Stage(network, home, layout, registrar)
        contestants = [one(stage) for one in CONTESTANTS] + [Peer(stage, name) for name in peers]
        for contestant in contestants:
            stack.enter_context(contestant.serving())
            session.show(f"{contestant.title}: ready")
        session.show("warm-up round: caches fill, and memory is used for the first time")
        warm_rate = max(*rates, WARM_RATE)
        warm = {
            one.name: partial(one.carry, 2 * trunks, warm_rate, warm_up=True) for one in contestants
        }
        hold(warm, 1, lambda _: None)
        readers = {
            (one.name, rate): partial(one.read, round(rate * seconds), rate)
            for rate in rates
            for one in contestants
        }
        measured, dropped = hold(readers, rounds, session.show)
        titles = {one.name: one.title for one in contestants}
    how = session.circumstances(rounds=rounds, seconds_of_calls_a_reading=seconds, trunks=trunks)
    return report(titles, rates, measured, how, dropped)


def report(
    titles: Mapping[str, str],
    rates: Sequence[int],
    rounds: Sequence[Round],
    how: Circumstances,
    notes: Sequence[str] = (),
) -> Report:
    """Return the results of the rounds. *titles*: contestant → its title, in order."""

    def costs(name: str, rate: int, *roles: str) -> list[float]:
        readings = [one[name, rate] for one in rounds]
        return [sum(us for role, us in r.items() if not roles or role in roles) for r in readings]

    def against(name: str, other: str, rate: int) -> Spread:
        return Spread.of(ratios(costs(name, rate), costs(other, rate)))

    columns = ("", "all processes", "Kamailio", "agent", "supervisor", "÷ recipe", "÷ relay")
    tables = []
    for rate in rates:
        rows = [
            [
                label,
                Spread.of(costs(name, rate)).text(),
                *(
                    Spread.of(costs(name, rate, role)).text()
                    for role in (KAMAILIO, AGENT, SUPERVISOR)
                ),
                *(against(name, other.key, rate).text(".2f") for other in (Recipe, Relay)),
            ]
            for name, label in titles.items()
        ]
        heading = f"CPU time in µs a call at {rate} calls/s: median (lowest–highest)"
        tables.append(Table(heading, columns, rows))
    goals = [
        Goal(
            f"CPU time a call at {rate}/s, all processes ÷ {Recipe.title}",
            against(Node.key, Recipe.key, rate).median,
            MOST_OF_RECIPE,
        )
        for rate in rates
    ]
    if AGENT_RATE in rates:
        agent = Spread.of(costs(Node.key, AGENT_RATE, AGENT)).median
        goals.append(Goal(f"agent a call at {AGENT_RATE}/s", agent, MOST_AGENT_US, "µs"))
    readings = [{f"{name}@{rate}": r for (name, rate), r in one.items()} for one in rounds]
    return Report("calls", tables, goals, how, readings, notes)
