"""Reading other processes' CPU time, from real ones."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from bench.cpu import ProcessesChangedError, between_ns, used_ns
from testkit.process import cpu_s
from testkit.wait import eventually

BUSY = "while True: pass"
TICK_NS = 10_000_000


@pytest.fixture
def busy() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as child:
        try:
            yield child.pid
        finally:
            child.kill()


def test_a_reading_agrees_with_the_account_in_proc(busy: int) -> None:
    eventually(lambda: cpu_s(busy) > 0.5, what="half a second of work")
    earliest_ns = cpu_s(busy) * 1e9
    [reading_ns] = used_ns([busy]).values()
    latest_ns = cpu_s(busy) * 1e9
    # /proc cuts user and system time to a tick each, and either account may lag by one.
    assert earliest_ns - TICK_NS <= reading_ns <= latest_ns + 3 * TICK_NS


def test_only_the_work_between_two_readings_counts(busy: int) -> None:
    eventually(lambda: used_ns([busy])[busy] > 5e8, what="work that is not to count")
    started_ns, before = time.monotonic_ns(), used_ns([busy])
    eventually(lambda: used_ns([busy])[busy] - before[busy] > 1e8, what="a tenth of a second")
    after = used_ns([busy])
    elapsed_ns = time.monotonic_ns() - started_ns
    # The account of a running process lags by up to a tick, at the beginning too.
    assert 1e8 < between_ns(before, after) <= elapsed_ns + TICK_NS


def test_a_process_that_ended_spoils_the_reading() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with pytest.raises(ProcessesChangedError):
        used_ns([child.pid])


def test_a_process_that_took_the_place_of_another_spoils_the_reading() -> None:
    with pytest.raises(ProcessesChangedError, match=r"\[1\] became \[2\]"):
        between_ns({1: 10}, {2: 20})
