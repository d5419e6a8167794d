"""Leases and rows for the tests of single rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from whence.core.cluster import lease
from whence.core.cluster.model import Durations, Lease
from whence.core.cluster.rows import Change, NodeRow, NodeState, SlotRow
from whence.core.cluster.slots import shares

DURATIONS = Durations(ttl_s=6, margin_s=1, failsafe_s=60, lag_s=10, settle_s=2)
NAMES = "abc"
SLOTS = 6
PLAN = shares(SLOTS, NAMES)
"""The node of each slot while all are up."""


def node(
    name: str, beat: int = 1, state: NodeState = NodeState.UP, named: Iterable[str] = NAMES
) -> NodeRow:
    return NodeRow(name, 1, beat, state, frozenset(named) - {name})


def slots(holders: dict[int, str] | None = None, term: int = 1) -> list[SlotRow]:
    """Return all slots. Those without a holder are free."""
    held = holders or {}
    return [SlotRow(s, held.get(s), 1 if s in held else None, term) for s in range(SLOTS)]


def member(now: float, holders: dict[int, str], name: str = "a") -> Lease:
    """Return the lease of a node in a cluster of three that holds what the rows give to it.

    Its session began `ttl_s` ago, so it accepts rows. All beats are 1.
    """
    made = lease.connected(Lease(name, DURATIONS, SLOTS), now - DURATIONS.ttl_s, "1")
    made = lease.joined(made, 1)
    made, _ = beat(made, now, slots(holders))
    made = lease.claimed(made, now, {s: 1 for s, n in holders.items() if n == name})
    return lease.named(made, now)[0]


def beat(
    made: Lease,
    now: float,
    rows: Iterable[SlotRow],
    nodes: Iterable[NodeRow] | None = None,
    *,
    sent: float | None = None,
) -> tuple[Lease, tuple[Change, ...]]:
    """Renew the lease at `now`, after a beat of `sent`."""
    all_nodes = [node(name) for name in NAMES] if nodes is None else nodes
    return lease.renewed(made, now if sent is None else sent, now, all_nodes, rows)


def draining(made: Lease) -> Lease:
    return replace(made, draining=True)
