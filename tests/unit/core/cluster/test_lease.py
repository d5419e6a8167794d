"""The rules of a node's lease, one by one. The worlds test them together."""

from __future__ import annotations

import pytest

from tests.unit.core.cluster.leases import (
    DURATIONS,
    NAMES,
    PLAN,
    SLOTS,
    beat,
    draining,
    member,
    node,
    slots,
)
from whence.core.cluster import lease
from whence.core.cluster.model import Lease
from whence.core.cluster.rows import (
    Change,
    Claim,
    Declare,
    HandOver,
    NodeRow,
    NodeState,
    Reclaim,
    SlotRow,
)

MINE = next(slot for slot, name in PLAN.items() if name == "a")
OTHERS = next(slot for slot, name in PLAN.items() if name == "b")


def of(kind: type[Change], changes: tuple[Change, ...]) -> list[Change]:
    return [change for change in changes if isinstance(change, kind)]


def test_lease_counts_from_the_instant_of_sending() -> None:
    made = member(100, PLAN)

    made, _ = beat(made, 103, slots(PLAN), sent=101.5)

    assert made.may_act(MINE, 106.4)
    assert not made.may_act(MINE, 106.5)


def test_lease_that_ended_holds_nothing() -> None:
    made = lease.ended(member(100, PLAN))

    assert not made.may_act(MINE, 100)
    assert made.epoch is None


def test_lease_of_a_slot_with_a_new_term_is_lost() -> None:
    made = member(100, PLAN)
    rows = [SlotRow(s.slot, "b", 1, 2) if s.slot == MINE else s for s in slots(PLAN)]

    made, changes = beat(made, 101, rows)

    assert not made.may_act(MINE, 101)
    assert not changes


def test_expired_slot_is_reclaimed_and_not_held() -> None:
    made = member(100, PLAN)

    made, changes = beat(made, 106, slots(PLAN))

    assert not made.may_act(MINE, 106)
    assert of(Reclaim, changes) == [Reclaim({s: 1 for s, n in PLAN.items() if n == "a"})]


def test_slot_given_within_the_session_counts_at_once() -> None:
    made = member(100, PLAN)
    rows = [SlotRow(s.slot, "a", 1, 2) if s.slot == OTHERS else s for s in slots(PLAN)]

    made, _ = beat(made, 101, rows)

    assert made.may_act(OTHERS, 105.9)


def test_slot_that_a_new_server_gives_is_distrusted() -> None:
    made = member(100, PLAN)
    made = lease.connected(made, 101, "2")
    rows = [SlotRow(s.slot, "a", 1, 2) if s.slot == OTHERS else s for s in slots(PLAN)]

    made, changes = beat(made, 101, rows)

    assert not made.may_act(OTHERS, 101)
    assert made.may_act(MINE, 101)
    assert not of(Reclaim, changes)
    for now in range(102, 107):
        made, changes = beat(made, now, rows)
        assert not of(Reclaim, changes)
    _, changes = beat(made, 107, rows)
    assert of(Reclaim, changes) == [Reclaim({OTHERS: 2})]


def test_free_slots_of_a_new_server_are_not_claimed_for_ttl() -> None:
    made = lease.connected(member(100, {}), 101, "2")

    made, before = beat(made, 106.9, slots())
    _, after = beat(made, 107, slots())

    assert not of(Claim, before)
    assert of(Claim, after)


def test_free_slots_after_a_restart_of_the_server_are_claimed() -> None:
    made = lease.connected(member(100, {}), 101, "1")

    _, changes = beat(made, 101, slots())

    assert of(Claim, changes)


def test_free_slots_are_claimed_by_the_plan() -> None:
    _, changes = beat(member(100, {}), 101, slots())

    assert of(Claim, changes) == [Claim({s: 1 for s, n in PLAN.items() if n == "a"})]


def test_slots_that_stay_free_are_claimed_by_any_node() -> None:
    made, _ = beat(member(100, {}), 101, slots())

    _, changes = beat(made, 103.1, slots())

    assert of(Claim, changes) == [Claim(dict.fromkeys(range(SLOTS), 1))]


@pytest.mark.parametrize("state", [NodeState.UP, NodeState.DRAINING])
def test_node_with_an_unchanged_beat_is_declared_dead(state: NodeState) -> None:
    made = member(100, PLAN)
    nodes = [node("a"), node("b", 1, state), node("c", 2)]

    made, before = beat(made, 105.9, slots(PLAN), nodes)
    _, after = beat(made, 106, slots(PLAN), nodes)

    assert not of(Declare, before)
    assert of(Declare, after) == [Declare("b", 1, 1)]


@pytest.mark.parametrize("state", [NodeState.LEFT, NodeState.DEAD])
def test_node_without_a_lease_is_not_declared(state: NodeState) -> None:
    made = member(100, {})

    _, changes = beat(made, 110, slots(), [node("a"), node("b", 1, state)])

    assert not of(Declare, changes)


def test_node_does_not_declare_itself_dead() -> None:
    made = member(100, PLAN)

    _, changes = beat(made, 110, slots(PLAN), [node("a")])

    assert not of(Declare, changes)


def test_beats_count_anew_in_each_session() -> None:
    # After a long outage all nodes connect again: the first one must not declare the others dead.
    made = lease.connected(member(100, PLAN), 110, "1")

    made, first = beat(made, 110, slots(PLAN))
    _, later = beat(made, 116, slots(PLAN))

    assert not of(Declare, first)
    assert len(of(Declare, later)) == 2


def test_node_that_a_row_does_not_name_declares_after_failsafe() -> None:
    made = member(100, PLAN)
    nodes: list[NodeRow] = [node("a"), node("b", named="c")]
    limit = 100 + DURATIONS.ttl_s + 1.1 * DURATIONS.failsafe_s

    made, before = beat(made, limit - 0.1, slots(PLAN), nodes)
    _, after = beat(made, limit, slots(PLAN), nodes)

    assert not of(Declare, before)
    assert of(Declare, after) == [Declare("b", 1, 1)]


def test_declared_node_counts_again_after_its_beat_changed() -> None:
    made, _ = beat(member(100, PLAN), 106, slots(PLAN))
    assert set(made.declared) == {"b", "c"}

    made, _ = beat(made, 107, slots(PLAN), [node("a"), node("b", 2), node("c")])

    assert set(made.declared) == {"c"}


def test_declared_node_counts_again_after_a_refusal() -> None:
    made, _ = beat(member(100, PLAN), 106, slots(PLAN))

    made = lease.declared(made, "b", done=False)
    made = lease.declared(made, "c", done=True)

    assert set(made.declared) == {"c"}


def test_hand_over_releases_the_slot_first() -> None:
    made, _ = beat(member(100, {OTHERS: "a"}), 101, slots({OTHERS: "a"}))

    made, changes = beat(made, 102.1, slots({OTHERS: "a"}))

    assert of(HandOver, changes) == [HandOver(OTHERS, 1, "b")]
    assert not made.may_act(OTHERS, 102.1)


def test_hand_over_waits_until_the_other_node_is_settled() -> None:
    made = member(100, {OTHERS: "a"})

    made, changes = beat(made, 102, slots({OTHERS: "a"}))

    assert not of(HandOver, changes)
    assert made.may_act(OTHERS, 102)


def test_hand_over_that_failed_is_reclaimed() -> None:
    made, _ = beat(member(100, {OTHERS: "a"}), 102.1, slots({OTHERS: "a"}))

    _, changes = beat(made, 103, slots({OTHERS: "a"}))

    assert of(Reclaim, changes) == [Reclaim({OTHERS: 1})]


def test_draining_node_hands_all_over_and_claims_none() -> None:
    holders = {MINE: "a"}
    made = draining(member(100, holders))

    made, changes = beat(made, 100.5, slots(holders))

    assert [c.slot for c in changes if isinstance(c, HandOver)] == [MINE]
    assert not of(Claim, changes)
    assert not made.held


def test_draining_node_without_others_keeps_its_slots() -> None:
    made = draining(member(100, {MINE: "a"}))

    made, changes = beat(made, 101, slots({MINE: "a"}), [node("a")])

    assert not changes
    assert made.may_act(MINE, 101)


def test_named_nodes_count_from_the_beat_that_names_them() -> None:
    made = lease.connected(Lease("a", DURATIONS, SLOTS), 100, "1")
    made = lease.joined(made, 1)
    made, first = lease.named(made, 100)
    made, _ = beat(made, 100, slots())
    # No answer to this beat arrives, but the database may have stored it.
    made, second = lease.named(made, 101)

    assert not first
    assert second == set(NAMES) - {"a"}
    assert lease.peers(made) == second


def test_peers_are_those_that_a_former_row_named() -> None:
    made = member(100, PLAN)
    for now in (101, 105, 110):
        made, named = lease.named(made, now)
        made, _ = beat(made, now, slots(PLAN), [node("a"), node("b"), node("c", 1, NodeState.LEFT)])
    # A standby that is promoted now may bring back the row of ten seconds ago.
    assert named == {"b"}
    assert lease.peers(made) == {"b", "c"}

    made, _ = lease.named(made, 112)
    made, _ = beat(made, 112, slots(PLAN))
    assert lease.peers(made) == {"b"}


def test_hand_over_waits_while_a_new_server_is_distrusted() -> None:
    made, _ = beat(member(100, {OTHERS: "a"}), 101, slots({OTHERS: "a"}))
    made = lease.connected(made, 102, "2")

    made, changes = beat(made, 104, slots({OTHERS: "a"}))

    assert not of(HandOver, changes)
    assert made.may_act(OTHERS, 104)


def test_hand_over_to_a_declared_node_is_not_made() -> None:
    made, _ = beat(member(100, {OTHERS: "a"}), 101.9, slots({OTHERS: "a"}))

    made, changes = beat(made, 106, slots({OTHERS: "a"}))

    assert "b" in made.declared
    assert not of(HandOver, changes)
    assert made.may_act(OTHERS, 106)
