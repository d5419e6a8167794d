"""Roles, and the limit of wrong tokens."""

from __future__ import annotations

from whence.core.access import FREE_FAILURES, LONGEST_LOCK_S, Role, WrongTokens


def test_role_has_the_rights_of_those_before() -> None:
    assert [[r.permits(n) for n in Role] for r in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_source_with_wrong_tokens_is_locked_ever_longer() -> None:
    wrong = WrongTokens()
    locks = []
    now = 0.0
    for _ in range(FREE_FAILURES + 8):
        locks.append(wrong.failed("192.0.2.1", now))
        now += locks[-1]
    assert locks[: FREE_FAILURES - 1] == [0.0] * (FREE_FAILURES - 1)
    assert locks[FREE_FAILURES - 1 : FREE_FAILURES + 2] == [60.0, 120.0, 240.0]
    assert locks[-1] == LONGEST_LOCK_S
    assert wrong.locked_for("192.0.2.1", now - 1) == 1.0
    assert wrong.locked_for("192.0.2.2", now) == 0.0


def test_source_with_a_right_token_is_forgotten() -> None:
    wrong = WrongTokens()
    for _ in range(FREE_FAILURES - 1):
        wrong.failed("a", 0.0)
    wrong.succeeded("a")
    assert wrong.failed("a", 0.0) == 0.0


def test_wrong_tokens_of_many_sources_take_bounded_memory() -> None:
    wrong = WrongTokens(limit=10)
    for number in range(1000):
        for _ in range(FREE_FAILURES):
            wrong.failed(str(number), 0.0)
    assert wrong.locked(1.0) == 10
    assert wrong.count == 1000 * FREE_FAILURES
