"""The circumstances of a measurement, for a comparison. Nothing in them names a machine."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime

from bench.contest import Load

Circumstances = dict[str, str | int | float]


def versions() -> Circumstances:
    """Return the date, the versions, and the number of processors."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "kamailio": output_of("kamailio", "-v").split()[2],
        "python_of_kamailio": output_of("/usr/bin/python3", "-V").split()[1],
        "cpus": os.cpu_count() or 0,
    }


def circumstances(rounds: int, load: Load) -> Circumstances:
    """Return the same, with the rounds, the load, and how busy the machine was."""
    return {
        **versions(),
        "rounds": rounds,
        "calls_a_round": load.calls,
        "calls_a_second": load.rate,
        "load_average": round(os.getloadavg()[1], 1),
    }


def output_of(*command: str) -> str:
    """Run a command that prints its version, and return its output."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout
