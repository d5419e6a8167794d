"""The memory of running processes in bytes, as Linux accounts it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def resident(pid: int) -> int:
    """Return the current resident memory of a process."""
    return _status(pid, "VmRSS")


def peak(pid: int) -> int:
    """Return the peak of the resident memory of a process."""
    return _status(pid, "VmHWM")


def together(pids: Iterable[int]) -> int:
    """Return the memory of several processes; shared memory counts once.

    Kamailio never returns shared memory to the system, so this is also its peak.
    """
    return sum(_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids)


def _status(pid: int, name: str) -> int:
    return _kilobytes(Path(f"/proc/{pid}/status"), name)


def _kilobytes(file: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text("ascii", "replace"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
