"""The database of the model world: the statements on nodes and slots, commits, and their loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from whence.core.cluster.rows import Declare, HandOver, NodeRow, NodeState, SlotRow

HISTORY_S = 30.0


@dataclass(slots=True)
class Tables:
    """The rows, as a commit left them."""

    nodes: dict[str, NodeRow] = field(default_factory=dict)
    slots: dict[int, SlotRow] = field(default_factory=dict)

    def copy(self) -> Tables:
        return Tables(dict(self.nodes), dict(self.slots))


Term = Callable[[int], int]
"""Makes the next term of a former one."""


@dataclass(slots=True)
class Server:
    """One primary. A standby that takes over has the tables of an earlier commit."""

    timeline: int
    tables: Tables
    term: Term
    alive: bool = True
    compares_beat: bool = True
    history: list[tuple[float, Tables]] = field(default_factory=list)

    def commit(self, now: float) -> None:
        self.history.append((now, self.tables.copy()))
        if now - self.history[0][0] > 2 * HISTORY_S:
            self.history = [h for h in self.history if now - h[0] <= HISTORY_S]

    def as_of(self, instant: float) -> Tables:
        """Return the tables of the last commit up to the instant."""
        kept = self.history[0][1]
        for at, tables in self.history:
            if at > instant:
                break
            kept = tables
        return kept.copy()

    def join(self, name: str) -> int:
        old = self.tables.nodes.get(name)
        epoch, beat = (old.epoch + 1, old.beat + 1) if old else (1, 1)
        self.tables.nodes[name] = NodeRow(name, epoch, beat, NodeState.UP)
        return epoch

    def beat(
        self, name: str, epoch: int, named: frozenset[str], *, draining: bool
    ) -> tuple[list[NodeRow], list[SlotRow]] | None:
        node = self._leased(name, epoch)
        if node is None:
            return None
        state = NodeState.DRAINING if draining else node.state
        self.tables.nodes[name] = replace(node, beat=node.beat + 1, named=named, state=state)
        return list(self.tables.nodes.values()), list(self.tables.slots.values())

    def declare(self, change: Declare) -> bool:
        node = self._leased(change.node, change.epoch)
        if node is None or (self.compares_beat and node.beat != change.beat):
            return False
        self._end(node, NodeState.DEAD)
        return True

    def leave(self, name: str, epoch: int) -> None:
        if node := self._leased(name, epoch):
            self._end(node, NodeState.LEFT)

    def take(
        self, name: str, epoch: int, terms: Mapping[int, int], former: str | None
    ) -> dict[int, int]:
        """Claim free slots (`former` is None), or reclaim those of the node itself."""
        node = self._leased(name, epoch)
        if node is None or (former is None and node.state is not NodeState.UP):
            return {}
        taken = {}
        for slot, term in terms.items():
            row = self.tables.slots[slot]
            if row.term == term and row.node == former:
                taken[slot] = self.term(term)
                self.tables.slots[slot] = SlotRow(slot, name, epoch, taken[slot])
        return taken

    def hand_over(self, name: str, change: HandOver) -> None:
        row, to = self.tables.slots[change.slot], self.tables.nodes.get(change.to)
        if (row.node, row.term) == (name, change.term) and to and to.state is NodeState.UP:
            term = self.term(row.term)
            self.tables.slots[change.slot] = SlotRow(change.slot, to.name, to.epoch, term)

    def _leased(self, name: str, epoch: int) -> NodeRow | None:
        node = self.tables.nodes.get(name)
        return node if node and node.epoch == epoch and node.alive else None

    def _end(self, node: NodeRow, state: NodeState) -> None:
        self.tables.nodes[node.name] = replace(
            node, epoch=node.epoch + 1, beat=node.beat + 1, state=state
        )
        for slot, row in self.tables.slots.items():
            if row.node == node.name:
                self.tables.slots[slot] = SlotRow(slot, None, None, self.term(row.term))
