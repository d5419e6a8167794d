"""`make bench-registrations`: what it costs to start, to register, and to stay registered.

Whence and Kamailio's module `uac` register the same accounts at a real registrar that challenges
each of them. Each measurement launches the contestant anew.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median

from bench.contestants.base import Contestant, Stage
from bench.contestants.native import Uac
from bench.contestants.peer import Peer
from bench.contestants.whence import Node
from bench.layout import Layout
from bench.processes import AGENT, SUPERVISOR, ProcessesChangedError, cpu, memory
from bench.registrar import Count, Registrar
from bench.report import Circumstances, Goal, Report, Session, Table
from bench.rounds import InvalidError, Spread, in_turn
from testkit.network import Network

LOOK_S = 0.02
SILENT_S = 300.0
"""Without progress for so long, the contestant has failed."""
REST_S = 8.0
"""From the last registration until the contestant counts as idle: its transactions have ended."""

MOST_CPU_S, MOST_FIRST_S, MOST_MB = 2.5, 1.3, 110.0
"""With `TRUNKS` trunks: all processes' CPU time until registered, first REGISTER, memory (PSS)."""
TRUNKS = 1_000
SIZES = [1_000, 10_000]
MANY, MOST_FIRST_MANY_S = 100_000, 8.0
MOST_AGENT_US, MOST_IDLE_MS, MOST_BYTES = 450.0, 0.5, 2_500.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a contestant needed, from its launch on.

    *cpu_s*: all processes until all trunks were registered. *agent_us*: the agent's time from the
    first REGISTER until then, a registration. *idle_ms*, *idle_ours_ms*: CPU time a second at rest,
    of all processes, and of supervisor and agent. *bytes*: memory at rest (PSS). A reading of the
    start alone has only *first_s*.
    """

    trunks: int
    first_s: float
    all_s: float = 0
    cpu_s: float = 0
    agent_us: float = 0
    idle_ms: float = 0
    idle_ours_ms: float = 0
    bytes: int = 0
    agent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """*only_start*: end with the first REGISTER. *idle_s*: how long it is observed at rest."""

    trunks: int
    idle_s: float
    only_start: bool = False


Value = Callable[[Reading], float]

COLUMNS: Mapping[str, tuple[Value, str]] = {
    "1st REGISTER, s": (lambda one: one.first_s, ".2f"),
    "registered, s": (lambda one: one.all_s, ".2f"),
    "CPU till then, s": (lambda one: one.cpu_s, ".2f"),
    "agent, µs each": (lambda one: one.agent_us, ".0f"),
    "at rest, ms/s": (lambda one: one.idle_ms, ".2f"),
    "without Kamailio": (lambda one: one.idle_ours_ms, ".2f"),
    "PSS, MB": (lambda one: one.bytes / 1e6, ".0f"),
    "agent, MB": (lambda one: one.agent_bytes / 1e6, ".0f"),
}
"""Heading → a value of a reading, and its form."""

Start = Callable[[Stage], Contestant]
Results = Mapping[str, Sequence[Reading]]
"""Title → its readings, of several numbers of trunks and several rounds."""


def measure(
    rounds: int, trunks: Sequence[int], start_trunks: int, idle_s: float, peers: Sequence[str]
) -> Report:
    """Measure all contestants with each number of trunks, in turn.

    Rounds are for the least number; the others are measured once. *start_trunks*: a number with
    which Whence only starts; 0: none. Raises: typer.Exit if a reading of Whence is invalid.
    """
    session = Session()
    starts: dict[str, Start] = {Node.title: Node, Uac.title: Uac}
    starts |= {name: partial(Peer, name=name) for name in peers}
    results: dict[str, list[Reading]] = {title: [] for title in starts}
    notes: list[str] = []
    for number in sorted(trunks):
        for turn in range(rounds if number == min(trunks) else 1):
            for title in in_turn(list(starts), turn):
                try:
                    reading = _read(starts[title], Task(number, idle_s))
                except InvalidError as error:
                    notes.append(f"{title}, {number} trunks: no result: {error}")
                    session.show(notes[-1])
                    continue
                results[title].append(reading)
                session.show(f"{title}, {number} trunks: registered in {reading.all_s:.1f} s")
    try:
        if start_trunks:
            results[Node.title].append(_read(Node, Task(start_trunks, 0, only_start=True)))
    except InvalidError as error:
        notes.append(f"{Node.title}, {start_trunks} trunks: {error}")
    session.reject([note for note in notes if note.startswith(Node.title)])
    how = session.circumstances(rounds=rounds, seconds_at_rest=idle_s)
    return report(results, how, notes)


def report(results: Results, how: Circumstances, notes: Sequence[str] = ()) -> Report:
    """Return the results of all readings."""
    rows = []
    for title, readings in results.items():
        for number, some in _by_trunks(readings).items():
            values = [Spread.of([value(one) for one in some]) for value, _ in COLUMNS.values()]
            forms = [form for _, form in COLUMNS.values()]
            texts = [v.text(form) if v.high else "" for v, form in zip(values, forms, strict=True)]
            rows.append([str(number), title, *texts])
    heading = "from the launch on, and CPU time and memory at rest: median (lowest–highest)"
    table = Table(heading, ("trunks", "", *COLUMNS), rows, 2)
    read = {title: [asdict(one) for one in some] for title, some in results.items()}
    slopes = [
        f"{title}: {slope(some, lambda one: one.bytes):.0f} bytes a trunk in all processes"
        for title, some in results.items()
        if len(_registered(some)) > 1
    ]
    goals = _goals(results[Node.title])
    return Report("registrations", [table], goals, how, read, [*slopes, *notes])


def slope(readings: Sequence[Reading], of: Value) -> float:
    """Return the difference of a value a trunk, between the fewest and the most trunks."""
    by_trunks = _registered(readings)
    few, many = min(by_trunks), max(by_trunks)
    more = median(map(of, by_trunks[many])) - median(map(of, by_trunks[few]))
    return more / (many - few)


def _goals(readings: Sequence[Reading]) -> list[Goal]:
    goals = []

    def add(number: int, title: str, of: Value, most: float, unit: str) -> None:
        some = [of(one) for one in readings if one.trunks == number]
        if some:
            goals.append(Goal(f"{number} trunks: {title}", median(some), most, unit))

    add(
        *(TRUNKS, "CPU time until all are registered, all processes", lambda one: one.cpu_s),
        *(MOST_CPU_S, "s"),
    )
    add(TRUNKS, "first REGISTER after the launch", lambda one: one.first_s, MOST_FIRST_S, "s")
    add(MANY, "first REGISTER after the launch", lambda one: one.first_s, MOST_FIRST_MANY_S, "s")
    add(
        *(max(_registered(readings)), "agent a registration", lambda one: one.agent_us),
        *(MOST_AGENT_US, "µs"),
    )
    add(
        *(TRUNKS, "supervisor and agent at rest, a second", lambda one: one.idle_ours_ms),
        *(MOST_IDLE_MS, "ms"),
    )
    add(TRUNKS, "memory of all processes (PSS)", lambda one: one.bytes / 1e6, MOST_MB, "MB")
    if len(_registered(readings)) > 1:
        bytes_a_trunk = slope(readings, lambda one: one.agent_bytes)
        goals.append(Goal("memory of the agent a trunk", bytes_a_trunk, MOST_BYTES, "bytes"))
    return goals


def _by_trunks(readings: Sequence[Reading]) -> dict[int, list[Reading]]:
    found: dict[int, list[Reading]] = {}
    for one in readings:
        found.setdefault(one.trunks, []).append(one)
    return found


def _registered(readings: Sequence[Reading]) -> dict[int, list[Reading]]:
    """Return number of trunks → the readings in which all of them were registered."""
    return _by_trunks([one for one in readings if one.all_s])


def _read(start: Start, task: Task) -> Reading:
    """Launch a contestant, and measure it. Raises: InvalidError."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whence-bench-")))
        registrar = stack.enter_context(Registrar(network.ip("registrar"), home))
        layout = Layout(task.trunks, "one", IPv4Address(registrar.address[0]))
        contestant = start(Stage(network, home, layout, registrar))
        try:
            launched_at = time.monotonic()
            stack.enter_context(contestant.launched())
            return _observe(contestant, registrar, task, launched_at)
        except (ProcessesChangedError, AssertionError) as error:
            raise InvalidError(str(error)) from error


def _observe(
    contestant: Contestant, registrar: Registrar, task: Task, launched_at: float
) -> Reading:
    _wait(contestant, registrar, lambda count: count.seen > 0)
    first_s = time.monotonic() - launched_at
    if task.only_start:
        return Reading(task.trunks, first_s)
    first = cpu(contestant.process)
    done = _wait(contestant, registrar, lambda count: count.registered >= task.trunks)
    registered = cpu(contestant.process)
    all_s = time.monotonic() - launched_at
    contestant.settle()
    _rest(contestant, REST_S)
    held, idle_from = cpu(contestant.process), time.monotonic()
    _rest(contestant, task.idle_s)
    idle = cpu(contestant.process).since(held)
    seconds = time.monotonic() - idle_from
    used = memory(contestant.process)
    if isinstance(contestant, Node) and contestant.failures():
        raise InvalidError(f"{contestant.failures()} attempts to register failed")
    if registrar.count().seen != done.seen:
        raise InvalidError("REGISTERs arrived at rest")
    ours = idle.get(AGENT, 0) + idle.get(SUPERVISOR, 0)
    return Reading(
        trunks=task.trunks,
        first_s=first_s,
        all_s=all_s,
        cpu_s=registered.total_ns / 1e9,
        agent_us=(registered.of(AGENT) - first.of(AGENT)) / 1e3 / task.trunks,
        idle_ms=sum(idle.values()) / 1e6 / seconds,
        idle_ours_ms=ours / 1e6 / seconds,
        bytes=sum(used.values()),
        agent_bytes=used.get(AGENT, 0),
    )


def _wait(contestant: Contestant, registrar: Registrar, done: Callable[[Count], bool]) -> Count:
    """Look at the registrar's counters until `done` is true of them. Raises: InvalidError."""
    moved_at, before = time.monotonic(), registrar.count()
    while not done(count := registrar.count()):
        contestant.check()
        if count != before:
            moved_at, before = time.monotonic(), count
        elif time.monotonic() - moved_at > SILENT_S:
            raise InvalidError(f"{contestant.title}: no progress at {count}")
        time.sleep(LOOK_S)
    return count


def _rest(contestant: Contestant, seconds: float) -> None:
    """Let time pass: what is measured is what a program does without work."""
    time.sleep(seconds)
    contestant.check()
