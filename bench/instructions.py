"""`make bench-instructions`: the instructions of a call, counted by callgrind."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

from bench.contestants.base import Contestant, Stage
from bench.contestants.native import RecipeTlsf, Relay
from bench.contestants.whence import GrantedNode
from bench.layout import Layout, Pattern
from bench.report import Circumstances, Goal, Report, Session, Table
from bench.rounds import InvalidError
from testkit.network import Network

TRUNKS = 1_000
RELAY, BEFORE, FIRST = "bare relay", "Whence, decided before", "Whence, first time"
MOST: Mapping[str, float] = {BEFORE: 1.10, FIRST: 2.5}

_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.M)
_WRAPPER = """#!/bin/sh
case " $* " in
*" -DD "*) exec {valgrind} --tool=callgrind --quiet --callgrind-out-file={out}/%p {kamailio} "$@" ;;
esac
exec {kamailio} "$@"
"""


class Entry(NamedTuple):
    """A contestant with one worker, and the pattern of its calls."""

    contestant: type[Contestant]
    pattern: Pattern


ENTRIES: Mapping[str, Entry] = {
    RELAY: Entry(Relay, "all"),
    RecipeTlsf.title: Entry(RecipeTlsf, "all"),
    BEFORE: Entry(GrantedNode, "few"),
    FIRST: Entry(GrantedNode, "anew"),
}


def measure(few: int, many: int, rate: float) -> Report:
    """Count the instructions of a call, in the user space of the one worker.

    Each contestant carries *few* calls in one run and *many* in another. The difference has no
    instructions of the start.

    Raises: InvalidError or ValueError if a call failed or a process left no count.
    """
    session = Session()
    cost: dict[str, float] = {}
    for title, entry in ENTRIES.items():
        shorter, longer = (_count(entry, number, rate) for number in (few, many))
        cost[title] = grown(shorter, longer) / (many - few)
        session.show(f"{title}: {cost[title]:.0f} instructions a call")
    how = session.circumstances(calls=f"{few} and {many}", calls_a_second=rate, trunks=TRUNKS)
    return report(cost, how)


def report(cost: Mapping[str, float], how: Circumstances) -> Report:
    """Return the results. *cost*: title → instructions a call."""
    ratio = {title: value / cost[RELAY] for title, value in cost.items()}
    rows = [[title, f"{value:.0f}", f"{ratio[title]:.2f}"] for title, value in cost.items()]
    table = Table(
        "instructions of the one worker, in user space, under callgrind",
        ("", "instructions a call", f"÷ {RELAY}"),
        rows,
    )
    goals = [
        Goal(f"instructions a call ÷ {RELAY}, {title}", ratio[title], most)
        for title, most in MOST.items()
    ]
    return Report("instructions", [table], goals, how, cost)


def grown(shorter: Sequence[int], longer: Sequence[int]) -> int:
    """Return the growth of the worker: the process that grew most between two runs.

    *shorter*, *longer*: instructions of each process, in the order of their start. That order is
    the same in each run, so the start of a process is subtracted from its own count.
    Raises: ValueError if the runs had different numbers of processes.
    """
    return max(after - before for before, after in zip(shorter, longer, strict=True))


def totals(counts: Mapping[int, str]) -> list[int]:
    """Return the instructions of each process. *counts*: pid → its file of callgrind.

    Raises: ValueError if a process wrote no total, or if there is no process.
    """
    found = [_TOTAL.findall(counts[pid]) for pid in sorted(counts)]
    if not found or not all(found):
        raise ValueError(f"of {len(found)} processes {sum(not f for f in found)} wrote no total")
    return [int(one[-1]) for one in found]


def _count(entry: Entry, calls: int, rate: float) -> list[int]:
    """Let a contestant carry the calls; return the instructions of each of its processes."""
    with (
        Network() as network,
        tempfile.TemporaryDirectory(prefix="whence-bench-") as folder,
        _counted(Path(folder)) as out,
    ):
        layout = Layout(TRUNKS, "one", IPv4Address(network.ip("provider")))
        stage = Stage(network, Path(folder), layout, workers=1)
        with entry.contestant(stage).serving() as contestant:
            contestant.carry(1, rate, entry.pattern, warm_up=True)  # Python loads at the first call
            contestant.carry(calls, rate, entry.pattern)
        return totals({int(file.name): file.read_text("utf-8") for file in out.iterdir()})


@contextmanager
def _counted(home: Path) -> Iterator[Path]:
    """Let each Kamailio that starts in this context write its counts into the yielded folder.

    Each process writes one file when it ends. A Kamailio that only checks a configuration does not.
    """
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    valgrind, kamailio = shutil.which("valgrind"), shutil.which("kamailio", path=path)
    if valgrind is None:
        raise InvalidError("valgrind is not installed; install it: apt-get install valgrind")
    programs, out = home / "programs", home / "counts"
    programs.mkdir()
    out.mkdir()
    wrapper = programs / "kamailio"
    wrapper.write_text(_WRAPPER.format(valgrind=valgrind, kamailio=kamailio, out=out), "utf-8")
    wrapper.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{programs}:{path}"
    try:
        yield out
    finally:
        os.environ["PATH"] = before
