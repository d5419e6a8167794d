"""`make bench`: the CPU time of a call under Whence, the known recipe and a bare relay."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.circumstances import circumstances
from bench.contest import Load, hold
from bench.contestants.drop_in import drop_in
from bench.contestants.native import recipe_as_debian, recipe_tlsf, relay
from bench.contestants.whence import whence
from bench.report import Report
from bench.scale import SIZES, measure
from bench.stage import Stage
from testkit.network import Network

CONTESTANTS = (recipe_as_debian, recipe_tlsf, drop_in, relay, whence)
RESULTS = Path(__file__).parent / "results"


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each.")] = 7,
    calls: Annotated[int, typer.Option(min=1, help="Calls in a round, for each.")] = 2000,
    rate: Annotated[float, typer.Option(min=1, help="Calls a second.")] = 400,
    trunks: Annotated[int, typer.Option(min=1, help="Whence's trunks.")] = 1000,
    providers: Annotated[int, typer.Option(min=1, max=32, help="Addresses of the providers.")] = 4,
    scale_rounds: Annotated[
        int, typer.Option(min=0, help="Rounds with 10 to 100 000 trunks after that; 0: none.")
    ] = 3,
    results: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Where to write calls.* and scale.*.",
            show_default="bench/results",
        ),
    ] = RESULTS,
) -> None:
    """Compare the CPU time of a call over rounds: all Kamailio processes, each contestant in turn.

    Exit with 1, and write nothing, if a call failed, or a process started or ended.
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
        console.print("warm-up round: caches fill, and memory is used for the first time")
        _, faults = hold(contestants, 1, load, lambda _: None)
        if not faults:
            measured, faults = hold(contestants, rounds, load, console.print)
    for fault in faults:
        console.print(f"invalid: {fault}", style="red", markup=False)
    if faults:
        raise typer.Exit(1)
    titles = {contestant.key: contestant.title for contestant in contestants}
    layout = {"trunks": stage.trunks, "provider_addresses": stage.providers}
    report = Report(titles, measured, {**circumstances(rounds, load), **layout})
    report.show(console)
    report.write(results)
    if scale_rounds:
        few = Load(max(1, calls // 4), rate)
        measure(SIZES, ("all", "few"), scale_rounds, few, results, console)


if __name__ == "__main__":
    typer.run(main)
