"""Doubts about the keys for users' calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from whence.agent.config.load import load
from whence.agent.config.outbound_doubts import outbound_doubts

TRUNK = """
[[trunk]]
id = "{id}"
registrar = "sip:192.0.2.1"
user = "{id}"
password = "hunter2"
target = "sip:alice@edge.example"
enabled = {enabled}
"""
ALICE = '[[user]]\nname = "alice"\npassword = "topsecret"\n'
CALLER = ALICE + 'trunks = ["acme", "bolt"]\n'
EMERGENCY = '[outbound]\nemergency_numbers = ["112"]\nemergency_trunks = ["bolt"]\n'


def doubts(folder: Path, rest: str, *, bolt: bool = True) -> list[str]:
    file = folder / "whence.toml"
    trunks = TRUNK.format(id="acme", enabled="true")
    trunks += TRUNK.format(id="bolt", enabled=str(bolt).lower())
    file.write_text(f'[edge]\ncountry = "44"\n{trunks}{rest}', encoding="utf-8")
    return list(outbound_doubts(load(file)))


def test_doubts_of_calls_with_emergency_numbers_are_none(tmp_path: Path) -> None:
    assert doubts(tmp_path, CALLER + EMERGENCY) == []
    assert doubts(tmp_path, ALICE) == []


def test_calls_without_emergency_numbers_are_a_doubt(tmp_path: Path) -> None:
    (doubt,) = doubts(tmp_path, CALLER)
    assert doubt.startswith("outbound: has no emergency_numbers")


def test_disabled_trunks_are_a_doubt(tmp_path: Path) -> None:
    rest = ALICE + 'trunks = ["bolt"]\n' + EMERGENCY
    assert doubts(tmp_path, rest) == []
    emergency, user = doubts(tmp_path, rest, bolt=False)
    assert emergency.startswith("outbound: emergency_trunks: all are disabled")
    assert user.startswith('user "alice": trunks: all are disabled')
    assert len(doubts(tmp_path, CALLER + EMERGENCY, bolt=False)) == 1, "acme is enabled"


def route(prefix: str = "", trunks: str = '["acme"]', more: str = "") -> str:
    return f'[[route]]\nprefix = "{prefix}"\ntrunks = {trunks}\n{more}\n'


@pytest.mark.parametrize(
    ("first", "second", "doubt"),
    [
        (route(), route("+44900", "[]"), "its numbers are not barred"),
        (route("+44"), route("+44900", "[]"), "its numbers are not barred"),
        (route("+44900", "[]"), route(), ""),
        (route("+44", "[]"), route("+4420"), "it decides nothing"),
        (route("+44"), route("+4420"), "it decides nothing"),
        (route("+44"), route("+4420", '["bolt"]'), ""),
        (route("+44", '["acme", "bolt"]'), route("+4420", '["bolt"]'), "it decides nothing"),
        (route("+44"), route("+49"), ""),
        (route("+4420"), route("+44"), ""),
        (route("+44", more='users = ["alice"]'), route("+4420"), ""),
        (route("+44"), route("+4420", more='users = ["alice"]'), "it decides nothing"),
        (route(), '[[route]]\nregex = "1.*"\ntrunks = []\n', "its numbers are not barred"),
        (route("+1"), '[[route]]\nregex = "1.*"\ntrunks = []\n', ""),
        ('[[route]]\nregex = "1.*"\ntrunks = []\n', route(), ""),
    ],
)
def test_route_behind_another_is_a_doubt(
    tmp_path: Path, first: str, second: str, doubt: str
) -> None:
    found = doubts(tmp_path, CALLER + EMERGENCY + first + second)
    assert len(found) == bool(doubt)
    for one in found:
        assert one.startswith("route number 2: route number 1 holds for its numbers before")
        assert doubt in one
