"""The state of a node's lease, and its durations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from whence.core.cluster.rows import NodeRow, SlotRow
from whence.core.cluster.slots import SLOTS


@dataclass(frozen=True, slots=True)
class Durations:
    """Every duration of the leases. All nodes of a cluster need the same values."""

    ttl_s: float = 6.0
    """A node is dead after its beat did not change for this time."""
    margin_s: float = 1.0
    """The holder stops this much earlier: for clocks that drift, and for a packet on its way."""
    beat_s: float = 1.0
    failsafe_s: float = 600.0
    """How long the other nodes may replace the database; 0: never."""
    lag_s: float = 30.0
    """How many seconds of commits a promoted standby may lack."""
    settle_s: float = 30.0
    """How long a node is up before others hand slots over to it."""
    moves: int = 8
    """How many slots a node hands over at one beat."""

    @property
    def unnamed_s(self) -> float:
        """How long a node that the row does not name sees the beat unchanged before it declares.

        The failsafe of the holder ends before. Its clock may run slower by a tenth.
        """
        return self.ttl_s + 1.1 * self.failsafe_s


class Seen(NamedTuple):
    """Since when this node sees a row with this epoch and beat."""

    epoch: int
    beat: int
    since: float


class Held(NamedTuple):
    """A slot that this node may act on before `until`."""

    term: int
    until: float


@dataclass(frozen=True, slots=True)
class Lease:
    """What one process of a node has seen and holds. Instants are of its own clock."""

    name: str
    durations: Durations = Durations()
    slots: int = SLOTS
    draining: bool = False
    epoch: int | None = None
    """None: the node must join."""
    timeline: str | None = None
    """The database's timeline: another one means that another server is the primary."""
    distrust_until: float = 0.0
    """Before this instant the rows alone give no slot."""
    renewed_at: float = float("-inf")
    """When the last beat was sent that the database answered."""
    nodes: Mapping[str, NodeRow] = field(default_factory=dict)
    rows: Mapping[int, SlotRow] = field(default_factory=dict)
    """The last rows of slots, of any session."""
    fresh: bool = False
    """Whether `rows` are of this session."""
    held: Mapping[int, Held] = field(default_factory=dict)
    seen: Mapping[str, Seen] = field(default_factory=dict)
    """The beats of the nodes, in this session."""
    up_since: Mapping[str, float] = field(default_factory=dict)
    free_since: Mapping[int, float] = field(default_factory=dict)
    declared: Mapping[str, Seen] = field(default_factory=dict)
    """Nodes that this one declared dead, or tried to, until their beat changes."""
    named: Mapping[str, float] = field(default_factory=dict)
    """Nodes that our row may name, and when it last named them."""

    def may_act(self, slot: int, now: float) -> bool:
        """Return whether this node may send REGISTERs for the slot's trunks now.

        Ask again right before each request: the process may have been paused.
        """
        held = self.held.get(slot)
        return held is not None and now < held.until

    def ends(self, sent: float) -> float:
        """Return until when a beat that was sent at `sent` lets this node act."""
        return sent + self.durations.ttl_s - self.durations.margin_s
