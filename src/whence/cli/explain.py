"""`whence explain`: why the edge decided a call as it did, or would decide a request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

import typer

from whence.cli import output
from whence.cli.calls import NOT_ENDED, result
from whence.cli.client import ask, ask_all
from whence.cli.output import Answer
from whence.cli.tables import Table
from whence.core.text import format_duration


def explain(
    api: str,
    source: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="The source of the request: udp:203.0.113.7:5060."),
    ] = None,
    ruri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Its Request-URI: sip:+442071234567@edge.example."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="URI", help="Its To; with --from what the phone calls.")
    ] = None,
    p_called_party_id: Annotated[
        str | None, typer.Option(metavar="URI", help="Its P-Called-Party-ID.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEADER",
            help="Another header that a trunk has in number_headers: 'Diversion: <sip:+44…@h>'. "
            "May be repeated.",
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="USER",
            help="Instead of a source: the user whose phone calls --to, a number, user or URI.",
        ),
    ] = None,
    call: Annotated[
        str | None,
        typer.Option(metavar="CALL-ID", help="Instead of these: a call of whence calls."),
    ] = None,
) -> Answer:
    """Explain which trunk gets a request, or got a call, with each step of the decision.

    With --from and --to: which trunks a user's call would get, and what each gets of it.
    """
    if from_ is not None:
        if to is None or not (source is ruri is p_called_party_id is call is None):
            raise typer.BadParameter("--from needs --to, and excludes the others but --header")
        call_out = {"from": from_, "to": to, "headers": header or []}
        return Answer(ask(api, "/v1/explain/call-out", call_out), _call_out)
    if call is not None:
        if header or not (source is ruri is to is p_called_party_id is None):
            raise typer.BadParameter("--call excludes the other options: the call has their values")
        answer = ask_all(api, f"/v1/calls/{quote(call, safe='').replace('.', '%2E')}")
        return Answer(answer, _calls)
    if source is None or ruri is None:
        raise typer.BadParameter("write --source and --ruri, or --from and --to, or --call")
    question = {
        "source": source,
        "ruri": ruri,
        "to": to,
        "p_called_party_id": p_called_party_id,
        "headers": header or [],
    }
    answer = ask(api, "/v1/explain", question)
    return Answer(answer, _decision)


def _calls(calls: list[dict[str, Any]]) -> Iterator[str | Table]:
    for call in calls:
        yield from _call(call)


def _call(call: dict[str, Any]) -> Iterator[str | Table]:
    as_trunk = f" as trunk {call['trunk']}" if call["trunk"] else ""
    yield f"{output.instant(call['at'])}: {call['method']} from {call['source']}"
    for name, key in (
        ("Request-URI", "ruri"),
        ("To", "to"),
        ("P-Called-Party-ID", "p_called_party_id"),
    ):
        if call[key]:
            yield f"{name}: {call[key]}"
    yield from call["headers"]
    if call["direction"] != "in":
        yield from _call_of_user(call)
        return
    yield f"it was {call['decision']}{as_trunk}: {call['message']}"
    yield from _end(call)
    if call["named"] and not call["trunk"]:
        yield f"trunks: {', '.join(call['named'])}"
    then, now = call["then"], call["now"]
    if then is not None:
        yield from _steps(then)
    if now is None:
        yield "its URIs were too long to store: its decision now is unknown"
        return
    yield f"now it would be {_result(now)}"
    if then is None or _result(now) != _result(then):
        yield from _steps(now)


def _call_out(answer: dict[str, Any]) -> Iterator[str | Table]:
    yield f"{answer['decision']}: {answer['message']}"
    yield from answer["steps"]
    if answer["decision"] == "trunks":
        yield "calls and failures of this moment are not counted here: only Kamailio counts them"


def _call_of_user(call: dict[str, Any]) -> Iterator[str]:
    """Yield what became of a user's call: the trunks to try, and the answer of each."""
    yield f"user {call['user']} called {call['called']}"
    if call["decision"] == "refused":
        yield f"it was refused: {call['message']}, answer {call['status']}"
        return
    if call["named"]:
        yield f"trunks to try: {', '.join(call['named'])}"
    yield from _end(call)


def _end(call: dict[str, Any]) -> Iterator[str]:
    """Yield how a call ended."""
    for one in call["tried"]:
        because = f": {one['reason'].replace('_', ' ')}" if one["reason"] else ""
        yield f"trunk {one['trunk']} answered {one['status'] or 'nothing'}{because}"
    if call["target"]:
        yield f"target: {call['target']}"
    if call["answered_at"] is not None:
        by = f" from {call['answered_by']}" if call["answered_by"] else ""
        yield f"answered {call['status']} at {output.instant(call['answered_at'])}{by}"
    if call["state"] == "failed" and call["decision"] == "identified":
        failure = f": {call['failure'].replace('_', ' ')}" if call["failure"] else ""
        yield f"it failed: {result(call)}{failure}"
    elif call["state"] == "ended":
        lasted = format_duration(call["duration_s"] or 0)
        yield f"the {call['hung_up_by']} hung up after {lasted}"
    elif call["state"] in NOT_ENDED:
        yield f"state: {NOT_ENDED[call['state']]}"


def _decision(answer: dict[str, Any]) -> Iterator[str | Table]:
    yield _result(answer)
    if answer["candidates"]:
        yield f"candidates: {', '.join(answer['candidates'])}"
    yield from _steps(answer)


def _result(answer: dict[str, Any]) -> str:
    trunk = f" as trunk {answer['trunk']}" if answer["trunk"] else ""
    return f"{answer['decision']}{trunk}: {answer['message']}"


def _steps(answer: dict[str, Any]) -> Iterator[str | Table]:
    if nearest := answer.get("nearest"):
        missing = "; ".join(one["message"] for one in nearest["missing"])
        yield f"nearest: {nearest['trunk'] or 'no trunk'}: {missing}"
    rows = [(step["rule"], step["message"], _fitting_of_trunk(step)) for step in answer["steps"]]
    yield Table(("rule", "compared", "fits"), rows, "no rule was applied")


def _fitting_of_trunk(step: dict[str, Any]) -> str:
    return (
        ", ".join(
            f"{trunk} ({own})" if own else trunk
            for trunk, own in zip(step["left"], step["fitting"], strict=True)
        )
        or "no trunk"
    )
