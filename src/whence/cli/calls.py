"""`whence calls`: who called whom, by which trunk, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from whence.cli import output
from whence.cli.client import ask_page
from whence.cli.output import Answer, when
from whence.cli.tables import Table
from whence.core.text import format_duration

NOT_ENDED = {"ringing": "ringing", "answered": "in progress", "lost": "end not reported"}
"""State of a call → its words, where it has no final result."""


def calls(
    api: str,
    limit: Annotated[int, typer.Option(metavar="N", help="How many calls.", min=1, max=1000)] = 20,
    trunk: Annotated[
        str | None, typer.Option(metavar="ID", help="Only calls of this trunk.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only calls of this user.")
    ] = None,
    number: Annotated[
        str | None, typer.Option(help="Only calls from or to a number with these digits.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only calls that ended without an answer.")
    ] = False,
    active: Annotated[
        bool, typer.Option("--active", help="Only calls that are in progress.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Only calls of the last 30m, 1h or 2d.")
    ] = None,
) -> Answer:
    """Show the last calls, the newest first.

    `whence explain --call CALL-ID` shows each step of one decision.
    """
    answer = ask_page(
        api,
        "/v1/calls",
        limit=limit,
        trunk=trunk,
        user=user,
        number=number,
        failed="true" if failed else None,
        active="true" if active else None,
        since=None if since is None else _instant_before(since),
    )
    return Answer(answer, _calls)


def _instant_before(duration: str) -> str:
    try:
        seconds = output.seconds(duration)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None
    return datetime.fromtimestamp(time.time() - seconds, UTC).isoformat()


def _calls(answer: Any) -> Iterator[Table]:
    rows = [
        (
            when(call["at"]),
            call["direction"],
            call["trunk"] or "-",
            _number(call["caller"]) or call["source"],
            _number(call["called"]),
            result(call),
            _duration(call),
            call["source"] if call["method"] == "INVITE" else f"{call['method']} {call['source']}",
            _why(call),
            call["call_id"],
        )
        for call in answer
    ]
    columns = (
        *("when", "way", "trunk", "caller", "called", "result", "lasted"),
        *("source", "why", "Call-ID"),
    )
    yield Table(columns, rows, "no such call since the agent's start")


def result(call: dict[str, Any]) -> str:
    """Return how a call ended, in words: `answered`, `486 busy`, `ringing`."""
    if call["decision"] != "identified":
        return f"{call['status'] or ''} {call['decision']}".strip()
    state = call["state"]
    if state is None:
        return str(call["decision"])
    if state == "ended":
        return "answered"
    if state in NOT_ENDED:
        return NOT_ENDED[state]
    return f"{call['status'] or ''} {call['outcome'].replace('_', ' ')}".strip()


def _duration(call: dict[str, Any]) -> str:
    seconds = call["duration_s"]
    return "-" if seconds is None else format_duration(seconds)


def _why(call: dict[str, Any]) -> str:
    """Return the reason of the decision, the tries of trunks, and who hung up."""
    parts = [call["message"]]
    parts += [
        f"{one['trunk']}: {one['status'] or 'no answer'}" + _because(one["reason"])
        for one in call["tried"]
    ]
    if call["failure"]:
        parts.append(call["failure"].replace("_", " "))
    if call["hung_up_by"]:
        parts.append(f"{call['hung_up_by']} hung up")
    return "; ".join(filter(None, parts))


def _because(reason: str | None) -> str:
    return f" ({reason.replace('_', ' ')})" if reason else ""


def _number(uri: str | None) -> str:
    """Return the number or user of a `sip:` URI; another text unchanged."""
    text = uri or ""
    scheme, _, rest = text.partition(":")
    user, at, _ = rest.partition("@")
    return user if scheme in ("sip", "sips") and at and user else text
