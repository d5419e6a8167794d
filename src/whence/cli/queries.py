"""`whence addresses`: from where calls are admitted."""

from __future__ import annotations

from typing import Any

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def addresses(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show the addresses from which each trunk's calls may come, and until when."""
    answer = ask(api, "/v1/addresses")
    if json:
        output.as_json(answer)
        return
    output.table(
        ("trunk", "ip", "port", "transport", "origin", "since", "until", "note"),
        [
            (
                address["trunk"],
                address["ip"],
                _port(address),
                address["transport"],
                address["origin"] + _why(address),
                output.instant(address["learned_at"]),
                output.instant(address["expires_at"], never="no end"),
                address["note"],
            )
            for address in answer
        ],
        "no address is known: no trunk is registered",
    )


def _why(address: dict[str, Any]) -> str:
    """Say why it is there, unless it was learned from whom was asked."""
    why = "file" if address["in_file"] else address["ground"]
    return "" if why in ("", "asked") else f" ({why})"


def _port(address: dict[str, Any]) -> str:
    """The port that is admitted; in brackets one that only tells trunks apart."""
    port = address["port"]
    return "any" if port is None else str(port) if address["exact"] else f"any ({port})"
