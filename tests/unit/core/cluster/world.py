"""A simulated cluster: nodes with the rules of `core.cluster`, a network, a database, and faults.

A world is made from a seed. Messages are slow, lost, or executed after the sender gave up.
Processes pause, crash and stop. Links are cut. The database restarts, and fails over with commits
lost. Clocks drift. After `faults_until_s` all faults end. `run` returns what broke the invariant.

`Setup.off` names rules that the world switches off, at its border to the rules: the product has no
such switch.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from tests.unit.core.cluster.database import Server, Tables
from tests.unit.core.cluster.node import Node
from whence.core.cluster.model import Durations
from whence.core.cluster.rows import SlotRow

CALM_S = 30.0
"""How long a world goes on after the last fault ended."""


DURATIONS = Durations(failsafe_s=20.0, lag_s=10.0, settle_s=2.0)


@dataclass(frozen=True, slots=True)
class Setup:
    """The kind of a world."""

    names: str = "abc"
    slots: int = 3
    durations: Durations = DURATIONS
    drift: float = 0.002
    slow: float = 0.05
    slowest_s: float = 1.9
    loss: float = 0.01
    faults: int = 5
    kinds: tuple[str, ...] = (
        "pause", "crash", "stop", "cut_database", "cut_all", "cut_pair", "restart",
        "failover", "failover",
    )  # fmt: skip
    lag_s: float = 8.0
    server_skew_s: float = 2.0
    faults_until_s: float = 35.0
    off: frozenset[str] = frozenset()


@dataclass(slots=True)
class Outcome:
    """What a world showed. All lists are empty where the rules hold."""

    two_holders: set[tuple[int, str, str]] = field(default_factory=set)
    """Slot, and two nodes that may act on it at one instant."""
    old_terms: set[int] = field(default_factory=set)
    """Slots on which a node acted with a term below that of an earlier holder."""
    unheld: list[int] = field(default_factory=list)
    """Slots without a holder at the end."""
    unbalanced: list[str] = field(default_factory=list)
    """Nodes with more than their share at the end."""
    declared: int = 0
    """How many times a node was declared dead."""

    @property
    def good(self) -> bool:
        return not (self.two_holders or self.old_terms or self.unheld or self.unbalanced)


@dataclass(slots=True)
class World:
    """Time, messages, the database, the nodes, the faults."""

    seed: int
    setup: Setup = field(default_factory=Setup)
    now: float = 0.0
    calm: bool = False
    outcome: Outcome = field(default_factory=Outcome)
    cuts: list[frozenset[str]] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)
    random: Random = field(init=False)
    server: Server | None = field(init=False)
    _skew_s: float = 0.0
    _terms: dict[int, int] = field(default_factory=dict)
    _heap: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _ties: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        rows = {slot: SlotRow(slot, None, None, 0) for slot in range(self.setup.slots)}
        self.server = self._serve(1, Tables({}, rows))
        for name in self.setup.names:
            self.nodes[name] = Node(self, name)

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + max(0.0, seconds), next(self._ties), event))

    def delay_s(self) -> float:
        if not self.calm and self.random.random() < self.setup.slow:
            return self.random.uniform(0.02, self.setup.slowest_s)
        return self.random.uniform(0.001, 0.02)

    def reaches(self, one: str, other: str) -> bool:
        """Return whether a message that is sent or arrives now passes."""
        if frozenset((one, other)) in self.cuts:
            return False
        return self.calm or self.random.random() >= self.setup.loss

    def run(self) -> Outcome:
        """Run until all is calm, and compare."""
        until = self.setup.faults_until_s
        for node in self.nodes.values():
            self.after(self.random.uniform(0, 3), node.start)
        for _ in range(self.random.randint(1, self.setup.faults)):
            self.after(self.random.uniform(8, until), self._fault)
        self.after(until + 16, self._become_calm)
        end = until + 16 + CALM_S
        while self._heap and self._heap[0][0] <= end:
            self.now, _, event = heapq.heappop(self._heap)
            event()
            self._compare()
        self._compare_end()
        return self.outcome

    def _compare(self) -> None:
        """Between two events a node only loses slots: a look after each event misses nothing."""
        acting: dict[int, str] = {}
        for name, node in self.nodes.items():
            for slot, term in node.acting().items():
                if slot in acting:
                    self.outcome.two_holders.add((slot, acting[slot], name))
                acting[slot] = name
                if term < self._terms.get(slot, 0):
                    self.outcome.old_terms.add(slot)
                self._terms[slot] = term

    def _compare_end(self) -> None:
        held = [slot for node in self.nodes.values() for slot in node.acting()]
        self.outcome.unheld = [s for s in range(self.setup.slots) if s not in held]
        share = -(-self.setup.slots // len(self.nodes))
        self.outcome.unbalanced = [n for n, v in self.nodes.items() if len(v.acting()) > share]

    def _become_calm(self) -> None:
        self.calm = True

    def _serve(self, timeline: int, tables: Tables) -> Server:
        skew_s = self.random.uniform(-1, 1) * self.setup.server_skew_s

        def term(former: int) -> int:
            if "terms_of_time" in self.setup.off:
                return former + 1
            return max(former + 1, int((self.now + 10 + skew_s) * 1000))

        made = Server(timeline, tables, term, compares_beat="compares_beat" not in self.setup.off)
        made.commit(self.now)
        return made

    def _fault(self) -> None:
        kind = self.random.choice(self.setup.kinds)
        node = self.random.choice(list(self.nodes.values()))
        seconds = self.random.choice([0.5, 2.0, 5.0, 6.5, 8.0, 15.0])
        others = [name for name in self.nodes if name != node.name]
        match kind:
            case "pause":
                node.pause(seconds)
            case "crash":
                node.crash()
                self.after(self.random.choice([0.1, 3.0, 12.0]), node.start)
            case "stop":
                node.stop()
                self.after(self.random.choice([6.0, 9.0, 15.0]), node.start)
            case "cut_database":
                self._cut([frozenset((node.name, "database"))], seconds)
            case "cut_all":
                self._cut([frozenset((node.name, o)) for o in ["database", *others]], seconds)
            case "cut_pair":
                self._cut([frozenset((node.name, self.random.choice(others)))], seconds)
            case "restart":
                self._replace(seconds / 2, lost_s=0.0, timelines=0)
            case _:
                lost_s = self.random.choice([0.0, self.random.uniform(0, self.setup.lag_s)])
                down_s = self.random.choice([0.5, 3.0, 6.0, 10.0])
                self._replace(down_s, lost_s=lost_s, timelines=1)

    def _cut(self, links: list[frozenset[str]], seconds: float) -> None:
        self.cuts += links

        def heal() -> None:
            for link in links:
                self.cuts.remove(link)

        self.after(seconds, heal)

    def _replace(self, down_s: float, *, lost_s: float, timelines: int) -> None:
        """End the primary, and start one with its commits up to `lost_s` ago."""
        old = self.server
        if old is None:
            return
        old.alive, self.server = False, None
        kept = old.as_of(self.now - lost_s)

        def start() -> None:
            self.server = self._serve(old.timeline + timelines, kept)

        self.after(down_s, start)


def run(seed: int, setup: Setup | None = None, *off: str) -> Outcome:
    """Return what the world of this seed showed, with rules switched off."""
    return World(seed, replace(setup or Setup(), off=frozenset(off))).run()
