"""`whence trunks`: how each registration stands."""

from __future__ import annotations

from whence.cli import show
from whence.cli.api import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def trunks(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show each trunk: its state, what is granted and by whom, and what comes next."""
    answer = ask(api, "/v1/trunks")
    if json:
        show.as_json(answer)
        return
    show.table(
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
                show.instant(trunk["since"]),
                trunk["registrar"] or "-",
                show.instant(trunk["expires_at"]),
                show.instant(trunk["next_at"]),
                str(trunk["failures"]),
                trunk["last_answer"] or "none",
                trunk["message"],
            )
            for trunk in answer
        ],
        "no trunk is configured",
    )
