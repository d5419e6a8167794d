"""`whence register`, `unregister`, `pause`, `resume`: what the operator orders of one trunk."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption

TrunkArgument = Annotated[str, typer.Argument(metavar="ID", help="the trunk")]


def register(trunk: TrunkArgument, api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Register a trunk now, whatever came before."""
    _order(api, trunk, "register", json)


def unregister(
    trunk: TrunkArgument, api: ApiOption = DEFAULT_API, json: JsonOption = False
) -> None:
    """Take a trunk back, and leave it so until `register` or `resume`."""
    _order(api, trunk, "unregister", json)


def pause(trunk: TrunkArgument, api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Send no more REGISTERs for a trunk; what is granted stands until it ends."""
    _order(api, trunk, "pause", json)


def resume(trunk: TrunkArgument, api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Register a trunk again that was paused or unregistered."""
    _order(api, trunk, "resume", json)


def _order(api: str, trunk: str, order: str, json: bool) -> None:
    answer = ask(api, f"/v1/trunks/{quote(trunk, safe='')}/{order}", {})
    if json:
        output.as_json(answer)
        return
    suspended = ", suspended" if answer["suspended"] else ""
    print(f"{trunk}: {answer['state']}{suspended}; whence trunks shows how it goes on")


def reload(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Read the file again, and say what changed; a faulty file changes nothing."""
    answer = ask(api, "/v1/reload", {})
    if json:
        output.as_json(answer)
        return
    words = {
        "added": "added",
        "removed": "removed",
        "changed": "changed",
        "users_changed": "users changed",
    }
    said = [f"{word}: {', '.join(answer[key])}" for key, word in words.items() if answer[key]]
    if answer["registration_changed"]:
        said.append("registration changed")
    print("; ".join(said) or "nothing changed that counts at once")
    if answer["needs_restart"]:
        print(
            "edge, agent or registration answer changed: start it again for that; who starts "
            "Kamailio himself writes its configuration anew (whence edge-config)"
        )
