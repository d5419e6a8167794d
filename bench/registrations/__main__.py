"""`make bench-registrations`: Whence and Kamailio's module `uac` register the same accounts."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.registrations.contest import InvalidError, Reading, read
from bench.registrations.contestants import (
    Contestant,
    Task,
    UacRegisters,
    WhenceRegisters,
    uac,
    whence,
)
from bench.registrations.registrar import Registrar
from bench.registrations.report import OURS, NoResult, Report, Result
from bench.registrations.storm import EXPIRES_S, SETTINGS, Storm, run_outage
from testkit.network import Network

Launch = Callable[[Network, Path, Registrar, Task], AbstractContextManager[Contestant]]
CONTESTANTS: dict[str, Launch] = {OURS: whence, "uac": uac}
TITLES = {OURS: WhenceRegisters.title, "uac": UacRegisters.title}
RESULTS = Path(__file__).parent.parent / "results"
NUMBERS = (1_000, 10_000, 20_000, 50_000)
FEW = 10
"""Trunks of the base, which is subtracted from the other readings."""
STORM_RATES = (100, 1000)
"""A rate limit that delays all trunks, and one at which only their waits spread them."""


def main(
    trunks: Annotated[
        list[int] | None, typer.Option(min=100, help="Number of trunks; repeatable.")
    ] = None,
    rate: Annotated[int, typer.Option(min=1, help="Attempts a second, at most.")] = 1000,
    contestants: Annotated[str, typer.Option(help="Contestants, separated by commas.")] = ",".join(
        CONTESTANTS
    ),
    storm_trunks: Annotated[int, typer.Option(min=0, help="Trunks of the outage; 0: none.")] = 1000,
    storm_rates: Annotated[
        list[int] | None,
        typer.Option("--storm-rate", min=1, help="Attempts a second; one outage each."),
    ] = None,
    results: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Where to write registrations.txt and registrations.json.",
            show_default="bench/results",
        ),
    ] = RESULTS,
) -> None:
    """Register all trunks at a registrar that challenges, and keep them registered.

    Exit with 1 if a registration of Whence failed or expired, or if an outage ended in a storm.
    """
    console = Console(highlight=False, soft_wrap=True, width=110)
    found: list[Result] = []
    missing: list[NoResult] = []
    for key in contestants.split(","):
        base = _measure(key, Task(FEW, expires_s=5, rate=rate))
        for number in trunks or NUMBERS:
            try:
                reading = _measure(key, Task(number, _expires_s(number), rate))
            except (InvalidError, ChildProcessError) as error:
                missing.append(NoResult(key, TITLES[key], number, str(error)))
                console.print(missing[-1].sentence())
                continue
            found.append(Result(key, TITLES[key], base, reading))
            console.print(
                f"{TITLES[key]}, {number} trunks: {reading.cold.a_second:.0f} registrations a "
                f"second, {reading.failures} failures"
            )
    storms = [_storm(storm_trunks, limit) for limit in storm_rates or STORM_RATES if storm_trunks]
    report = Report(found, missing, storms, _circumstances(rate))
    report.show(console)
    report.write(results)
    failed = [result.key for result in found if result.failed] + [one.key for one in missing]
    if OURS in failed or not all(storm.met for storm in storms):
        raise typer.Exit(1)


def _expires_s(trunks: int) -> int:
    """Return an interval in which no refresh falls into the cold start, and not much longer."""
    return max(20, trunks // 250)


def _measure(key: str, task: Task) -> Reading:
    with (
        Network() as network,
        tempfile.TemporaryDirectory(prefix="whence-bench-") as home,
        Registrar(network.ip("registrar"), Path(home)) as registrar,
        CONTESTANTS[key](network, Path(home), registrar, task) as contestant,
    ):
        return read(contestant, registrar, task)


def _storm(trunks: int, rate: int) -> Storm:
    task = Task(trunks, EXPIRES_S, rate)
    with (
        Network() as network,
        tempfile.TemporaryDirectory(prefix="whence-bench-") as home,
        Registrar(network.ip("registrar"), Path(home)) as registrar,
        whence(network, Path(home), registrar, task, SETTINGS) as contestant,
    ):
        return run_outage(contestant, registrar, trunks, rate)


def _circumstances(rate: int) -> dict[str, str | int | float]:
    """Return what a comparison needs; nothing in it names a machine."""
    version = subprocess.run(
        ["kamailio", "-v"], check=True, capture_output=True, text=True, timeout=10
    ).stdout.split()[2]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "attempts_a_second_at_most": rate,
        "kamailio": version,
        "python_of_agent": platform.python_version(),
        "cpus": os.cpu_count() or 0,
    }


if __name__ == "__main__":
    typer.run(main)
