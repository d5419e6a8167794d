"""`whence addresses`: from where calls are admitted."""

from __future__ import annotations

from whence.cli import show
from whence.cli.api import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def addresses(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show the addresses from which each trunk's calls may come, and until when."""
    answer = ask(api, "/v1/addresses")
    if json:
        show.as_json(answer)
        return
    show.table(
        ("trunk", "ip", "port", "transport", "origin", "learned", "until"),
        [
            (
                address["trunk"],
                address["ip"],
                str(address["port"] or "any"),
                address["transport"],
                address["origin"],
                show.instant(address["learned_at"]),
                show.instant(address["expires_at"], never="removed"),
            )
            for address in answer
        ],
        "no address is known: no trunk is registered",
    )
