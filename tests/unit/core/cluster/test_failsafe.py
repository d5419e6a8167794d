"""How the other nodes confirm slots while the database does not answer."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.core.cluster.leases import DURATIONS, PLAN, beat, member, slots
from whence.core.cluster import lease
from whence.core.cluster.failsafe import Question, answer, confirmed, question
from whence.core.cluster.model import Lease
from whence.core.cluster.rows import Declare

MINE = frozenset(slot for slot, name in PLAN.items() if name == "a")
SLOT = min(MINE)


def asked(made: Lease, now: float) -> Question:
    question_now = question(made, now)
    assert question_now is not None
    return question_now


def test_question_has_each_slot_with_its_term() -> None:
    made = member(100, PLAN)

    assert question(made, 102) == Question("a", 1, dict.fromkeys(MINE, 1))


def test_question_is_not_asked_while_the_database_answers() -> None:
    assert question(member(100, PLAN), 101.9) is None


def test_question_is_not_asked_after_the_limit() -> None:
    assert question(member(100, PLAN), 100 + DURATIONS.failsafe_s) is None


def test_question_without_slots_or_epoch_is_not_asked() -> None:
    assert question(member(100, {}), 103) is None
    assert question(lease.ended(member(100, PLAN)), 103) is None


def test_answer_confirms_the_slots_of_the_last_rows() -> None:
    other = member(100, PLAN, "b")

    _, slots_of_a = answer(other, Question("a", 1, dict.fromkeys(PLAN, 1)), 102)

    assert slots_of_a == MINE


def test_answer_confirms_no_other_term() -> None:
    other = member(100, PLAN, "b")

    _, confirmed_slots = answer(other, Question("a", 1, {SLOT: 2}), 102)

    assert confirmed_slots == frozenset()


def test_answer_is_not_sent_for_another_epoch_or_name() -> None:
    other = member(100, PLAN, "b")

    assert answer(other, Question("a", 2, {SLOT: 1}), 102)[1] is None
    assert answer(other, Question("z", 1, {SLOT: 1}), 102)[1] is None


def test_answer_is_not_sent_to_a_node_declared_dead() -> None:
    other, changes = beat(member(100, PLAN, "b"), 106, slots(PLAN))
    assert Declare("a", 1, 1) in changes

    assert answer(other, Question("a", 1, {SLOT: 1}), 106)[1] is None


def test_answer_postpones_the_declaration_by_ttl() -> None:
    other, _ = answer(member(100, PLAN, "b"), Question("a", 1, {SLOT: 1}), 103)

    other, before = beat(other, 108.9, slots(PLAN))
    _, after = beat(other, 109, slots(PLAN))

    assert Declare("a", 1, 1) not in before
    assert Declare("a", 1, 1) in after


def test_confirmed_slots_are_extended_from_the_question() -> None:
    made = member(100, PLAN)

    made = confirmed(made, asked(made, 103), 103, 103.4, {"b": MINE, "c": MINE})

    assert made.may_act(SLOT, 107.9)
    assert not made.may_act(SLOT, 108)


def test_missing_answer_extends_no_slot() -> None:
    made = member(100, PLAN)

    assert confirmed(made, asked(made, 103), 103, 103.4, {"b": MINE}) == made


def test_slot_that_one_node_does_not_confirm_is_not_extended() -> None:
    made = member(100, PLAN)

    made = confirmed(made, asked(made, 103), 103, 103.4, {"b": MINE, "c": MINE - {SLOT}})

    assert not made.may_act(SLOT, 105)
    assert all(made.may_act(slot, 105) for slot in MINE - {SLOT})


def test_expired_slot_stays_expired() -> None:
    made = member(100, PLAN)

    made = confirmed(made, asked(made, 104.9), 104.9, 105, {"b": MINE, "c": MINE})

    assert not made.may_act(SLOT, 105)


def test_slot_with_another_term_than_asked_is_not_extended() -> None:
    made = member(100, PLAN)
    question_before = asked(made, 103)
    made = replace(made, held={s: h._replace(term=2) for s, h in made.held.items()})

    assert confirmed(made, question_before, 103, 103.4, {"b": MINE, "c": MINE}) == made


def test_failsafe_ends_before_an_unnamed_node_declares() -> None:
    made, now = member(100, PLAN), 100.0
    while made.may_act(SLOT, now):
        now += 0.5
        if question_now := question(made, now):
            made = confirmed(made, question_now, now, now, {"b": MINE, "c": MINE})

    assert now < 100 + DURATIONS.unnamed_s


def test_failsafe_of_zero_seconds_never_asks() -> None:
    made = member(100, PLAN)
    made = replace(made, durations=replace(DURATIONS, failsafe_s=0))

    assert question(made, 104) is None
    assert confirmed(made, Question("a", 1, {SLOT: 1}), 104, 104, {"b": MINE, "c": MINE}) == made
