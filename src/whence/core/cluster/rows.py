"""The rows of the cluster's database that leases are made of, and the changes that a node wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class NodeState(StrEnum):
    """What a node's row says of it."""

    UP = "up"
    DRAINING = "draining"
    """It hands its slots over, and claims none."""
    LEFT = "left"
    """It stopped, and freed its slots itself."""
    DEAD = "dead"
    """Another node declared it dead, and freed its slots."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node in the database.

    `epoch` rises when the node joins, and when its lease is ended. `beat` rises each time that the
    node renews its lease. `named` has the nodes that may declare this one dead.
    """

    name: str
    epoch: int
    beat: int
    state: NodeState
    named: frozenset[str] = frozenset()

    @property
    def alive(self) -> bool:
        """Return whether the row has a lease."""
        return self.state in (NodeState.UP, NodeState.DRAINING)


@dataclass(frozen=True, slots=True)
class SlotRow:
    """A slot in the database: who holds it. `term` rises with each change, and is never used twice.

    A free slot has neither `node` nor `epoch`.
    """

    slot: int
    node: str | None
    epoch: int | None
    term: int


@dataclass(frozen=True, slots=True)
class Declare:
    """End the lease of a node, and free its slots, if its row still has this epoch and beat."""

    node: str
    epoch: int
    beat: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Become the holder of free slots. `terms`: slot to the term that the row still must have."""

    terms: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Get new terms for slots that the rows give to this node, and that it does not hold."""

    terms: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class HandOver:
    """Give a slot to another node that is up, if the row still has this term.

    The caller first ends the attempts that are in flight for the slot.
    """

    slot: int
    term: int
    to: str


Change = Declare | Claim | Reclaim | HandOver
