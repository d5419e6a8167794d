"""`--wait` of an order waits for its end, and the exit status says how it ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.api import Api
from tests.unit.cli.command import Terminal, whence

RUNNING: dict[str, Any] = {
    "id": "7",
    "trunk": "acme",
    "order": "register",
    "suspended": False,
    "started_at": "2026-11-28T15:00:00Z",
    "ended_at": None,
    "result": None,
}


def ended(state: str, message: str) -> dict[str, Any]:
    result = {"state": state, "reason": None, "message": message, "last_status": 200}
    return {**RUNNING, "ended_at": "2026-11-28T15:00:01Z", "result": result}


@pytest.mark.parametrize(
    ("order", "state", "status"),
    [
        ("register", "registered", 0),
        ("resume", "registered", 0),
        ("unregister", "unregistered", 0),
        ("register", "auth_failed", 1),
        ("unregister", "waiting", 1),
    ],
)
def test_wait_exits_with_the_result(api: Api, order: str, state: str, status: int) -> None:
    api.answers[f"/v1/trunks/acme/{order}"] = (200, ended(state, "because \x1b[2J"))
    done = whence(order, "acme", "--wait", "--api", api.url)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout == f"acme: {state}: because \\x1b[2J\n"


def test_wait_follows_an_attempt_that_goes_on(api: Api) -> None:
    api.answers["/v1/trunks/acme/register"] = (202, RUNNING)
    api.answers["/v1/attempts/7"] = (200, RUNNING)
    with Terminal("register", "acme", "--wait", "--json", "--api", api.url) as terminal:
        terminal.wait_for(lambda _: api.questions)
        api.answers["/v1/attempts/7"] = (200, ended("registered", "granted 3600 s"))
        assert terminal.end() == 0
        assert json.loads(terminal.screen)["result"]["state"] == "registered"


def test_wait_for_a_removed_trunk_fails(api: Api) -> None:
    removed = {**RUNNING, "ended_at": "2026-11-28T15:00:01Z"}
    api.answers["/v1/trunks/acme/register"] = (200, removed)
    done = whence("register", "acme", "--wait", "--api", api.url)
    assert (done.returncode, done.stdout) == (1, "acme: was removed meanwhile\n")
