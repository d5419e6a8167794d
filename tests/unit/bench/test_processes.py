"""Reading the CPU time and the memory of real processes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.processes import (
    OTHER,
    Cpu,
    ProcessesChangedError,
    clock_ns,
    cpu,
    ended_children_ns,
    memory,
)
from testkit.process import Process, cpu_s
from testkit.wait import eventually

BUSY = "while True: pass"
TICK_NS = 10_000_000
WORK_S = 0.2
PARENT = f"""
import subprocess, sys, time
work = "import time\\nwhile time.process_time() < {WORK_S}: pass"
subprocess.run([sys.executable, "-c", work])
child = subprocess.Popen([sys.executable, "-c", "bytes = bytearray(50_000_000)\\ninput()"],
                         stdin=subprocess.PIPE)
print("ready", flush=True)
child.wait()
"""


@pytest.fixture
def busy() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as child:
        try:
            yield child.pid
        finally:
            child.kill()


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Process]:
    """A process with one child that has ended, and one that has 50 MB."""
    argv = [sys.executable, "-c", PARENT]
    with Process("parent", argv, tmp_path / "parent.log", stop_within_s=1) as process:
        eventually(lambda: "ready" in process.log, what="its children")
        yield process


def test_clock_agrees_with_proc(busy: int) -> None:
    eventually(lambda: cpu_s(busy) > 0.5, what="half a second of work")
    earliest_ns = cpu_s(busy) * 1e9
    reading_ns = clock_ns(busy)
    latest_ns = cpu_s(busy) * 1e9
    # /proc truncates user and system time to a tick each, and each may lag by one.
    assert earliest_ns - TICK_NS <= reading_ns <= latest_ns + 3 * TICK_NS


def test_clock_counts_only_the_work_between(busy: int) -> None:
    eventually(lambda: clock_ns(busy) > 5e8, what="work before the first reading")
    started_ns, before = time.monotonic_ns(), clock_ns(busy)
    eventually(lambda: clock_ns(busy) - before > 1e8, what="a tenth of a second")
    after = clock_ns(busy)
    elapsed_ns = time.monotonic_ns() - started_ns
    # The time of a running process lags by up to a tick, at the first reading too.
    assert 1e8 < after - before <= elapsed_ns + TICK_NS


def test_clock_of_an_ended_process_raises() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with pytest.raises(OSError, match="Invalid argument"):
        clock_ns(child.pid)


def test_cpu_has_the_time_of_ended_children(parent: Process) -> None:
    ended_ns = ended_children_ns(parent.pid)
    assert ended_ns >= WORK_S * 1e9 - 2 * TICK_NS  # /proc truncates user and system time
    read = cpu(parent)
    assert len(read.running) == 2
    assert read.ended_ns == ended_ns
    assert read.total_ns == sum(read.running.values()) + read.ended_ns


def test_memory_has_all_processes(parent: Process) -> None:
    eventually(lambda: memory(parent)[OTHER] > 50e6, what="the child's 50 MB")
    assert memory(parent)[OTHER] < 200e6


def test_since_sums_the_time_of_each_role() -> None:
    roles = {1: "kamailio", 2: "kamailio", 3: "agent"}
    before, after = Cpu({1: 10, 2: 20, 3: 30}, roles), Cpu({1: 15, 2: 21, 3: 37}, roles, 99)
    assert after.since(before) == {"kamailio": 6, "agent": 7}
    assert (after.of("agent"), after.of("agent", "kamailio")) == (37, 73)


def test_since_of_other_processes_raises() -> None:
    with pytest.raises(ProcessesChangedError, match=r"\[1\] became \[2\]"):
        Cpu({2: 20}, {2: OTHER}).since(Cpu({1: 10}, {1: OTHER}))
