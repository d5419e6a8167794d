"""The CPU time of running processes, as Linux accounts it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

PROCESS_CLOCK = 2  # CPUCLOCK_SCHED of linux/posix-timers.h: all threads, user and system


class ProcessesChangedError(Exception):
    """A process started or ended between two readings, so that their difference is invalid."""


def used_ns(pids: Iterable[int]) -> dict[int, int]:
    """Return the CPU time of each process since its start, user and system, in nanoseconds.

    It is utime + stime of /proc/PID/stat, where each value is truncated to 10 ms. For a dozen
    processes that is several per cent of a reading. The clock id is the one that
    clock_getcpuclockid(3) makes of the pid.

    A process that runs at this instant has the value of the last scheduler tick, 1 to 10 ms ago. So
    read it after the work.

    Raises: ProcessesChangedError if a process has ended.
    """
    try:
        return {pid: time.clock_gettime_ns(~pid << 3 | PROCESS_CLOCK) for pid in pids}
    except OSError as error:
        raise ProcessesChangedError("a process ended") from error


def between_ns(before: Mapping[int, int], after: Mapping[int, int]) -> int:
    """Return the CPU time of the processes between two readings, in nanoseconds."""
    if before.keys() != after.keys():
        raise ProcessesChangedError(f"{sorted(before)} became {sorted(after)}")
    return sum(after.values()) - sum(before.values())
