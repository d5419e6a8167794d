"""`whence clashes`: which trunks could no rule tell apart?"""

from __future__ import annotations

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption
from whence.core.identification.conflicts import few


def clashes(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show trunks at one address that no rule could tell apart, and what would."""
    answer = ask(api, "/v1/clashes")
    if json:
        output.as_json(answer)
        return
    output.table(
        ("trunks", "at", "why", "what would tell them apart"),
        [
            (few(clash["trunks"]), few(clash["addresses"]), clash["message"], clash["remedy"])
            for clash in answer
        ],
        "no trunks clash",
    )
