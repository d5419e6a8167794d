"""How a node's lease changes: a session, a join, a beat, a claim.

- A node lives while its beat changes. It acts on its slots until `ttl_s - margin_s` after it *sent*
  the beat. The answer of the database does not move that instant.
- Another node declares it dead after it saw the same beat for `ttl_s` in one session. The database
  does it only if the row still has that beat.
- Another timeline means another primary, which may lack the last commits. For `ttl_s` a node gets
  no slot from its rows alone. It continues with slots that it holds without a gap.
- A node that loses a slot sends no REGISTER and forgets nothing: the addresses stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from whence.core.cluster.balance import claims, hand_overs
from whence.core.cluster.model import Held, Lease, Seen
from whence.core.cluster.rows import (
    Change,
    Declare,
    NodeRow,
    NodeState,
    Reclaim,
    SlotRow,
)
from whence.core.cluster.slots import shares


def connected(lease: Lease, now: float, timeline: str) -> Lease:
    """Begin a session with the database. All beats count anew."""
    distrust_until = lease.distrust_until
    if timeline != lease.timeline:
        distrust_until = now + lease.durations.ttl_s
    return replace(
        lease,
        timeline=timeline,
        distrust_until=distrust_until,
        seen={},
        free_since={},
        fresh=False,
    )


def joined(lease: Lease, epoch: int) -> Lease:
    """Begin an epoch: the database has stored it."""
    return replace(lease, epoch=epoch, held={})


def ended(lease: Lease) -> Lease:
    """Release all slots: the row has another epoch, or no lease."""
    return replace(lease, epoch=None, held={})


def named(lease: Lease, now: float) -> tuple[Lease, frozenset[str]]:
    """Return the nodes that the beat sent now puts into our row. They may declare this node dead.

    They count from now on, since the database may store a beat and its answer be lost.
    """
    names = frozenset(n.name for n in lease.nodes.values() if n.alive) - {lease.name}
    recent = {n: at for n, at in lease.named.items() if at >= _named_from(lease)}
    return replace(lease, named={**recent, **dict.fromkeys(names, now)}), names


def peers(lease: Lease) -> frozenset[str]:
    """Return the nodes that failsafe asks: all that our row may name, also after lost commits."""
    return frozenset(n for n, at in lease.named.items() if at >= _named_from(lease))


def _named_from(lease: Lease) -> float:
    return lease.renewed_at - lease.durations.lag_s


def renewed(
    lease: Lease, sent: float, now: float, nodes: Iterable[NodeRow], slots: Iterable[SlotRow]
) -> tuple[Lease, tuple[Change, ...]]:
    """Take the answer to the beat that was sent at `sent`: all rows.

    Returns the lease, and the changes for the database. They are sent in this session, in order.
    """
    before = lease.rows if lease.fresh else {}
    lease = _seen(lease, {n.name: n for n in nodes}, now)
    lease = replace(lease, renewed_at=sent, rows={s.slot: s for s in slots}, fresh=True)
    lease, changes = _kept(lease, before, now)
    lease, declared = _declared(lease, now)
    changes += declared
    lease, claimed = claims(lease, plan := _plan(lease), now)
    changes += claimed
    lease, handed = hand_overs(lease, plan, now)
    return lease, changes + handed


def declared(lease: Lease, node: str, *, done: bool) -> Lease:
    """Take the answer to a `Declare`. Without an answer this is not called."""
    if done:
        return lease
    return replace(lease, declared={n: s for n, s in lease.declared.items() if n != node})


def claimed(lease: Lease, sent: float, terms: Mapping[int, int]) -> Lease:
    """Take the answer to a `Claim` or `Reclaim`: the new term of each slot that we got.

    `sent` is the instant of the beat before it.
    """
    held = {slot: Held(term, lease.ends(sent)) for slot, term in terms.items()}
    rows = {slot: SlotRow(slot, lease.name, lease.epoch, term) for slot, term in terms.items()}
    return replace(lease, held={**lease.held, **held}, rows={**lease.rows, **rows})


def _seen(lease: Lease, nodes: Mapping[str, NodeRow], now: float) -> Lease:
    """Compare the beats with those of the session's last rows."""
    seen = {}
    for node in nodes.values():
        last = lease.seen.get(node.name)
        same = last is not None and last[:2] == (node.epoch, node.beat)
        seen[node.name] = last if last and same else Seen(node.epoch, node.beat, now)
    return replace(
        lease,
        nodes=nodes,
        seen=seen,
        up_since={
            n.name: lease.up_since.get(n.name, now)
            for n in nodes.values()
            if n.state is NodeState.UP
        },
        declared={
            name: last
            for name, last in lease.declared.items()
            if name not in seen or seen[name][:2] == last[:2]
        },
    )


def _kept(
    lease: Lease, before: Mapping[int, SlotRow], now: float
) -> tuple[Lease, tuple[Change, ...]]:
    """Keep the slots that we hold without a gap, take those given to us, reclaim the others.

    A row that changed within a session was changed by a commit of this server: its former holder
    had stopped. A row that a new server has may be older than what that server lacks.
    """
    ends = lease.ends(lease.renewed_at)
    held: dict[int, Held] = {}
    again: dict[int, int] = {}
    for slot, row in lease.rows.items():
        if row.node != lease.name:
            continue
        ours = row.epoch == lease.epoch
        last = lease.held.get(slot)
        if ours and last and last.term == row.term and now < last.until:
            held[slot] = Held(row.term, max(ends, last.until))
        elif ours and slot in before and before[slot] != row:
            held[slot] = Held(row.term, ends)
        elif now >= lease.distrust_until:
            again[slot] = row.term
    return replace(lease, held=held), (Reclaim(again),) if again else ()


def _declared(lease: Lease, now: float) -> tuple[Lease, tuple[Change, ...]]:
    """Declare nodes dead whose beat did not change for long enough."""
    dead = [n for n in lease.nodes.values() if _is_dead(lease, n, now)]
    changes = tuple(Declare(n.name, n.epoch, n.beat) for n in dead)
    marks = {n.name: Seen(n.epoch, n.beat, now) for n in dead}
    return replace(lease, declared={**lease.declared, **marks}), changes


def _is_dead(lease: Lease, node: NodeRow, now: float) -> bool:
    if node.name == lease.name or not node.alive:
        return False
    times = lease.durations
    may_declare = not times.failsafe_s or lease.name in node.named
    unchanged_s = now - lease.seen[node.name].since
    return unchanged_s >= (times.ttl_s if may_declare else times.unnamed_s)


def _plan(lease: Lease) -> dict[int, str]:
    """Return which node each slot should have: shares of the nodes that are up."""
    up = {n.name for n in lease.nodes.values() if n.state is NodeState.UP}
    up -= lease.declared.keys()
    if lease.draining:
        up.discard(lease.name)
    return shares(lease.slots, up)
