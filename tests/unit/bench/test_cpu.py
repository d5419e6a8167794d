"""Reading the CPU time of real processes."""

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


def test_reading_agrees_with_proc(busy: int) -> None:
    eventually(lambda: cpu_s(busy) > 0.5, what="half a second of work")
    earliest_ns = cpu_s(busy) * 1e9
    [reading_ns] = used_ns([busy]).values()
    latest_ns = cpu_s(busy) * 1e9
    # /proc truncates user and system time to a tick each, and each may lag by one.
    assert earliest_ns - TICK_NS <= reading_ns <= latest_ns + 3 * TICK_NS


def test_between_readings_counts_only_the_work_between(busy: int) -> None:
    eventually(lambda: used_ns([busy])[busy] > 5e8, what="work before the first reading")
    started_ns, before = time.monotonic_ns(), used_ns([busy])
    eventually(lambda: used_ns([busy])[busy] - before[busy] > 1e8, what="a tenth of a second")
    after = used_ns([busy])
    elapsed_ns = time.monotonic_ns() - started_ns
    # The time of a running process lags by up to a tick, at the first reading too.
    assert 1e8 < between_ns(before, after) <= elapsed_ns + TICK_NS


def test_reading_of_an_ended_process_raises() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with pytest.raises(ProcessesChangedError):
        used_ns([child.pid])


def test_between_readings_of_other_processes_raises() -> None:
    with pytest.raises(ProcessesChangedError, match=r"\[1\] became \[2\]"):
        between_ns({1: 10}, {2: 20})
