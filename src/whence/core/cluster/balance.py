"""Which free slots a node claims, and which of its slots it hands over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from whence.core.cluster.model import Lease
from whence.core.cluster.rows import Change, Claim, HandOver

FREE_BEATS = 3
"""A slot that stays free for this many beats goes to any node that is up."""


def claims(lease: Lease, plan: Mapping[int, str], now: float) -> tuple[Lease, tuple[Change, ...]]:
    """Claim free slots that the plan gives to this node, and those that stay free.

    `plan` has the node of each slot.
    """
    free = {slot: row.term for slot, row in lease.rows.items() if row.node is None}
    since = {slot: lease.free_since.get(slot, now) for slot in free}
    lease = replace(lease, free_since=since)
    if lease.draining or now < lease.distrust_until:
        return lease, ()
    patience_s = FREE_BEATS * lease.durations.beat_s
    wanted = {
        slot: term
        for slot, term in free.items()
        if plan.get(slot) == lease.name or now - since[slot] > patience_s
    }
    return lease, (Claim(wanted),) if wanted else ()


def hand_overs(
    lease: Lease, plan: Mapping[int, str], now: float
) -> tuple[Lease, tuple[Change, ...]]:
    """Release slots that the plan gives to another node, at most `moves`, and hand them over.

    The slot is released first: this node stops before the other can begin. Both nodes are up for
    `settle_s`, so that a node that restarts again and again moves nothing.
    """
    if now < lease.distrust_until:
        return lease, ()
    changes = tuple(
        HandOver(slot, held.term, to)
        for slot, held in sorted(lease.held.items())
        if (to := plan.get(slot, lease.name)) != lease.name and _is_settled(lease, to, now)
    )[: lease.durations.moves]
    handed = {change.slot for change in changes}
    held = {slot: held for slot, held in lease.held.items() if slot not in handed}
    return replace(lease, held=held), changes


def _is_settled(lease: Lease, to: str, now: float) -> bool:
    if lease.draining:
        return True
    since = max(lease.up_since.get(name, now) for name in (lease.name, to))
    return now - since > lease.durations.settle_s
