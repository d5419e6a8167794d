"""`whence explain`: how would the edge decide on a request, how did it on a call, and why?"""

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
        typer.Option(metavar="SOURCE", help="where it comes from: udp:203.0.113.7:5060"),
    ] = None,
    ruri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="its Request-URI: sip:+442071234567@edge.example"),
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="URI", help="its To")] = None,
    p_called_party_id: Annotated[
        str | None, typer.Option(metavar="URI", help="its P-Called-Party-ID")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEADER",
            help='one that a trunk has in number_headers: "Diversion: <sip:+44…@h>"',
        ),
    ] = None,
    call: Annotated[
        str | None, typer.Option(metavar="CALL-ID", help="instead of these: a call that happened")
    ] = None,
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Say which trunk a request would be given to, or a call was, and each step to that."""
    if call is not None:
        if header or not (source is ruri is to is p_called_party_id is None):
            raise typer.BadParameter("--call goes alone: the call has the rest")
        answer = ask(api, f"/v1/calls/{quote(call, safe='').replace('.', '%2E')}")
        if json:
            output.as_json(answer)
        else:
            _calls(answer)
        return
    if source is None or ruri is None:
        raise typer.BadParameter("write --source and --ruri, or --call")
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
        given = f" as trunk {call['trunk']}" if call["trunk"] else ""
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
        print(f"it was {call['decision']}{given}: {call['message']}")
        if call["named"] and not call["trunk"]:
            print(f"trunks: {', '.join(call['named'])}")
        then, now = call["then"], call["now"]
        if then is not None:
            _why(then)
        if now is None:
            print("its URIs were too long to be kept: how it would be decided now cannot be said")
            continue
        print(f"now it would be {_said(now)}")
        if then is None or _said(now) != _said(then):
            _why(now)


def _decision(answer: dict[str, Any]) -> None:
    print(_said(answer))
    if answer["candidates"]:
        print(f"candidates: {', '.join(answer['candidates'])}")
    _why(answer)


def _said(answer: dict[str, Any]) -> str:
    trunk = f" as trunk {answer['trunk']}" if answer["trunk"] else ""
    return f"{answer['decision']}{trunk}: {answer['message']}"


def _why(answer: dict[str, Any]) -> None:
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
