"""`make bench`: what a call costs under Whence, beside the known recipe and a bare relay."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.contest import Load, hold
from bench.contestants.native import recipe_as_debian, recipe_tlsf, relay
from bench.contestants.whence import whence
from bench.report import Report
from bench.stage import Stage
from tests.rig.network import Network

CONTESTANTS = (recipe_as_debian, recipe_tlsf, relay, whence)
RESULTS = Path(__file__).parent / "results"


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 7,
    calls: Annotated[int, typer.Option(min=1, help="Calls in a round, for each.")] = 2000,
    rate: Annotated[float, typer.Option(min=1, help="Calls a second.")] = 400,
    trunks: Annotated[int, typer.Option(min=1, help="Whence's trunks.")] = 1000,
    providers: Annotated[
        int, typer.Option(min=1, max=32, help="Addresses the trunks are spread over.")
    ] = 4,
    results: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Where to write calls.txt and calls.json.",
            show_default="bench/results",
        ),
    ] = RESULTS,
) -> None:
    """Compare what a call costs: CPU time of all Kamailio processes, in turn, over rounds.

    Ends with 1, and writes nothing, where a call failed or a process came or went.
    """
    console = Console(highlight=False, soft_wrap=True)
    load = Load(calls, rate)
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whence-bench-")))
        stage = Stage(network, directory, trunks, providers)
        contestants = []
        for start in CONTESTANTS:
            contestants.append(stack.enter_context(start(stage)))
            console.print(f"{contestants[-1].title}: ready")
        console.print("a round to warm up: caches fill, memory is touched for the first time")
        _, faults = hold(contestants, 1, load, lambda _: None)
        if not faults:
            measured, faults = hold(contestants, rounds, load, console.print)
    for fault in faults:
        console.print(f"invalid: {fault}", style="red", markup=False)
    if faults:
        raise typer.Exit(1)
    titles = {contestant.key: contestant.title for contestant in contestants}
    report = Report(titles, measured, _circumstances(rounds, load, stage))
    report.show(console)
    report.write(results)


def _circumstances(rounds: int, load: Load, stage: Stage) -> dict[str, str | int | float]:
    """Say what one must know to compare these numbers with others; nothing that names a machine."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": rounds,
        "calls_a_round": load.calls,
        "calls_a_second": load.rate,
        "trunks": stage.trunks,
        "provider_addresses": stage.providers,
        "kamailio": _said_by("kamailio", "-v").split()[2],
        "python_of_kamailio": _said_by("/usr/bin/python3", "-V").split()[1],
        "cpus": os.cpu_count() or 0,
    }


def _said_by(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout


if __name__ == "__main__":
    typer.run(main)
