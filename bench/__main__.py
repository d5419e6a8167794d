"""The benches: `python -m bench COMMAND`, and `make bench-…`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bench import calls, freshness, instructions, registrations, scale
from bench.report import RESULTS, Report, Session
from bench.rounds import InvalidError

Rounds = Annotated[int, typer.Option(min=1, help="Measurements of each.")]
Numbers = Annotated[list[int] | None, typer.Option("--trunks", min=10, help="Repeatable.")]
Rates = Annotated[list[int] | None, typer.Option("--rate", min=1, help="Calls/s; repeatable.")]
Peers = Annotated[list[str] | None, typer.Option("--peer", help="See bench/peers.md; repeatable.")]
Results = Annotated[
    Path, typer.Option(exists=True, file_okay=False, show_default=False, help="Where to write.")
]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("calls")
def run_calls(
    rounds: Rounds = 7,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of calls in a reading.")] = 5,
    rate: Rates = None,
    trunks: Annotated[int, typer.Option(min=100, help="Number of trunks.")] = 1000,
    peer: Peers = None,
    results: Results = RESULTS,
) -> None:
    """Compare the CPU time of a call, in all processes of each contestant."""
    _run(lambda: calls.measure(rounds, seconds, rate or calls.RATES, trunks, peer or []), results)


@app.command("scale")
def run_scale(
    rounds: Rounds = 7,
    number: Annotated[int, typer.Option("--calls", min=10, help="Calls in a reading.")] = 800,
    rate: Annotated[float, typer.Option(min=1, help="Calls a second.")] = 400,
    trunks: Numbers = None,
    results: Results = RESULTS,
) -> None:
    """Compare the CPU time of a call with few and with many trunks."""
    _run(lambda: scale.measure(rounds, number, rate, trunks or scale.SIZES), results)


@app.command("instructions")
def run_instructions(
    few: Annotated[int, typer.Option(min=1, help="Calls in the shorter run.")] = 50,
    many: Annotated[int, typer.Option(min=2, help="Calls in the longer run.")] = 150,
    rate: Annotated[float, typer.Option(min=1, help="Calls a second.")] = 5,
    results: Results = RESULTS,
) -> None:
    """Count the instructions of a call (needs valgrind)."""
    if many <= few:
        raise typer.BadParameter(f"the longer run has {many} calls, the shorter {few}")
    _run(lambda: instructions.measure(few, many, rate), results)


@app.command("freshness")
def run_freshness(
    probes: Annotated[int, typer.Option(min=100, help="New addresses.")] = 1000,
    results: Results = RESULTS,
) -> None:
    """Measure from the 200 that teaches an address to the first call from there."""
    _run(lambda: freshness.measure(probes), results)


@app.command("registrations")
def run_registrations(
    rounds: Rounds = 3,
    trunks: Numbers = None,
    start_trunks: Annotated[
        int, typer.Option(min=0, help="Trunks of a run until the first REGISTER; 0: none.")
    ] = registrations.MANY,
    rest: Annotated[float, typer.Option(min=1, help="Seconds of observation at rest.")] = 20,
    peer: Peers = None,
    results: Results = RESULTS,
) -> None:
    """Measure the start, the registrations, the rest, and the memory."""
    sizes = trunks or registrations.SIZES
    _run(lambda: registrations.measure(rounds, sizes, start_trunks, rest, peer or []), results)


@app.command("all")
def run_all(results: Results = RESULTS) -> None:
    """Run all benches with fewer rounds, in at most 25 minutes, and list all goals."""
    benches: list[Callable[[], Report]] = [
        lambda: registrations.measure(3, registrations.SIZES, registrations.MANY, 10, []),
        lambda: calls.measure(5, 5, calls.RATES, 1000, []),
        lambda: scale.measure(3, 800, 400, scale.SIZES),
        lambda: instructions.measure(30, 130, 5),
        lambda: freshness.measure(1000),
    ]
    reports = []
    for bench in benches:
        with suppress(typer.Exit):  # the others run without it
            reports.append(_run(bench, results))
    goals = "\n".join(goal.sentence() for report in reports for goal in report.goals)
    (results / "goals.txt").write_text(f"{goals}\n", "utf-8")
    Session().show(goals)
    if len(reports) < len(benches):
        raise typer.Exit(1)


def _run(bench: Callable[[], Report], results: Path) -> Report:
    """Run a bench, and print and write its results; without valid ones exit with 1."""
    session = Session()
    try:
        report = bench()
    except (InvalidError, AssertionError, ValueError) as error:
        session.reject(["\n".join([str(error), *getattr(error, "__notes__", [])])])
    report.show(session.console)
    report.write(results)
    return report


if __name__ == "__main__":
    app()
