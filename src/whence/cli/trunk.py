"""`whence trunk`: one trunk, and what happened to it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def trunk(
    trunk_id: Annotated[str, typer.Argument(metavar="ID", help="the trunk")],
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Show how one trunk stands, and the last 50 things that happened to it."""
    answer = ask(api, f"/v1/trunks/{quote(trunk_id, safe='')}")
    if json:
        output.as_json(answer)
        return
    held = ", held by the operator" if answer["held"] else ""
    print(f"{trunk_id}: {answer['state']}{held} since {output.instant(answer['since'])}")
    print(f"why: {answer['message'] or '-'}; failures in a row: {answer['failures']}")
    print(f"last answer: {answer['last_answer'] or 'none'}")
    print(f"granted until {output.instant(answer['expires_at'])}, by {answer['registrar'] or '-'}")
    print(f"next REGISTER {output.instant(answer['next_at'])}")
    if answer["keepalive"]:
        print(f"keep-alive: {_keepalive(answer['keepalive'])}")
    output.table(
        ("when", "what", "answer", "why"),
        [
            (
                output.instant(event["at"]),
                event["what"],
                str(event["status"] or "-"),
                event["message"],
            )
            for event in answer["events"]
        ],
        "nothing has happened to it yet",
    )


def _keepalive(keepalive: Any) -> str:
    last = "not answered yet"
    if keepalive["answered_at"] is not None:
        last = f"answered {keepalive['last_status']} at {output.instant(keepalive['answered_at'])}"
    missed = f", {keepalive['missed']} unanswered since" if keepalive["missed"] else ""
    return f"{last}{missed}; next {output.instant(keepalive['next_at'])}"
