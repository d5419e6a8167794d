"""Test keep-alives: any answer counts; three misses make the refresh due once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.registration import keepalive
from whence.core.registration.keepalive import MISSES, KeepAlive
from whence.core.sip.transport_address import TransportAddress

NOW = 1_000_000.0
INTERVAL_S = 30.0


@pytest.mark.parametrize(("chance", "in_s"), [(0.0, 0.0), (0.5, 15.0), (0.999, 29.97)])
def test_first_options_is_due_within_the_first_interval(chance: float, in_s: float) -> None:
    assert keepalive.first(NOW, INTERVAL_S, chance).next_at == pytest.approx(NOW + in_s)


@pytest.mark.parametrize("status", [200, 404, 405, 481, 501, 603])
def test_answer_of_any_status_resets_the_misses(status: int) -> None:
    before = KeepAlive(NOW, missed=2)
    after = keepalive.answered(before, status, NOW, INTERVAL_S)
    assert after == KeepAlive(NOW + INTERVAL_S, 0, NOW, status)


def test_refresh_is_due_at_the_third_miss_only() -> None:
    standing, brought = KeepAlive(NOW), []
    for _ in range(7):
        standing, forward = keepalive.unanswered(standing, NOW, INTERVAL_S)
        brought.append(forward)
    assert brought == [False, False, True, False, False, False, False]
    assert standing.missed == 7


def test_skipped_options_is_no_miss() -> None:
    before = KeepAlive(NOW, missed=2, answered_at=NOW - 90, last_status=200)
    after = keepalive.skipped(before, NOW, INTERVAL_S)
    assert after == KeepAlive(NOW + INTERVAL_S, 2, NOW - 90, 200)


@given(st.lists(st.sampled_from(["answered", "unanswered", "skipped"])))
def test_refresh_is_due_once_in_each_series_of_misses(outcomes: list[str]) -> None:
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


@pytest.mark.parametrize(
    ("transport", "chosen_s", "expected"),
    [
        ("udp", None, 0),
        ("tcp", None, keepalive.STREAM_INTERVAL_S),
        ("tls", None, keepalive.STREAM_INTERVAL_S),
        ("tcp", 0, 0),
        ("tls", 30, 30),
        ("udp", 30, 30),
    ],
)
def test_interval_without_choice_depends_on_transport(
    transport: str, chosen_s: float | None, expected: float
) -> None:
    next_hop = TransportAddress.parse(f"{transport}:192.0.2.1:5060")
    assert keepalive.interval_s(chosen_s, next_hop) == expected


def test_default_interval_is_within_those_of_rfc_5626() -> None:
    assert 96 <= keepalive.STREAM_INTERVAL_S <= 120
