"""Reads the clocks of this machine, for the processes that write or judge stored instants."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from whence.core.clock import BOOT_ID_FILE, ClockOffset


@cache
def boot_id() -> str:
    """Return the id of this boot of the machine; empty without one."""
    try:
        return Path(BOOT_ID_FILE).read_text().strip()
    except OSError:
        return ""


def boottime() -> float:
    """Return the seconds since the start of the machine, with suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def present_offset() -> ClockOffset:
    """Return the present offset of the clocks. Its boot id is empty where the machine has none."""
    return ClockOffset(boot_id(), time.time() - boottime())
