"""What the commands show in a terminal of 80 columns, once and again and again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.api import Api, listed
from tests.unit.cli.command import Terminal, whence

CALL = {
    "at": 1_700_000_000.0,
    "call_id": "8cc39a5e-7f1b-4a42-9d2c-8cc39a5e7f1b@a-provider-with-a-long-name.example",
    "method": "INVITE",
    "source": "udp:[2001:db8:1234:5678:9abc:def0:1234:5678]:5060",
    "ruri": "sip:+442071234567@edge.example;user=phone",
    "decision": "identified",
    "trunk": "gradwell-london-office",
    "message": "number of trunk gradwell-london-office",
    "direction": "in",
    "caller": "sip:+442079460000@a-provider-with-a-long-name.example",
    "called": "sip:+442071234567@edge.example",
    "state": "failed",
    "status": 486,
    "outcome": "busy",
    "duration_s": None,
    "tried": [],
    "failure": None,
    "hung_up_by": None,
    "ended_by": None,
}
TRUNK = {
    "id": "gradwell-london-office",
    "state": "registered",
    "since": 1_700_000_000.0,
    "suspended": False,
    "keepalive": None,
    "failures": 0,
    "last_answer": "200 OK",
    "registrar": "udp:[2001:db8:1234:5678:9abc:def0:1234:5678]:5060",
    "expires_at": 4_000_000_000.0,
    "next_at": 4_000_000_000.0,
    "message": "granted 3600 s",
}
ADDRESS = {
    "trunk": "gradwell-london-office",
    "ip": "2001:db8:1234:5678:9abc:def0:1234:5678",
    "port": 5060,
    "exact": False,
    "transport": "udp",
    "origin": "learned",
    "managed_by": "",
    "ground": "dns",
    "learned_at": 1_700_000_000.0,
    "expires_at": 4_000_000_000.0,
    "note": "",
}


@pytest.mark.parametrize(
    ("command", "row", "copied"),
    [
        ("calls", CALL, ("call_id", "source", "trunk")),
        ("trunks", TRUNK, ("id", "registrar", "state")),
        ("addresses", ADDRESS, ("trunk", "ip")),
    ],
)
def test_table_at_80_columns_cuts_no_value(
    api: Api, command: str, row: dict[str, Any], copied: tuple[str, ...]
) -> None:
    api.answers[f"/v1/{command}"] = (200, listed(row, row))
    with Terminal(command, "--api", api.url) as terminal:
        assert terminal.end() == 0
        lines = terminal.screen.splitlines()
        assert max(map(len, lines)) <= 80
        words = terminal.screen.split()
        for key in copied:
            assert words.count(str(row[key])) >= 2, terminal.screen


def test_wide_table_has_one_line_for_a_row(api: Api) -> None:
    api.answers["/v1/calls"] = (200, listed(CALL, CALL))
    with Terminal("calls", "--wide", "--api", api.url) as terminal:
        assert terminal.end() == 0
        assert len(terminal.screen.splitlines()) == 4


def test_watch_shows_changes_until_ctrl_c(api: Api) -> None:
    api.answers["/v1/trunks"] = (200, listed())
    with Terminal("trunks", "--watch", "--every", "1", "--api", api.url) as terminal:
        terminal.wait_for(lambda screen: "no trunk is configured" in screen)
        api.answers["/v1/trunks"] = (503, {"detail": "the agent starts"})
        terminal.wait_for(lambda screen: screen.endswith("\x1b[2Jwhence: the agent starts\r\n"))
        api.answers["/v1/trunks"] = (200, listed(*[TRUNK] * 40))
        terminal.wait_for(lambda screen: "more lines" in screen)
        last = terminal.screen.rpartition("\x1b[2J")[2]
        assert len(last.splitlines()) == 23
        before = len(terminal.screen)
        terminal.press("\x03")
        assert terminal.end() != 0
        assert terminal.screen[before:].replace("^C", "").split("\x1b[2J")[0].strip() == ""
        assert "Traceback" not in terminal.screen and "Aborted" not in terminal.screen


def test_watch_of_a_missing_agent_ends_at_once() -> None:
    done = whence("trunks", "--watch", "--api", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("whence: no agent answers at")


@pytest.mark.parametrize(
    "words", [["--json", "--watch"], ["--watch", "--every", "0"], ["-c", "x", "--api", "http://x"]]
)
def test_options_that_contradict_end_with_2(words: list[str]) -> None:
    done = whence("trunks", *words)
    assert (done.returncode, done.stdout) == (2, "")
