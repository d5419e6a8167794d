"""`whence trunks`: how each registration stands."""

from __future__ import annotations

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def trunks(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show each trunk: its state, what is granted and by whom, and what comes next."""
    answer = ask(api, "/v1/trunks")
    if json:
        output.as_json(answer)
        return
    output.table(
        (
            "trunk",
            "state",
            "since",
            "registrar",
            "granted until",
            "next REGISTER",
            "failures",
            "last answer",
            "why",
        ),
        [
            (
                trunk["id"],
                trunk["state"],
                output.instant(trunk["since"]),
                trunk["registrar"] or "-",
                output.instant(trunk["expires_at"]),
                output.instant(trunk["next_at"]),
                str(trunk["failures"]),
                trunk["last_answer"] or "none",
                trunk["message"],
            )
            for trunk in answer
        ],
        "no trunk is configured",
    )
