"""Test the detection of steps of the system clock."""

from __future__ import annotations

import pytest

from whence.agent.runtime.clock import Clocks, ClockWatch
from whence.core.clock import STEP_S, ClockOffset
from whence.errors import StoreError
from whence.store.system_clock import boottime


class Hands:
    """Two clocks that the test sets, and an observer."""

    def __init__(self) -> None:
        self.wall, self.steady = 1000.0, 10.0
        self.clocks = Clocks(lambda: self.wall, lambda: self.steady, "boot-1")
        self.steps: list[float] = []
        self.fails = False

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def clock_stepped(self, step_s: float, offset: ClockOffset, /) -> None:
        if self.fails:
            raise StoreError("full")
        assert offset.seconds == self.wall - self.steady
        self.steps.append(step_s)


def test_watch_without_a_step_calls_no_observer() -> None:
    hands = Hands()
    watch = ClockWatch(hands.clocks, [hands])
    hands.passes(86_400)  # as in suspend
    hands.wall += STEP_S - 0.1
    watch.check()
    assert hands.steps == []


@pytest.mark.parametrize("step_s", [-3600.0, 2.5])
def test_watch_after_a_step_calls_the_observers_once(step_s: float) -> None:
    hands = Hands()
    watch = ClockWatch(hands.clocks, [hands])
    hands.wall += step_s
    watch.check()
    watch.check()
    assert hands.steps == [step_s]


def test_watch_adds_up_small_steps() -> None:
    hands = Hands()
    watch = ClockWatch(hands.clocks, [hands])
    for _ in range(3):
        hands.wall -= 0.9
        watch.check()
    assert hands.steps == [pytest.approx(-2.7)]


def test_watch_repeats_a_step_that_cannot_be_stored(caplog: pytest.LogCaptureFixture) -> None:
    hands = Hands()
    watch = ClockWatch(hands.clocks, [hands])
    hands.wall -= 60
    hands.fails = True
    watch.check()
    watch.check()
    assert len(caplog.messages) == 1
    hands.fails = False
    watch.check()
    assert hands.steps == [-60]


def test_watch_since_the_last_agent_finds_the_step_in_between() -> None:
    hands = Hands()
    stored = ClockOffset.parse(str(hands.clocks.offset()))
    hands.wall -= 60
    ClockWatch(hands.clocks, [hands], stored).check()
    assert hands.steps == [-60]


@pytest.mark.parametrize("text", ["", "boot-1", "boot-1 x", "boot-1 nan", "boot-2 1.0"])
def test_watch_since_another_boot_finds_no_step(text: str) -> None:
    hands = Hands()
    ClockWatch(hands.clocks, [hands], ClockOffset.parse(text)).check()
    assert hands.steps == []


def test_boottime_only_grows() -> None:
    assert 0 < boottime() <= boottime()
