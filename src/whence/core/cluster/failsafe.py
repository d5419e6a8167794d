"""How nodes go on while the database does not answer.

A holder asks all nodes that its row may name. Each answers with the slots that its last rows give
to the holder. It then does not declare the holder dead for `ttl_s`. The holder extends only slots
that all of them confirmed. One node without an answer means no extension.

The caller authenticates questions and answers, and accepts an answer only to its last question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from whence.core.cluster.lease import peers
from whence.core.cluster.model import Held, Lease
from whence.core.cluster.rows import SlotRow


@dataclass(frozen=True, slots=True)
class Question:
    """Ask for confirmation of these slots. `terms`: slot to term."""

    node: str
    epoch: int
    terms: Mapping[int, int]


def question(lease: Lease, now: float) -> Question | None:
    """Return what to ask all `peers` now; None while the database answers, or without slots."""
    silent_s = now - lease.renewed_at
    times = lease.durations
    if lease.epoch is None or not lease.held or silent_s < 2 * times.beat_s:
        return None
    if silent_s >= times.failsafe_s:
        return None
    return Question(lease.name, lease.epoch, {s: held.term for s, held in lease.held.items()})


def answer(lease: Lease, asked: Question, now: float) -> tuple[Lease, frozenset[int] | None]:
    """Return the slots that are the asking node's, as far as this node has read.

    None: send no answer. This node declared the other one dead, or its rows have another epoch.
    """
    node = lease.nodes.get(asked.node)
    if node is None or not node.alive or node.epoch != asked.epoch:
        return lease, None
    if asked.node in lease.declared:
        return lease, None
    if seen := lease.seen.get(asked.node):
        lease = replace(lease, seen={**lease.seen, asked.node: seen._replace(since=now)})
    return lease, frozenset(
        slot
        for slot, term in asked.terms.items()
        if lease.rows.get(slot) == SlotRow(slot, asked.node, asked.epoch, term)
    )


def confirmed(
    lease: Lease, asked: Question, sent: float, now: float, answers: Mapping[str, frozenset[int]]
) -> Lease:
    """Extend the slots that all `peers` confirmed. `sent` is the instant of the question.

    `answers` has the slots that each node confirmed. A slot that expired meanwhile stays expired.
    """
    limit = lease.renewed_at + lease.durations.failsafe_s
    if asked.epoch != lease.epoch or sent >= limit or not peers(lease) <= answers.keys():
        return lease
    until = lease.ends(sent)
    held = {
        slot: Held(held.term, max(until, held.until))
        if now < held.until
        and asked.terms.get(slot) == held.term
        and all(slot in answers[peer] for peer in peers(lease))
        else held
        for slot, held in lease.held.items()
    }
    return replace(lease, held=held)
