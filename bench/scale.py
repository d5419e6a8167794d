"""`make bench-scale`: the CPU time of a call with 10, 1 000 and 100 000 trunks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console

from bench.callers import Callers
from bench.circumstances import circumstances
from bench.contest import Contestant, Load, hold
from bench.contestants.native import USER, kamailio, teach
from bench.granted import granted
from bench.growth import Growth, Key
from bench.layout import Layout, Pattern, Places, calls
from bench.stage import Stage, phone
from testkit.network import SIP_PORT, Network
from testkit.sip import Endpoint, request

SIZES = (10, 1_000, 100_000)
RESULTS = Path(__file__).parent / "results"
FIRST = IPv4Address("127.64.0.0")
CALLERS_PORT = 20_000
TAUGHT_AT_ONCE = 100


def main(
    trunks: Annotated[
        list[int] | None, typer.Option(min=1, max=1_000_000, help="Number of trunks; repeatable.")
    ] = None,
    patterns: Annotated[
        str, typer.Option(help="Patterns of the calls, separated by commas.")
    ] = ",".join(get_args(Pattern)),
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each.")] = 7,
    calls_a_round: Annotated[
        int, typer.Option("--calls", min=1, help="Calls in a round, for each.")
    ] = 2000,
    rate: Annotated[float, typer.Option(min=1, help="Calls a second.")] = 400,
    results: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Where to write scale.txt and scale.json.",
            show_default="bench/results",
        ),
    ] = RESULTS,
) -> None:
    """Compare the CPU time of a call with few and with many trunks, at one address and at many.

    Exit with 1, and write nothing, if a call failed, or a process started or ended.
    """
    unknown = set(patterns.split(",")) - set(get_args(Pattern))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: write {', '.join(get_args(Pattern))}")
    chosen = [cast("Pattern", pattern) for pattern in patterns.split(",")]
    load = Load(calls_a_round, rate)
    measure(
        trunks or SIZES, chosen, rounds, load, results, Console(soft_wrap=True, highlight=False)
    )


def measure(
    sizes: Sequence[int],
    patterns: Sequence[Pattern],
    rounds: int,
    load: Load,
    results: Path,
    console: Console,
) -> None:
    """Run the rounds, and print and write the results. Raises: typer.Exit on an invalid round."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whence-bench-")))
        contestants: dict[Key, Contestant] = {}
        ports = count(CALLERS_PORT)
        for trunks in sizes:
            layout = Layout(trunks, "spread", FIRST)
            recipe = stack.enter_context(_recipe(network, home, layout, next(ports)))
            contestants[Key("recipe", trunks, "spread", "all")] = recipe
            console.print(f"{recipe.title}: ready")
            for places in get_args(Places):
                layout = Layout(trunks, places, FIRST)
                ours = stack.enter_context(_whence(network, home, layout, patterns, ports))
                contestants |= ours
                console.print(f"Whence, {_text(layout)}: ready")
        # Readings of one ratio are next to each other in a round, seconds apart.
        side_by_side = sorted(contestants, key=lambda key: (key.who, key.places, key.pattern, key))
        entered = [contestants[key] for key in side_by_side]
        console.print("warm-up round: caches fill, and memory is used for the first time")
        _, faults = hold(entered, 1, load, lambda _: None)
        if not faults:
            measured, faults = hold(entered, rounds, load, console.print)
    for fault in faults:
        console.print(f"invalid: {fault}", style="red", markup=False)
    if faults:
        raise typer.Exit(1)
    growth = Growth(list(contestants), measured, circumstances(rounds, load))
    growth.show(console)
    growth.write(results)


@contextmanager
def _whence(
    network: Network,
    home: Path,
    layout: Layout,
    patterns: Sequence[Pattern],
    ports: Iterator[int],
) -> Iterator[dict[Key, Contestant]]:
    """Run one Whence, and yield a contestant for each pattern."""
    name = f"whence-{layout.trunks}-{layout.places}"
    with granted(network, home, name, layout) as run:
        process = run.node.process
        assert process
        entered = {}
        for pattern in patterns:
            key = Key("whence", layout.trunks, layout.places, pattern)
            callers = Callers(calls(layout, pattern), run.node.address, next(ports), home, str(key))
            entered[key] = Contestant(str(key), str(key), process, run.node.address, callers.load)
        yield entered


@contextmanager
def _recipe(network: Network, home: Path, layout: Layout, port: int) -> Iterator[Contestant]:
    """Run the recipe as Debian starts it, after a 200 from each address of the layout."""
    key = Key("recipe", layout.trunks, layout.places, "all")
    stage = Stage(network, home, layout.trunks, 1)
    phone_ip = network.ip(f"phone of {key}")
    with (
        kamailio(stage, str(key), str(key), (), config="recipe") as (contestant, own),
        Endpoint(phone_ip, SIP_PORT) as ours,
    ):
        edge = contestant.edge
        answer = ours.register(edge, USER, "", edge[0])
        assert answer.status == 200, f"the recipe did not register a phone:\n{answer}"
        for trunk in range(layout.trunks):
            teach(edge, str(layout.ip(trunk)))
            # Its answer means that the recipe has read the former datagrams.
            if trunk % TAUGHT_AT_ONCE == 0:
                ours.ask(request("OPTIONS", f"sip:{edge[0]}", ours.address), edge)
        ours.close()
        with phone(phone_ip, own):
            callers = Callers(calls(layout, "all"), edge, port, own, "callers")
            yield replace(contestant, make_calls=callers.load)


def _text(layout: Layout) -> str:
    where = "at one address" if layout.places == "one" else "each at its own address"
    return f"{layout.trunks} trunks {where}"


if __name__ == "__main__":
    typer.run(main)
