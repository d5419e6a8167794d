"""`whence users`: the local users, and where their phones are."""

from __future__ import annotations

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def users(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Show the local users and their registered phones."""
    answer = ask(api, "/v1/users")
    if json:
        output.as_json(answer)
        return
    rows = [
        (f"{user['name']}@{user['domain']}", phone["contact"], output.instant(phone["expires_at"]))
        for user in answer
        for phone in user["contacts"] or [{"contact": "not registered", "expires_at": None}]
    ]
    output.table(("user", "phone", "until"), rows, "no user is configured")
