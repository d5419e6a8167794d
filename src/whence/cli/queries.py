"""The commands that show something: `whence trunks`, `addresses`, `unknown` and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from whence.cli import output
from whence.cli.client import ask, ask_all, ask_page
from whence.cli.output import Answer, when
from whence.cli.tables import Table
from whence.core.text import summarize


def addresses(api: str) -> Answer:
    """Show the addresses from which each trunk's calls may come, and until when."""
    return Answer(ask_all(api, "/v1/addresses"), _addresses)


def _addresses(answer: Any) -> Iterator[Table]:
    rows = [
        (
            address["trunk"],
            address["ip"],
            _port(address),
            address["transport"],
            when(address["expires_at"], never="no end"),
            address["origin"] + _why(address),
            when(address["learned_at"]),
            address["note"],
        )
        for address in answer
    ]
    columns = ("trunk", "ip", "port", "transport", "until", "origin", "since", "note")
    empty = "no address admits calls: no trunk is registered"
    yield Table(columns, rows, empty)


def _why(address: dict[str, Any]) -> str:
    """Return why an address is stored; nothing if the server that was asked answered from it."""
    why = address["managed_by"] or address["ground"] or ""
    return "" if why in ("", "asked") else f" ({why})"


def _port(address: dict[str, Any]) -> str:
    """Return the admitted port; in brackets, the port that only distinguishes trunks."""
    port = address["port"]
    return "any" if port is None else str(port) if address["exact"] else f"any ({port})"


def trunks(api: str) -> Answer:
    """Show each trunk: its state, its grant, its registrar, and the next REGISTER."""
    return Answer(ask_all(api, "/v1/trunks"), _trunks)


def _trunks(answer: Any) -> Iterator[Table]:
    rows = [
        (
            trunk["id"],
            trunk["state"] + (", suspended" if trunk["suspended"] else ""),
            when(trunk["expires_at"]),
            when(trunk["next_at"]),
            trunk["registrar"] or "-",
            trunk["last_answer"] or "none",
            str(trunk["failures"]),
            when(trunk["since"]),
            trunk["message"],
        )
        for trunk in answer
    ]
    columns = (
        *("trunk", "state", "granted until", "next REGISTER", "registrar", "last answer"),
        *("failures", "since", "why"),
    )
    yield Table(columns, rows, "no trunk is configured")


def users(api: str) -> Answer:
    """Show the local users and their registered phones."""
    return Answer(ask_all(api, "/v1/users"), _users)


def _users(answer: Any) -> Iterator[Table]:
    rows = [
        (f"{user['name']}@{user['domain']}", when(phone["expires_at"]), phone["contact"])
        for user in answer
        for phone in user["contacts"] or [{"contact": "not registered", "expires_at": None}]
    ]
    yield Table(("user", "until", "phone"), rows, "no user is configured")


def conflicts(api: str) -> Answer:
    """Show trunks at one address that no rule can distinguish, and what to write."""
    return Answer(ask_all(api, "/v1/conflicts"), _conflicts)


def _conflicts(answer: Any) -> Iterator[Table]:
    rows = [
        (
            summarize(conflict["trunks"]),
            summarize(conflict["addresses"]),
            conflict["message"],
            conflict["remedy"],
        )
        for conflict in answer
    ]
    yield Table(("trunks", "at", "why", "remedy"), rows, "no trunks conflict")


def unknown(
    api: str,
    limit: Annotated[
        int, typer.Option(metavar="N", help="How many sources.", min=1, max=1000)
    ] = 50,
) -> Answer:
    """Show the unknown sources that sent requests, the most frequent first."""
    return Answer(ask_page(api, "/v1/unknown-sources", limit=limit), _unknown)


def _unknown(answer: Any) -> Iterator[Table]:
    rows = [
        (
            source["source"],
            str(source["requests"]),
            when(source["last_at"]),
            when(source["since"]),
            source["message"],
            ", ".join(source["request_uris"]),
        )
        for source in answer
    ]
    columns = ("source", "requests", "last", "since", "why", "asked for")
    yield Table(columns, rows, "no unknown source since the agent's start")


def alarms(
    api: str,
    since: Annotated[
        int, typer.Option(metavar="ALARM", help="Only the alarms after this one.", min=0)
    ] = 0,
) -> Answer:
    """Show the open alarms first, then the last others, each the oldest first."""
    return Answer(ask_all(api, "/v1/alarms", since=since), _alarms)


def _alarms(answer: Any) -> Iterator[Table]:
    rows = [
        (
            str(alarm["id"]),
            alarm["kind"],
            alarm["trunk"] or "-",
            when(alarm["raised_at"]),
            "open" if _is_open(alarm) else when(alarm["cleared_at"]),
            "; ".join(filter(None, (alarm["message"], alarm["cleared_message"]))),
            str(alarm["left_out"] or "-"),
        )
        for alarm in sorted(answer, key=lambda alarm: not _is_open(alarm))
    ]
    columns = ("alarm", "kind", "trunk", "raised", "ended", "message", "more of this kind")
    yield Table(columns, rows, "no alarm since the agent's start, and none is open")


def _is_open(alarm: Mapping[str, Any]) -> bool:
    return bool(alarm["lasting"]) and alarm["status"] == "firing"


def trunk(
    api: str,
    trunk_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the trunk.")],
) -> Answer:
    """Show the registration of one trunk, and its last 50 events."""
    return Answer(ask(api, f"/v1/trunks/{quote(trunk_id, safe='')}"), _trunk)


def _trunk(answer: Any) -> list[str | Table]:
    return [*_registration(answer), _events(answer)]


def _registration(answer: Any) -> list[str]:
    suspended = ", suspended by the operator" if answer["suspended"] else ""
    lines = [
        f"{answer['id']}: {answer['state']}{suspended} since {output.instant(answer['since'])}",
        f"why: {answer['message'] or '-'}; failures in a row: {answer['failures']}",
        f"last answer: {answer['last_answer'] or 'none'}",
        f"granted until {output.instant(answer['expires_at'])}, by {answer['registrar']}"
        if answer["expires_at"] is not None
        else "no grant: the trunk is not registered",
        f"next REGISTER {output.instant(answer['next_at'])}",
    ]
    if answer["keepalive"]:
        lines.append(f"keep-alive: {_keepalive(answer['keepalive'])}")
    return lines


def _events(answer: Any) -> Table:
    rows = [
        (when(event["at"]), event["what"], str(event["status"] or "-"), event["message"])
        for event in answer["events"]
    ]
    return Table(("when", "what", "answer", "why"), rows, "no event yet")


def _keepalive(keepalive: Any) -> str:
    last = "no answer yet"
    if keepalive["answered_at"] is not None:
        last = f"answered {keepalive['last_status']} at {output.instant(keepalive['answered_at'])}"
    missed = f", {keepalive['missed']} unanswered since" if keepalive["missed"] else ""
    return f"{last}{missed}; next {output.instant(keepalive['next_at'])}"
