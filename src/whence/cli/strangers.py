"""`whence strangers`: who asked and is not known; and letting one in for a while."""

from __future__ import annotations

from typing import Annotated

import typer

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption
from whence.core.monitoring.unknown_sources import LONGEST_S

app = typer.Typer()

SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="as it is listed, udp:203.0.113.7:5060, or an ip")
]
TrunkOption = Annotated[str, typer.Option(metavar="ID", help="as whose its calls count")]


@app.callback(invoke_without_command=True)
def strangers(
    context: typer.Context,
    limit: Annotated[int, typer.Option(metavar="N", help="how many", min=1, max=1000)] = 50,
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Show who asked and is not known: who asked most often first."""
    if context.invoked_subcommand is not None:
        return
    answer = ask(api, f"/v1/strangers?limit={limit}")
    if json:
        output.as_json(answer)
        return
    output.table(
        ("source", "requests", "since", "last", "why", "asked for"),
        [
            (
                stranger["source"],
                str(stranger["requests"]),
                output.instant(stranger["since"]),
                output.instant(stranger["last_at"]),
                stranger["message"],
                ", ".join(stranger["asked"]),
            )
            for stranger in answer
        ],
        "no stranger has come since the agent's start",
    )


@app.command("admit")
def admit(
    source: SourceArgument,
    trunk: TrunkOption,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="30m, 1h, 2d")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="why, for the trunk's history")] = "",
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Let calls from a stranger's ip in as a trunk's, for a while."""
    try:
        for_s = output.seconds(for_)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if for_s > LONGEST_S:
        raise typer.BadParameter(
            f'--for "{for_}" is more than 30d; what is to stay longer belongs into the file, as '
            "networks of the trunk"
        )
    question = {"source": source, "trunk": trunk, "for_s": for_s, "note": note}
    answer = ask(api, "/v1/strangers/admit", question)
    if json:
        output.as_json(answer)
        return
    print(
        f"{answer['ip']} is admitted as trunk {answer['trunk']}, over {answer['transport']} or a "
        f"stronger transport, until {output.instant(answer['expires_at'])}"
    )


@app.command("expel")
def expel(
    source: SourceArgument,
    trunk: TrunkOption,
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Take back what `admit` let in: its calls are refused from now on."""
    answer = ask(api, "/v1/strangers/expel", {"source": source, "trunk": trunk})
    if json:
        output.as_json(answer)
        return
    print(f"{answer['ip']} is not admitted as trunk {answer['trunk']} any more")
