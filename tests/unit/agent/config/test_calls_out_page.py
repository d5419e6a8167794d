"""The examples of docs/calls-out.md are what the settings file takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from whence.agent.config.load import load
from whence.agent.config.outbound_to_core import outbound_settings
from whence.core.outbound.model import OutboundSettings
from whence.core.outbound.numbers import called_party
from whence.core.outbound.selection import RefusalReason
from whence.core.sip.uri import Uri

PAGE = (Path(__file__).parents[4] / "docs" / "calls-out.md").read_text(encoding="utf-8")
TRUNKS = "".join(
    f"""
[[trunk]]
id = "{id_}"
registrar = "sip:192.0.2.{number}"
user = "acct{number}"
password = "hunter2"
target = "sip:alice@edge.example"
"""
    for number, id_ in enumerate(("acme", "bolt"), 1)
)


@pytest.fixture
def found(tmp_path: Path) -> OutboundSettings:
    """The settings of all examples in one file. The second one of alice completes the first."""
    first, routes, limits, emergency = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    alice = "\n".join(line for line in limits.splitlines() if line.startswith("limits"))
    file = tmp_path / "whence.toml"
    file.write_text("\n".join((first, alice, routes, emergency, TRUNKS)), encoding="utf-8")
    return outbound_settings(load(file))


def test_page_has_settings_that_the_file_takes(found: OutboundSettings) -> None:
    (alice,) = found.users
    assert (alice.trunks, alice.limits.concurrent) == (("acme", "bolt"), 2)
    assert [route.trunks for route in found.routing.routes] == [(), ("bolt", "acme")]
    assert found.routing.emergency.numbers == {"112", "999"}


def test_page_names_spellings_of_one_number(found: OutboundSettings) -> None:
    paragraph = PAGE.partition("## Which numbers are the same")[2].partition("##")[0]
    written = [text.replace("\n", " ") for text in re.findall(r"`([^`]+)`", paragraph)]
    *spellings, short_code = written
    canonical = set()
    for text in spellings:
        uri = Uri.parse(text) if text.startswith("tel:") else Uri("sip", text, "edge.example")
        called = called_party(uri, True, lambda _: False, (), found.routing.plan)
        assert called is not None, text
        canonical.add(called.number)
    assert canonical == {"+442079460000"}
    assert found.routing.plan.canonical(short_code) == short_code


def test_page_names_every_reason_of_a_refusal() -> None:
    table = PAGE.partition("## If a call does not go out")[2]
    assert {str(reason) for reason in RefusalReason} <= set(re.findall(r"^\| `(\w+)`", table, re.M))
