"""`make bench-instructions`: the instructions of a call, counted by callgrind."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench.callers import Callers
from bench.callgrind import MissingError, busiest, counted
from bench.circumstances import Circumstances, versions
from bench.contest import Contestant
from bench.contestants.drop_in import drop_in
from bench.contestants.native import ONE_WORKER, recipe_tlsf, relay
from bench.granted import granted
from bench.layout import Layout, Pattern, calls
from bench.stage import Stage
from testkit.network import Network

RESULTS = Path(__file__).parent / "results"
TRUNKS = 1_000
FEW = 10
CALLERS_PORT = 20_100
RELAY = "bare relay"

Launch = Callable[[Stage], AbstractContextManager[Contestant]]


def main(
    few: Annotated[int, typer.Option(min=1, help="Calls in the shorter run.")] = 50,
    many: Annotated[int, typer.Option(min=2, help="Calls in the longer run.")] = 250,
    rate: Annotated[float, typer.Option(min=1, help="Calls a second.")] = 10,
    results: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Where to write instructions.txt and instructions.json.",
            show_default="bench/results",
        ),
    ] = RESULTS,
) -> None:
    """Count the instructions of a call, in the user space of the one worker.

    Exit with 1, and write nothing, if a call failed or a process left no count.
    """
    if many <= few:
        raise typer.BadParameter(f"the longer run has {many} calls, the shorter {few}")
    console = Console(soft_wrap=True, highlight=False)
    contestants: dict[str, Launch] = {
        RELAY: lambda stage: relay(stage, ONE_WORKER),
        "recipe with tlsf": lambda stage: recipe_tlsf(stage, ONE_WORKER),
        "drop-in with tlsf": lambda stage: drop_in(few_of(stage), ONE_WORKER),
        "Whence, cached": lambda stage: _whence(stage, "few"),
        "Whence, not cached": lambda stage: _whence(stage, "anew"),
    }
    cost: dict[str, float] = {}
    try:
        for title, launch in contestants.items():
            counts = [_count(launch, number, rate) for number in (few, many)]
            cost[title] = (counts[1] - counts[0]) / (many - few)
            console.print(f"{title}: {cost[title]:.0f} instructions a call")
    except (MissingError, ValueError, ChildProcessError) as error:
        console.print(f"invalid: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    how = {**versions(), "calls": f"{few} and {many}", "calls_a_second": rate, "trunks": TRUNKS}
    _show(console, cost, how)
    with (results / "instructions.txt").open("w", encoding="utf-8") as text:
        _show(Console(file=text, width=100, soft_wrap=True), cost, how)
    content: dict[str, Any] = {
        "circumstances": how,
        "instructions_a_call": {title: round(value) for title, value in cost.items()},
        "ratio_to_relay": {title: round(v, 3) for title, v in against_relay(cost).items()},
    }
    (results / "instructions.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def few_of(stage: Stage) -> Stage:
    """Return the stage with ten of its trunks.

    `uac` registers them in a process of its own. With a thousand trunks that process would have the
    most instructions, instead of the worker.
    """
    return replace(stage, trunks=FEW)


def against_relay(cost: dict[str, float]) -> dict[str, float]:
    """Return each cost divided by the bare relay's."""
    return {title: value / cost[RELAY] for title, value in cost.items()}


def _count(launch: Launch, number: int, rate: float) -> int:
    """Let a contestant carry the calls; return the instructions of its busiest process."""
    with (
        Network() as network,
        tempfile.TemporaryDirectory(prefix="whence-bench-") as folder,
        counted(Path(folder)) as out,
    ):
        stage = Stage(network, Path(folder), TRUNKS, 1)
        with launch(stage) as contestant:
            outcome = contestant.make_calls(number, rate)
            if (outcome.successful, outcome.failed) != (number, 0):
                raise ChildProcessError(
                    f"{contestant.title}: of {number} calls {outcome.successful} succeeded, "
                    f"{outcome.failed} failed; its log ends:\n{contestant.process.log[-600:]}"
                )
        return busiest(file.read_text("utf-8", "replace") for file in out.iterdir())


@contextmanager
def _whence(stage: Stage, pattern: Pattern) -> Iterator[Contestant]:
    layout = Layout(stage.trunks, "one", IPv4Address(stage.caller_ip))
    with granted(stage.network, stage.directory, "whence", layout, workers=1) as run:
        assert run.node.process
        edge = run.node.address
        callers = Callers(calls(layout, pattern), edge, CALLERS_PORT, stage.directory, "callers")
        yield Contestant("whence", "Whence", run.node.process, edge, callers.load)


def _show(console: Console, cost: dict[str, float], how: Circumstances) -> None:
    table = Table(caption="instructions of the one worker, in user space, under callgrind")
    for title in ("", "instructions a call", f"÷ {RELAY}"):
        table.add_column(title, justify="right" if title else "left")
    ratio = against_relay(cost)
    for title, value in cost.items():
        table.add_row(title, f"{value:.0f}", f"{ratio[title]:.2f}")
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in how.items()))


if __name__ == "__main__":
    typer.run(main)
