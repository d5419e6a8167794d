"""Random worlds: no two nodes act on one slot, and after the faults a node holds each slot.

A failure of `test_worlds_…` names its seed: `run(seed, SETUPS[kind])` repeats that world.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.core.cluster.world import DURATIONS, Setup, run

HARSH = (
    "cut_database", "failover", "crash", "cut_database", "failover", "cut_all", "crash",
)  # fmt: skip

SETUPS = {
    "all": Setup(),
    "harsh": Setup(kinds=HARSH, faults=8),
    "pauses": Setup(kinds=("pause", "cut_all"), slow=0.3),
    "cuts": Setup(kinds=("cut_database", "cut_pair", "cut_pair"), faults=12),
    "five_nodes": Setup(names="abcde", slots=6),
    "no_failsafe": Setup(durations=replace(DURATIONS, failsafe_s=0.0)),
    "bad_network": Setup(slow=0.4, loss=0.1),
    "clocks_apart": Setup(drift=0.1),
}

RULES = [
    ("releases_first", "all", 0),
    ("waits_after_answer", "all", 64),
    ("reclaims", "all", 1),
    ("terms_of_time", "all", 7),
    ("compares_beat", "pauses", 30),
    ("needs_all_answers", "cuts", 2),
    ("distrust", "harsh", 14),
    ("confirms_slots", "harsh", 242),
]
"""A rule, and a world in which its absence shows: the name of `SETUPS`, and the seed."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETUPS)
def test_worlds_of_new_seeds_keep_the_invariant(kind: str) -> None:
    # A smaller seed is no simpler world: nothing to shrink.
    @settings(max_examples=examples(20), phases=(Phase.generate,), database=None)
    @given(st.integers(0, 2**63))
    def check(seed: int) -> None:
        assert run(seed, SETUPS[kind]).good, f"{kind}, seed {seed}"

    check()


@pytest.mark.parametrize(("rule", "kind", "seed"), RULES)
def test_worlds_without_a_rule_break_on_its_seed(rule: str, kind: str, seed: int) -> None:
    without = run(seed, SETUPS[kind], rule)

    assert without.two_holders or without.old_terms
    assert run(seed, SETUPS[kind]).good


def test_worlds_of_one_seed_are_equal() -> None:
    assert run(5) == run(5)


def test_worlds_declare_nodes_dead() -> None:
    # Otherwise the worlds would show nothing.
    assert any(run(seed).declared for seed in range(5))
