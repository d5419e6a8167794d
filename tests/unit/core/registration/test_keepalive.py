"""Keep-alive: whatever it answers, it lives; three silences bring the refresh forward, once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.registration import keepalive
from whence.core.registration.keepalive import MISSES, KeepAlive

NOW = 1_000_000.0
INTERVAL_S = 30.0


@pytest.mark.parametrize(("chance", "in_s"), [(0.0, 0.0), (0.5, 15.0), (0.999, 29.97)])
def test_the_first_comes_at_a_random_moment_of_the_first_interval(
    chance: float, in_s: float
) -> None:
    assert keepalive.first(NOW, INTERVAL_S, chance).next_at == pytest.approx(NOW + in_s)


@pytest.mark.parametrize("status", [200, 404, 405, 481, 501, 603])
def test_whatever_it_answers_it_lives(status: int) -> None:
    before = KeepAlive(NOW, missed=2)
    after = keepalive.answered(before, status, NOW, INTERVAL_S)
    assert after == KeepAlive(NOW + INTERVAL_S, 0, NOW, status)


def test_the_third_silence_in_a_row_brings_the_refresh_forward_and_no_later_one() -> None:
    standing, brought = KeepAlive(NOW), []
    for _ in range(7):
        standing, forward = keepalive.unanswered(standing, NOW, INTERVAL_S)
        brought.append(forward)
    assert brought == [False, False, True, False, False, False, False]
    assert standing.missed == 7


def test_a_register_under_way_is_no_silence() -> None:
    before = KeepAlive(NOW, missed=2, answered_at=NOW - 90, last_status=200)
    after = keepalive.skipped(before, NOW, INTERVAL_S)
    assert after == KeepAlive(NOW + INTERVAL_S, 2, NOW - 90, 200)


@given(st.lists(st.sampled_from(["answered", "unanswered", "skipped"])))
def test_the_refresh_is_brought_forward_once_in_each_silence(outcomes: list[str]) -> None:
    standing, silences, brought = KeepAlive(NOW), 0, 0
    silent = 0
    for outcome in outcomes:
        if outcome == "answered":
            standing, silent = keepalive.answered(standing, 200, NOW, INTERVAL_S), 0
        elif outcome == "unanswered":
            standing, forward = keepalive.unanswered(standing, NOW, INTERVAL_S)
            brought += forward
            silent += 1
            silences += silent == MISSES
        else:
            standing = keepalive.skipped(standing, NOW, INTERVAL_S)
        assert standing.next_at == NOW + INTERVAL_S
        assert standing.missed == silent
    assert brought == silences
