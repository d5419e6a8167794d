"""`whence explain`: why the edge decided a call as it did, or would decide a request."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def explain(
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
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Explain which trunk gets a request, or got a call, with each step of the decision.

    With --from and --to: which trunks a user's call would get, and what each gets of it.
    """
    if from_ is not None:
        if to is None or not (source is ruri is p_called_party_id is call is None):
            raise typer.BadParameter("--from needs --to, and excludes the others but --header")
        call_out = {"from": from_, "to": to, "headers": header or []}
        answer = ask(api, "/v1/explain/call-out", call_out)
        if json:
            output.as_json(answer)
        else:
            _call_out(answer)
        return
    if call is not None:
        if header or not (source is ruri is to is p_called_party_id is None):
            raise typer.BadParameter("--call excludes the other options: the call has their values")
        answer = ask(api, f"/v1/calls/{quote(call, safe='').replace('.', '%2E')}")
        if json:
            output.as_json(answer)
        else:
            _calls(answer)
        return
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
    if json:
        output.as_json(answer)
        return
    _decision(answer)


def _calls(calls: list[dict[str, Any]]) -> None:
    for call in calls:
        as_trunk = f" as trunk {call['trunk']}" if call["trunk"] else ""
        print(f"{output.instant(call['at'])}: {call['method']} from {call['source']}")
        for name, key in (
            ("Request-URI", "ruri"),
            ("To", "to"),
            ("P-Called-Party-ID", "p_called_party_id"),
        ):
            if call[key]:
                print(f"{name}: {call[key]}")
        for line in call["headers"]:
            print(line)
        print(f"it was {call['decision']}{as_trunk}: {call['message']}")
        if call["named"] and not call["trunk"]:
            print(f"trunks: {', '.join(call['named'])}")
        then, now = call["then"], call["now"]
        if then is not None:
            _steps(then)
        if now is None:
            print("its URIs were too long to store: its decision now is unknown")
            continue
        print(f"now it would be {_result(now)}")
        if then is None or _result(now) != _result(then):
            _steps(now)


def _call_out(answer: dict[str, Any]) -> None:
    print(f"{answer['decision']}: {answer['message']}")
    for step in answer["steps"]:
        print(step)
    if answer["decision"] == "trunks":
        print("calls and failures of this moment are not counted here: only Kamailio counts them")


def _decision(answer: dict[str, Any]) -> None:
    print(_result(answer))
    if answer["candidates"]:
        print(f"candidates: {', '.join(answer['candidates'])}")
    _steps(answer)


def _result(answer: dict[str, Any]) -> str:
    trunk = f" as trunk {answer['trunk']}" if answer["trunk"] else ""
    return f"{answer['decision']}{trunk}: {answer['message']}"


def _steps(answer: dict[str, Any]) -> None:
    if nearest := answer.get("nearest"):
        missing = "; ".join(one["message"] for one in nearest["missing"])
        print(f"nearest: {nearest['trunk'] or 'no trunk'}: {missing}")
    output.table(
        ("rule", "compared", "fits"),
        [(step["rule"], step["message"], _fitting_of_trunk(step)) for step in answer["steps"]],
        "",
    )


def _fitting_of_trunk(step: dict[str, Any]) -> str:
    return (
        ", ".join(
            f"{trunk} ({own})" if own else trunk
            for trunk, own in zip(step["left"], step["fitting"], strict=True)
        )
        or "no trunk"
    )
