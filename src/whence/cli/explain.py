"""`whence explain`: how would the edge decide on a request, and why?"""

from __future__ import annotations

from typing import Annotated

import typer

from whence.cli import show
from whence.cli.api import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def explain(
    source: Annotated[
        str, typer.Option(metavar="SOURCE", help="where it comes from: udp:203.0.113.7:5060")
    ],
    ruri: Annotated[
        str, typer.Option(metavar="URI", help="its Request-URI: sip:+442071234567@edge.example")
    ],
    to: Annotated[str | None, typer.Option(metavar="URI", help="its To")] = None,
    p_called_party_id: Annotated[
        str | None, typer.Option(metavar="URI", help="its P-Called-Party-ID")
    ] = None,
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Say which trunk a made-up request would be given to, and each step to that decision."""
    question = {"source": source, "ruri": ruri, "to": to, "p_called_party_id": p_called_party_id}
    answer = ask(api, "/v1/explain", question)
    if json:
        show.as_json(answer)
        return
    trunk = f" as trunk {answer['trunk']}" if answer["trunk"] else ""
    print(f"{answer['decision']}{trunk}: {answer['reason']}")
    if answer["candidates"]:
        print(f"candidates: {', '.join(answer['candidates'])}")
    show.table(
        ("rule", "compared", "fits"),
        [
            (step["rule"], step["compared"], ", ".join(step["left"]) or "no trunk")
            for step in answer["steps"]
        ],
        "",
    )
