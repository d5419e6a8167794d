"""Unknown sources in the API, and the orders to allow one for a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from testkit.api import numbers
from tests.unit.agent.api.agent import FILE, NOW, Agent, Story
from tests.unit.agent.monitoring.reports import identified, record, refused
from whence.core.monitoring.unknown_sources import LONGEST_S
from whence.ipc import decisions

WithAgent = Callable[[Story], None]

UNKNOWN_SOURCE = "udp:198.51.100.7:5060"
RURI = "sip:+442071234567@edge.example"


def report(agent: Agent, *records: bytes) -> None:
    for data in records:
        agent.counter.receive(decisions.read(data), data)


async def allow(agent: Agent, **more: Any) -> Any:
    body = {"source": UNKNOWN_SOURCE, "trunk": "acme", "for_s": 3600, **more}
    return await agent.ask("/v1/unknown-sources/allow", body)


async def decided(agent: Agent, source: str = UNKNOWN_SOURCE) -> str:
    return str((await agent.explain(source, RURI))["decision"])


def test_unknown_sources_are_listed_and_no_others(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        report(
            agent,
            record(source="udp:198.51.100.8:5060", ruri="sip:\x1b[31m@x"),
            record(source=UNKNOWN_SOURCE, ruri="sip:1@x"),
            record(source="udp:198.51.100.7:5999", ruri="sip:2@x", at=NOW + 5, method="OPTIONS"),
            record(identified()),
            record(refused("acme", "bell")),
        )
        first, second = await agent.get("/v1/unknown-sources")
        assert first == {
            "source": "udp:198.51.100.7:5999",
            "requests": 2,
            "since": NOW,
            "last_at": NOW + 5,
            "request_uris": ["sip:2@x", "sip:1@x"],
            "reasons": ["unknown_address"],
            "message": "no address admits the source",
        }
        assert second["request_uris"] == [r"sip:\x1b[31m@x"]
        assert len(await agent.get("/v1/unknown-sources?limit=1")) == 1
        assert "\nwhence_unknown_sources 2.0\n" in (await agent.ask("/metrics")).text

    with_agent(story)


def test_allowed_source_calls_as_the_trunk_until_the_end(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        report(agent, record(source=UNKNOWN_SOURCE))
        assert await decided(agent) == "unknown"
        answer = await allow(agent, note="moved")
        assert answer.status_code == 200
        assert numbers(answer.json()) == {
            "trunk": "acme",
            "ip": "198.51.100.7",
            "transport": "udp",
            "expires_at": NOW + 3600,
        }
        assert await agent.get("/v1/unknown-sources") == []
        explained = await agent.explain("tls:198.51.100.7:12345", RURI)
        assert (explained["decision"], explained["trunk"]) == ("identified", "acme")
        (pinned,) = [a for a in await agent.get("/v1/addresses") if a["origin"] == "pinned"]
        assert (pinned["ip"], pinned["port"], pinned["expires_at"]) == (
            "198.51.100.7",
            None,
            NOW + 3600,
        )
        event = (await agent.get("/v1/trunks/acme"))["events"][-1]
        assert event["what"] == "allowed"
        assert event["message"] == "198.51.100.7 over udp for 3600 s, by the operator: moved"
        agent.node.clock.now = NOW + 3600
        assert await decided(agent) == "unknown"

    with_agent(story)


def test_allowed_source_survives_a_reload_not_its_trunk(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await allow(agent)
        agent.node.apply(FILE + "\n")
        assert await decided(agent) == "identified"
        agent.node.apply(FILE.replace('id = "acme"', 'id = "other"'))
        assert await decided(agent) == "unknown"

    with_agent(story)


def test_source_allowed_again_has_the_new_end(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        for for_s in (3600, 60):
            await allow(agent, for_s=for_s)
        pinned = [a for a in await agent.get("/v1/addresses") if a["origin"] == "pinned"]
        assert [a["expires_at"] for a in pinned] == [NOW + 60]

    with_agent(story)


def test_source_allowed_over_tls_may_call_over_tls_alone(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await allow(agent, source="tls:[2001:db8::7]:5061")
        assert await decided(agent, "tls:[2001:db8::7]:9") == "identified"
        assert await decided(agent, "udp:[2001:db8::7]:5061") == "unknown"

    with_agent(story)


@pytest.mark.parametrize("ip", ["198.51.100.7", "::ffff:198.51.100.7", "2001:db8::7"])
def test_allow_with_an_ip_alone_admits_it(with_agent: WithAgent, ip: str) -> None:
    async def story(agent: Agent) -> None:
        answer = await allow(agent, source=ip)
        assert answer.json()["ip"] == ip.removeprefix("::ffff:")

    with_agent(story)


def test_allow_changes_the_generation_at_once(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        generation = agent.node.folder / "generation"
        before = generation.read_bytes()
        await allow(agent)
        assert generation.read_bytes() != before

    with_agent(story)


@pytest.mark.parametrize(
    ("wrong", "status", "message"),
    [
        ({"trunk": "nobody"}, 404, "no trunk nobody is configured"),
        ({"trunk": "\x1b[31m"}, 404, r"no trunk \x1b[31m is configured"),
        ({"trunk": "idle"}, 409, "trunk idle is disabled in the file; write enabled = true"),
        ({"source": "198.51.100.0/24"}, 422, "is not a source; write transport:ip:port"),
        ({"source": "provider.example"}, 422, "is not a source"),
        ({"for_s": 0}, 422, "greater than or equal to 1"),
        ({"for_s": LONGEST_S + 1}, 422, f"less than or equal to {LONGEST_S}"),
        ({"note": "a\x1b[31m"}, 422, "should match"),
        ({"note": "a" * 201}, 422, "at most 200"),
    ],
)
def test_allow_with_a_wrong_body_changes_nothing(
    with_agent: WithAgent, wrong: dict[str, Any], status: int, message: str
) -> None:
    async def story(agent: Agent) -> None:
        answer = await allow(agent, **wrong)
        assert answer.status_code == status
        assert message in answer.json()["detail"]
        assert all(a["origin"] == "learned" for a in await agent.get("/v1/addresses"))

    with_agent(story)


def test_allow_of_another_sites_page_answers_403(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        body = {"source": UNKNOWN_SOURCE, "trunk": "acme", "for_s": 3600}
        headers = {"Origin": "http://evil.example"}
        answer = await agent.ask("/v1/unknown-sources/allow", body, headers=headers)
        assert answer.status_code == 403
        assert await decided(agent) == "unknown"

    with_agent(story)


def test_allow_that_cannot_be_written_changes_nothing(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        report(agent, record(source=UNKNOWN_SOURCE))
        disk = sqlite3.connect(agent.node.directory.path, isolation_level=None)
        disk.execute(
            "CREATE TRIGGER full BEFORE INSERT ON address BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        disk.close()
        assert (await allow(agent)).status_code == 503
        assert len(await agent.get("/v1/unknown-sources")) == 1
        assert await decided(agent) == "unknown"

    with_agent(story)
