"""`whence users`: the local users, and where their phones are."""

from __future__ import annotations

from whence.cli import show
from whence.cli.api import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def users(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show the local users and their registered phones."""
    answer = ask(api, "/v1/users")
    if json:
        show.as_json(answer)
        return
    rows = [
        (f"{user['name']}@{user['domain']}", phone["contact"], show.instant(phone["expires_at"]))
        for user in answer
        for phone in user["contacts"] or [{"contact": "not registered", "expires_at": None}]
    ]
    show.table(("user", "phone", "until"), rows, "no user is configured")
