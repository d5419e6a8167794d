"""`whence events`: what somebody should have heard of."""

from __future__ import annotations

from typing import Annotated

import typer

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def events(
    since: Annotated[
        int, typer.Option(metavar="EVENT", help="only those after this one", min=0)
    ] = 0,
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Show the last alarms, the oldest first."""
    answer = ask(api, f"/v1/events?since={since}")
    if json:
        output.as_json(answer)
        return
    output.table(
        ("event", "when", "kind", "trunk", "what", "more like it"),
        [
            (
                str(event["id"]),
                output.instant(event["at"]),
                event["kind"],
                event["trunk"] or "-",
                event["message"],
                str(event["left_out"] or "-"),
            )
            for event in answer
        ],
        "nothing has happened that needs anybody",
    )
