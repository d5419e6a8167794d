"""To which slot a trunk belongs, and which node a slot belongs to."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from hashlib import blake2s

SLOTS = 64
"""How many slots a cluster has. The number never changes after the cluster is made."""


def slot_of(trunk_id: str, slots: int = SLOTS) -> int:
    """Return the slot of a trunk, from 0 to `slots - 1`: the same on each node."""
    return zlib.crc32(trunk_id.encode()) % slots


def shares(slots: int, nodes: Iterable[str]) -> dict[int, str]:
    """Return the node of each slot: rendezvous hashing with a bound.

    No node gets more than its share, rounded up. When a node joins or leaves, few slots of the
    others move. Without nodes the result is empty.
    """
    names = sorted(set(nodes))
    if not names:
        return {}
    limit = -(-slots // len(names))
    pairs = sorted(
        ((_weight(slot, name), slot, name) for slot in range(slots) for name in names),
        reverse=True,
    )
    counts = dict.fromkeys(names, 0)
    plan: dict[int, str] = {}
    for _, slot, name in pairs:
        if slot not in plan and counts[name] < limit:
            plan[slot] = name
            counts[name] += 1
    return plan


def _weight(slot: int, name: str) -> bytes:
    return blake2s(f"{slot}:{name}".encode(), digest_size=8).digest()
