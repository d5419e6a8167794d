"""Slots of trunks, and the nodes that slots belong to."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from whence.core.cluster.slots import SLOTS, shares, slot_of

NAMES = st.sets(st.text("abcdefgh-0123", min_size=1, max_size=6), min_size=1, max_size=9)


def test_slot_of_trunk_is_the_same_in_each_process() -> None:
    # The number is stored in rows that all nodes read: it must never change.
    assert [slot_of(trunk) for trunk in ("t1", "provider-a", "é")] == [55, 10, 62]


@given(st.text(max_size=40), st.integers(1, 200))
def test_slot_of_any_trunk_is_below_the_number(trunk: str, slots: int) -> None:
    assert 0 <= slot_of(trunk, slots) < slots


def test_shares_without_nodes_are_empty() -> None:
    assert shares(SLOTS, []) == {}


@given(NAMES, st.integers(1, 100))
def test_shares_give_each_slot_within_the_bound(names: set[str], slots: int) -> None:
    plan = shares(slots, names)

    assert set(plan) == set(range(slots))
    assert max(Counter(plan.values()).values()) <= -(-slots // len(names))


@given(NAMES)
def test_shares_do_not_depend_on_the_order(names: set[str]) -> None:
    assert shares(SLOTS, sorted(names)) == shares(SLOTS, sorted(names, reverse=True))


def test_shares_move_few_slots_when_a_node_joins() -> None:
    before, after = shares(SLOTS, "abc"), shares(SLOTS, "abcd")

    moved = [slot for slot in range(SLOTS) if before[slot] != after[slot]]
    assert Counter(after.values())["d"] == 16
    assert len(moved) <= 20
