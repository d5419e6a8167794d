"""CPU time and memory of a started process and its descendants, as Linux accounts them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testkit.process import Process, command_line, program

KAMAILIO, AGENT, SUPERVISOR = "kamailio", "agent", "supervisor"
OTHER = "other"
PROCESS_CLOCK = 2  # CPUCLOCK_SCHED of linux/posix-timers.h: all threads, user and system


class ProcessesChangedError(Exception):
    """A process started or ended between two readings, so that their difference is invalid."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time since the launch, user and system, in nanoseconds.

    *running*: pid → its time. *ended_ns*: of descendants that have ended, without a role.
    """

    running: Mapping[int, int]
    roles: Mapping[int, str]
    ended_ns: int = 0

    @property
    def total_ns(self) -> int:
        """All processes' time since the launch."""
        return sum(self.running.values()) + self.ended_ns

    def of(self, *roles: str) -> int:
        """Return the time of the running processes with these roles."""
        return sum(ns for pid, ns in self.running.items() if self.roles[pid] in roles)

    def since(self, before: Cpu) -> dict[str, int]:
        """Return role → time between two readings.

        Raises: ProcessesChangedError if a process started or ended between them.
        """
        if before.running.keys() != self.running.keys():
            raise ProcessesChangedError(f"{sorted(before.running)} became {sorted(self.running)}")
        spent: dict[str, int] = {}
        for pid, ns in self.running.items():
            role = self.roles[pid]
            spent[role] = spent.get(role, 0) + ns - before.running[pid]
        return spent


def roles(process: Process) -> dict[int, str]:
    """Return pid → role of the process and its living descendants."""
    return {pid: _role(pid, process.pid) for pid in [process.pid, *process.descendants()]}


def cpu(process: Process) -> Cpu:
    """Return the CPU time of the process and its descendants.

    Read it after the work. A process that runs at this instant has the value of the last scheduler
    tick, 1 to 10 ms ago.

    Raises: ProcessesChangedError if a process ends meanwhile.
    """
    found = roles(process)  # this takes a while; the readings after it belong to one instant
    try:
        running = {pid: clock_ns(pid) for pid in found}
        return Cpu(running, found, sum(map(ended_children_ns, found)))
    except OSError as error:
        raise ProcessesChangedError("a process ended") from error


def clock_ns(pid: int) -> int:
    """Return the CPU time of a process since its start, in nanoseconds.

    It is utime + stime of /proc/PID/stat, where each value is truncated to 10 ms. For a dozen
    processes that is several per cent of a reading. The clock id is the one that
    clock_getcpuclockid(3) makes of the pid. Raises: OSError if the process has ended.
    """
    return time.clock_gettime_ns(~pid << 3 | PROCESS_CLOCK)


def ended_children_ns(pid: int) -> int:
    """Return cutime + cstime: the CPU time of children that have ended, and of theirs."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def memory(process: Process) -> dict[str, int]:
    """Return role → bytes (PSS): memory that several processes share counts once in all."""
    found: dict[str, int] = {}
    for pid, role in roles(process).items():
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii", "replace")
        kilobytes = re.search(r"^Pss:\s+(\d+) kB", text, re.M)
        found[role] = found.get(role, 0) + (int(kilobytes[1]) * 1024 if kilobytes else 0)
    return found


def _role(pid: int, root: int) -> str:
    if program(pid) == "kamailio":
        return KAMAILIO
    arguments = command_line(pid)  # of `whence run` and `whence agent`
    if "agent" in arguments:
        return AGENT
    return SUPERVISOR if pid == root and "run" in arguments else OTHER
