"""The commands that show something: `whence trunks`, `addresses`, `unknown` and others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from whence.cli import output
from whence.cli.client import ask, ask_all, ask_page
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption
from whence.core.text import summarize


def addresses(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show the addresses from which each trunk's calls may come, and until when."""
    answer = ask_all(api, "/v1/addresses")
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
        "no address admits calls: no trunk is registered",
    )


def _why(address: dict[str, Any]) -> str:
    """Return why an address is stored; nothing if the server that was asked answered from it."""
    why = address["managed_by"] or address["ground"]
    return "" if why in ("", "asked") else f" ({why})"


def _port(address: dict[str, Any]) -> str:
    """Return the admitted port; in brackets, the port that only distinguishes trunks."""
    port = address["port"]
    return "any" if port is None else str(port) if address["exact"] else f"any ({port})"


def trunks(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show each trunk: its state, its grant, its registrar, and the next REGISTER."""
    answer = ask_all(api, "/v1/trunks")
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
                trunk["state"] + (", suspended" if trunk["suspended"] else ""),
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


def users(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show the local users and their registered phones."""
    answer = ask_all(api, "/v1/users")
    if json:
        output.as_json(answer)
        return
    rows = [
        (f"{user['name']}@{user['domain']}", phone["contact"], output.instant(phone["expires_at"]))
        for user in answer
        for phone in user["contacts"] or [{"contact": "not registered", "expires_at": None}]
    ]
    output.table(("user", "phone", "until"), rows, "no user is configured")


def calls(
    limit: Annotated[int, typer.Option(metavar="N", help="How many calls.", min=1, max=1000)] = 20,
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Show the last calls, the newest first.

    `whence explain --call CALL-ID` shows each step of one decision.
    """
    answer = ask_page(api, "/v1/calls", limit=limit)
    if json:
        output.as_json(answer)
        return
    output.table(
        ("when", "method", "source", "asked for", "decision", "trunk", "why", "Call-ID"),
        [
            (
                output.instant(call["at"]),
                call["method"],
                call["source"],
                call["ruri"],
                call["decision"],
                call["trunk"] or "-",
                call["message"],
                call["call_id"],
            )
            for call in answer
        ],
        "no call since the agent's start",
    )


def conflicts(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show trunks at one address that no rule can distinguish, and what to write."""
    answer = ask_all(api, "/v1/conflicts")
    if json:
        output.as_json(answer)
        return
    output.table(
        ("trunks", "at", "why", "remedy"),
        [
            (
                summarize(conflict["trunks"]),
                summarize(conflict["addresses"]),
                conflict["message"],
                conflict["remedy"],
            )
            for conflict in answer
        ],
        "no trunks conflict",
    )


def unknown(
    limit: Annotated[
        int, typer.Option(metavar="N", help="How many sources.", min=1, max=1000)
    ] = 50,
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Show the unknown sources that sent requests, the most frequent first."""
    answer = ask_page(api, "/v1/unknown-sources", limit=limit)
    if json:
        output.as_json(answer)
        return
    output.table(
        ("source", "requests", "since", "last", "why", "asked for"),
        [
            (
                source["source"],
                str(source["requests"]),
                output.instant(source["since"]),
                output.instant(source["last_at"]),
                source["message"],
                ", ".join(source["request_uris"]),
            )
            for source in answer
        ],
        "no unknown source since the agent's start",
    )


def alarms(
    since: Annotated[
        int, typer.Option(metavar="ALARM", help="Only the alarms after this one.", min=0)
    ] = 0,
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Show the open alarms first, then the last others, each the oldest first."""
    answer = ask_all(api, "/v1/alarms", since=since)
    if json:
        output.as_json(answer)
        return
    output.table(
        ("alarm", "raised", "ended", "kind", "trunk", "message", "more of this kind"),
        [
            (
                str(alarm["id"]),
                output.instant(alarm["raised_at"]),
                _ended(alarm),
                alarm["kind"],
                alarm["trunk"] or "-",
                "; ".join(filter(None, (alarm["message"], alarm["cleared_message"]))),
                str(alarm["left_out"] or "-"),
            )
            for alarm in sorted(answer, key=lambda alarm: not _is_open(alarm))
        ],
        "no alarm since the agent's start, and none is open",
    )


def _is_open(alarm: Mapping[str, Any]) -> bool:
    return bool(alarm["lasting"]) and alarm["status"] == "firing"


def _ended(alarm: Mapping[str, Any]) -> str:
    """Return when an alarm ended; `open` while it lasts, and `-` for an event."""
    if _is_open(alarm):
        return "open"
    return output.instant(alarm["cleared_at"]) if alarm["cleared_at"] is not None else "-"


def trunk(
    trunk_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the trunk.")],
    api: ApiOption = DEFAULT_API,
    json: JsonOption = False,
) -> None:
    """Show the registration of one trunk, and its last 50 events."""
    answer = ask(api, f"/v1/trunks/{quote(trunk_id, safe='')}")
    if json:
        output.as_json(answer)
        return
    suspended = ", suspended by the operator" if answer["suspended"] else ""
    print(f"{trunk_id}: {answer['state']}{suspended} since {output.instant(answer['since'])}")
    print(f"why: {answer['message'] or '-'}; failures in a row: {answer['failures']}")
    print(f"last answer: {answer['last_answer'] or 'none'}")
    print(f"granted until {output.instant(answer['expires_at'])}, by {answer['registrar'] or '-'}")
    print(f"next REGISTER {output.instant(answer['next_at'])}")
    if answer["keepalive"]:
        print(f"keep-alive: {_keepalive(answer['keepalive'])}")
    output.table(
        ("when", "what", "answer", "why"),
        [
            (
                output.instant(event["at"]),
                event["what"],
                str(event["status"] or "-"),
                event["message"],
            )
            for event in answer["events"]
        ],
        "no event yet",
    )


def _keepalive(keepalive: Any) -> str:
    last = "no answer yet"
    if keepalive["answered_at"] is not None:
        last = f"answered {keepalive['last_status']} at {output.instant(keepalive['answered_at'])}"
    missed = f", {keepalive['missed']} unanswered since" if keepalive["missed"] else ""
    return f"{last}{missed}; next {output.instant(keepalive['next_at'])}"
