"""`whence calls`: what the edge decided last."""

from __future__ import annotations

from typing import Annotated

import typer

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def calls(
    limit: Annotated[int, typer.Option(metavar="N", help="how many", min=1, max=1000)] = 20,
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Show the last calls, the newest first; `whence explain --call CALL-ID` says more of one."""
    answer = ask(api, f"/v1/calls?limit={limit}")
    if json:
        output.as_json(answer)
        return
    output.table(
        ("when", "method", "source", "asked for", "decision", "trunk", "why", "Call-ID"),
        [
            (
                output.instant(call["at"]),
                call["method"],
                call["source"],
                call["ruri"],
                call["decision"],
                call["trunk"] or "-",
                call["message"],
                call["call_id"],
            )
            for call in answer
        ],
        "no call has come since the agent's start",
    )
