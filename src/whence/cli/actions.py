"""The commands that change something: `whence register`, `allow`, `reload` and others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

import typer

from whence.cli import output
from whence.cli.client import ask
from whence.cli.output import Answer
from whence.core.monitoring.unknown_sources import LONGEST_S

LONGEST_WAIT_S = 120
"""How long `--wait` waits: longer than the agent tries two servers."""

_SERVER_WAIT_S = 5
_POLL_S = 0.5

_GOAL = {"register": "registered", "resume": "registered", "unregister": "unregistered"}
"""Order → the state with which it succeeded."""

TrunkArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The id of the trunk, as whence trunks lists it.")
]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="The source as whence unknown lists it (udp:203.0.113.7:5060), or an ip.",
    ),
]
WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait", help="Wait for the registrar's answer; exit with 1 if it is not the wanted one."
    ),
]
TrunkOption = Annotated[str, typer.Option(metavar="ID", help="The trunk that gets its calls.")]


def register(api: str, trunk: TrunkArgument, wait: WaitOption = False) -> Answer:
    """Register a trunk now, also one that waits, is suspended, or has rejected credentials."""
    return _order(api, trunk, "register", "the agent registers it now", wait=wait)


def unregister(api: str, trunk: TrunkArgument, wait: WaitOption = False) -> Answer:
    """Unregister a trunk, and keep it suspended until `register` or `resume`.

    Its learned addresses end at once.
    """
    until = f"the agent unregisters it, and suspends it until whence resume {trunk}"
    return _order(api, trunk, "unregister", until, wait=wait)


def pause(api: str, trunk: TrunkArgument) -> Answer:
    """Send no more REGISTERs for a trunk. Its grant stays valid until it ends."""
    until = f"the agent sends no more REGISTERs for it until whence resume {trunk}"
    return _order(api, trunk, "pause", until)


def resume(api: str, trunk: TrunkArgument, wait: WaitOption = False) -> Answer:
    """Register a trunk again that was paused or unregistered."""
    return _order(api, trunk, "resume", "the agent registers it again", wait=wait)


def _order(api: str, trunk: str, order: str, result: str, *, wait: bool = False) -> Answer:
    path = f"/v1/trunks/{quote(trunk, safe='')}/{order}"
    if not wait:
        sentence = f"{trunk}: {result}; follow it with: whence trunk {trunk}"
        return Answer(ask(api, path, {}), lambda _: [sentence])
    attempt = ask(api, f"{path}?wait={_SERVER_WAIT_S}", {})
    give_up_at = time.monotonic() + LONGEST_WAIT_S
    while attempt["ended_at"] is None and time.monotonic() < give_up_at:
        time.sleep(_POLL_S)
        attempt = ask(api, f"/v1/attempts/{quote(attempt['id'], safe='')}")
    end = attempt["result"]
    return Answer(attempt, _end_of_order, ok=end is not None and end["state"] == _GOAL[order])


def _end_of_order(attempt: Any) -> Iterator[str]:
    trunk, end = attempt["trunk"], attempt["result"]
    if end is not None:
        yield f"{trunk}: {end['state']}: {end['message']}"
    elif attempt["ended_at"] is not None:
        yield f"{trunk}: was removed meanwhile"
    else:
        yield (
            f"{trunk}: has no end after {LONGEST_WAIT_S} s; follow it with: whence trunk {trunk}"
        )


def allow(
    api: str,
    source: SourceArgument,
    trunk: TrunkOption,
    for_: Annotated[
        str,
        typer.Option("--for", metavar="TIME", help="For how long: 90s, 30m, 1h, 2d; at most 30d."),
    ],
    note: Annotated[
        str, typer.Option(metavar="TEXT", help="The reason, for the trunk's history.")
    ] = "",
) -> Answer:
    """Allow calls from the ip of an unknown source as a trunk's, for a while."""
    try:
        for_s = output.seconds(for_)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if for_s > LONGEST_S:
        raise typer.BadParameter(
            f'--for "{for_}" is more than 30d; for longer, write the ip into the file, as networks '
            "of the trunk"
        )
    order = {"source": source, "trunk": trunk, "for_s": for_s, "note": note}
    answer = ask(api, "/v1/unknown-sources/allow", order)
    return Answer(answer, _allowed)


def _allowed(answer: Any) -> Iterator[str]:
    yield (
        f"{answer['ip']} is allowed as trunk {answer['trunk']}, over {answer['transport']} or a "
        f"stronger transport, until {output.instant(answer['expires_at'])}"
    )


def revoke(
    api: str,
    source: SourceArgument,
    trunk: TrunkOption,
) -> Answer:
    """Revoke what `allow` allowed. Whence refuses calls from there from now on."""
    answer = ask(api, "/v1/unknown-sources/revoke", {"source": source, "trunk": trunk})
    return Answer(answer, _revoked)


def _revoked(answer: Any) -> Iterator[str]:
    yield f"{answer['ip']} is not allowed as trunk {answer['trunk']} any more"


def reload(api: str) -> Answer:
    """Read the settings file again, and say what changed. A faulty file changes nothing."""
    return Answer(ask(api, "/v1/reload", {}), _reloaded)


def _reloaded(answer: Any) -> Iterator[str]:
    words = {
        "added": "added",
        "removed": "removed",
        "changed": "changed",
        "users_changed": "users changed",
    }
    changes = [f"{word}: {', '.join(answer[key])}" for key, word in words.items() if answer[key]]
    if answer["routing_changed"]:
        changes.append("routes changed")
    if answer["registration_changed"]:
        changes.append("registration changed")
    if changes or not answer["needs_restart"]:
        yield "; ".join(changes) or "nothing changed"
    if answer["needs_restart"]:
        yield (
            "edge, agent or registration response_timeout changed, or users may call numbers only "
            "now: restart Whence to apply it; if another program runs Kamailio, first write its "
            "configuration again with whence edge-config"
        )
