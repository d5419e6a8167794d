"""The commands that change something: `whence register`, `allow`, `reload` and others."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption
from whence.core.monitoring.unknown_sources import LONGEST_S

TrunkArgument = Annotated[str, typer.Argument(metavar="ID", help="the trunk")]
SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="as it is listed, udp:203.0.113.7:5060, or an ip")
]
TrunkOption = Annotated[str, typer.Option(metavar="ID", help="the trunk whose its calls are")]


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


def allow(
    source: SourceArgument,
    trunk: TrunkOption,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="30m, 1h, 2d")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="why, for the trunk's history")] = "",
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Allow calls from the ip of an unknown source as a trunk's, for a while."""
    try:
        for_s = output.seconds(for_)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if for_s > LONGEST_S:
        raise typer.BadParameter(
            f'--for "{for_}" is more than 30d; what is to stay longer belongs into the file, as '
            "networks of the trunk"
        )
    order = {"source": source, "trunk": trunk, "for_s": for_s, "note": note}
    answer = ask(api, "/v1/unknown-sources/allow", order)
    if json:
        output.as_json(answer)
        return
    print(
        f"{answer['ip']} is allowed as trunk {answer['trunk']}, over {answer['transport']} or a "
        f"stronger transport, until {output.instant(answer['expires_at'])}"
    )


def revoke(
    source: SourceArgument,
    trunk: TrunkOption,
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Revoke what `allow` allowed: calls from there are refused from now on."""
    answer = ask(api, "/v1/unknown-sources/revoke", {"source": source, "trunk": trunk})
    if json:
        output.as_json(answer)
        return
    print(f"{answer['ip']} is not allowed as trunk {answer['trunk']} any more")


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
            "edge, agent or registration response_timeout changed: start it again for that; who "
            "starts Kamailio himself writes its configuration anew (whence edge-config)"
        )
