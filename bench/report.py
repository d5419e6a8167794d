"""The results of a bench: tables, goals, circumstances, and each single reading."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table as RichTable

WIDTH = 170
RESULTS = Path(__file__).parent / "results"
UNIT = Path("/lib/systemd/system/kamailio.service")
Circumstances = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal for Whence: the *figure* is at most *most*, both in *unit*."""

    title: str
    figure: float
    most: float
    unit: str = ""

    @property
    def held(self) -> bool:
        return self.figure <= self.most

    def sentence(self) -> str:
        """Return the line that is printed."""
        digits = 2 if self.most < 10 else 1 if self.most < 100 else 0
        while digits < 6 and (round(self.figure, digits) <= self.most) != self.held:
            digits += 1  # a rounded figure must not contradict the verdict
        figure = f"{self.figure:.{digits}f}"
        unit = f" {self.unit}" if self.unit else ""
        verdict = "held" if self.held else "not held"
        return f"{self.title}: goal {self.most:g}{unit}, figure {figure}{unit}: {verdict}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the columns from *numbers* on have numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """The results of one bench. *name*: of its files. *notes*: further lines of text."""

    name: str
    tables: Sequence[Table]
    goals: Sequence[Goal]
    circumstances: Circumstances
    readings: Any
    notes: Sequence[str] = field(default_factory=tuple)

    def show(self, console: Console) -> None:
        """Print tables, goals and circumstances."""
        for table in self.tables:
            drawn = RichTable(title=table.title, title_justify="left")
            for number, column in enumerate(table.columns):
                drawn.add_column(column, justify="left" if number < table.numbers else "right")
            for row in table.rows:
                drawn.add_row(*row)
            console.print(drawn)
        for line in [*self.notes, *(goal.sentence() for goal in self.goals)]:
            console.print(line, markup=False)
        console.print("; ".join(f"{name}: {what}" for name, what in self.circumstances.items()))

    def write(self, directory: Path) -> None:
        """Write the text and the JSON."""
        with (directory / f"{self.name}.txt").open("w", encoding="utf-8") as text:
            self.show(Console(file=text, soft_wrap=True, width=WIDTH))
        content = {
            "circumstances": self.circumstances,
            "goals": [{**asdict(goal), "held": goal.held} for goal in self.goals],
            "readings": self.readings,
        }
        text_of = json.dumps(rounded(content), indent=1, ensure_ascii=False)
        (directory / f"{self.name}.json").write_text(text_of + "\n", "utf-8")


class Session:
    """A run of a bench: its console, and the load of the machine at its start."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True, width=WIDTH)
        self._load = _load_average()

    def show(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, markup=False)

    def reject(self, faults: Sequence[str]) -> None:
        """Print the faults, and raise typer.Exit(1) if there are any."""
        for fault in faults:
            self.console.print(f"invalid: {fault}", style="red", markup=False)
        if faults:
            raise typer.Exit(1)

    def circumstances(self, **more: str | float) -> Circumstances:
        """Return what a comparison needs: machine, load, versions, and the settings in *more*."""
        model = _found(r"^model name.*: (.*)", _text("/proc/cpuinfo"))
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "processors": f"{os.cpu_count()} × {model or platform.machine()}",
            "Linux": ".".join(platform.release().split(".")[:2]),
            "load average at start and end": f"{self._load} and {_load_average()}",
            "Whence": _output("git", "-C", str(RESULTS), "describe", "--always").strip(),
            "Kamailio": _found(r"version: kamailio (\S+)", _output("kamailio", "-v")),
            "Python of Kamailio": _output("/usr/bin/python3", "-V").split()[-1],
            "Python of the agent": platform.python_version(),
            "SIPp": _found(r"SIPp (v[\d.]+\d)", _output("sipp", "-v")),
            "Debian starts Kamailio with": f"{' '.join(debian_arguments())}, allocator qm",
            **{name.replace("_", " "): value for name, value in more.items()},
        }


def debian_arguments() -> list[str]:
    """Return the memory arguments of Debian's systemd unit, 64 and 8 MB if it is not installed.

    The unit has no `-x`, so Kamailio takes its default allocator, qm.
    """
    unit = _text(str(UNIT))
    shared = _found(r"SHM_MEMORY=(\d+)", unit) or "64"
    private = _found(r"PKG_MEMORY=(\d+)", unit) or "8"
    return ["-m", shared, "-M", private]


def rounded(values: Any) -> Any:
    """Return JSON values with all floats rounded to three digits."""
    if isinstance(values, Mapping):
        return {str(name): rounded(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [rounded(value) for value in values]
    return round(values, 3) if isinstance(values, float) else values


def _load_average() -> float:
    return round(os.getloadavg()[0], 1)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.M)
    return found[1] if found else ""


def _text(file: str) -> str:
    try:
        return Path(file).read_text("utf-8", "replace")
    except OSError:
        return ""


def _output(*command: str) -> str:
    """Return the output of a command that prints a version."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    return done.stdout or "unknown"
