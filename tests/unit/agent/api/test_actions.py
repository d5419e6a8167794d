"""The orders of the operator: register, unregister, pause, resume, reload; and refused ones."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testkit.wait import PATIENCE_S
from tests.unit.agent.api.agent import FILE, NOW, Agent, Story
from tests.unit.agent.registration.node import ACME, Dns, Node, run
from tests.unit.store.disk import DISK_FULL
from whence.agent.registration.outcome import AttemptOutcome
from whence.core.registration.model import State
from whence.core.registration.reason import RegistrationReason
from whence.errors import StoreError
from whence.store.directory import FILE as DIRECTORY

WithAgent = Callable[[Story], None]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.directory.close()


# The effect of an order on a registration.


def test_unregister_ends_the_address_before_it_returns(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        node.registrations.orders.unregister("acme")
        assert node.addresses == []
        assert node.directory.registrations()["acme"].registration.suspended
        await node.until_all(State.UNREGISTERED)
        assert [a.unregisters for a in node.registrar.take_received()] == [True]
        assert node.registrations.outcomes == {"registered": 1}  # of what was to register

    run(story)


def test_unregister_without_dns_ends_the_address_at_once(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.resolver = Dns(wait=asyncio.Event())
        node.agent()
        node.apply(ACME)
        node.registrations.orders.unregister("acme")
        assert node.addresses == []
        assert node.of["acme"].state is State.UNREGISTERING
        node.resolver = Dns()  # after a restart the agent unregisters it
        node.registrar.take_received()
        node.agent()
        node.apply(ACME)
        await node.until_all(State.UNREGISTERED)
        assert [a.unregisters for a in node.registrar.take_received()] == [True]

    run(story)


@pytest.mark.parametrize("order", ["unregister", "pause"])
def test_suspended_trunk_stays_so_after_restart_and_reload(node: Node, order: str) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        if order == "pause":
            node.registrations.orders.pause("acme")
        else:
            node.registrations.orders.unregister("acme")
            await node.until_all(State.UNREGISTERED)
        suspended = node.of["acme"].state
        node.registrar.take_received()
        node.apply(ACME.replace("hunter2", "other"))
        node.agent()
        node.apply(ACME)
        node.clock.now += 100_000
        await node.until_quiet()
        assert (node.of["acme"].state, node.of["acme"].suspended) == (suspended, True)
        assert node.registrar.take_received() == []
        node.registrations.orders.want("acme")
        await node.until_all(State.REGISTERED)
        assert not node.of["acme"].suspended

    run(story)


def test_paused_trunk_keeps_its_address_until_the_grant_ends(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        known = node.addresses
        node.registrations.orders.pause("acme")
        assert (node.of["acme"].state, node.addresses) == (State.PAUSED, known)

    run(story)


def test_paused_trunk_once_disabled_is_unregistered(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrations.orders.pause("acme")
        node.registrar.take_received()
        node.apply(ACME + "enabled = false")
        await node.until_all(State.UNREGISTERED)
        assert [a.unregisters for a in node.registrar.take_received()] == [True]

    run(story)


def test_pause_during_an_attempt_takes_effect_at_its_end(node: Node) -> None:
    async def story() -> None:
        node.registrar.open = asyncio.Event()
        node.apply(ACME)
        await node.until(lambda: len(node.registrar.received) == 1)
        node.registrations.orders.pause("acme")
        assert node.of["acme"].state is State.REGISTERING
        node.registrar.open.set()
        await node.until_all(State.PAUSED)
        assert [id_ for id_, *_ in node.addresses] == ["acme"], "the grant of that attempt is valid"
        assert len(node.registrar.received) == 1

    run(story)


def test_resume_during_the_same_attempt_undoes_the_pause(
    node: Node,
) -> None:
    async def story() -> None:
        node.registrar.open = asyncio.Event()
        node.apply(ACME)
        await node.until(lambda: len(node.registrar.received) == 1)
        node.registrations.orders.pause("acme")
        node.registrations.orders.want("acme")
        node.registrar.open.set()
        await node.until_all(State.REGISTERED)
        assert not node.of["acme"].suspended

    run(story)


def test_register_with_auth_failed_tries_at_once(
    node: Node,
) -> None:
    async def story() -> None:
        node.registrar.status = 401
        node.apply(ACME)
        await node.until_all(State.AUTH_FAILED)
        node.registrar.status = 200
        node.registrations.orders.want("acme")
        await node.until_all(State.REGISTERED)
        assert node.clock.now == NOW

    run(story)


@pytest.fixture
def disk(node: Node) -> Iterator[sqlite3.Connection]:
    disk = sqlite3.connect(node.folder / DIRECTORY, isolation_level=None)
    yield disk
    disk.close()


def test_attempt_with_unwritable_outcome_counts_as_unwritten(
    node: Node, disk: sqlite3.Connection
) -> None:
    async def story() -> None:
        node.registrar.status = 403
        node.apply(ACME)
        await node.until_all(State.WAITING)
        node.registrar.open = asyncio.Event()
        node.registrations.orders.want("acme")
        await node.until(lambda: len(node.registrar.received) == 2)
        disk.execute(DISK_FULL)
        node.registrar.open.set()
        await node.until_all(State.WAITING)
        assert node.of["acme"].reason is RegistrationReason.NOT_WRITTEN
        assert node.registrations.outcomes == {
            AttemptOutcome.REJECTED: 1,
            AttemptOutcome.UNWRITTEN: 1,
        }

    run(story)


def test_order_not_written_during_an_attempt_makes_no_second(
    node: Node, disk: sqlite3.Connection
) -> None:
    async def story() -> None:
        node.registrar.open = asyncio.Event()
        node.apply(ACME)
        await node.until(lambda: len(node.registrar.received) == 1)
        disk.execute(DISK_FULL)
        with pytest.raises(StoreError):
            node.registrations.orders.want("acme")
        with pytest.raises(StoreError):
            node.registrations.orders.unregister("acme")
        node.apply(ACME.replace("hunter2", "hunter3"))
        node.clock.now += 1000
        for _ in range(50):
            await asyncio.sleep(0)
        assert node.of["acme"].in_flight is not None
        assert len(node.registrar.received) == 1
        disk.execute("DROP TRIGGER full")
        node.registrar.open.set()
        await node.until(lambda: len(node.registrar.received) == 2)
        await node.until_all(State.REGISTERED)
        assert not node.of["acme"].suspended

    run(story)


# The API.


def test_order_that_cannot_be_written_answers_503(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        with closing(sqlite3.connect(agent.node.folder / DIRECTORY)) as disk:
            disk.execute(DISK_FULL)
            before = await agent.get("/v1/trunks")
            for order in ("register", "unregister", "pause"):
                answer = await agent.ask(f"/v1/trunks/acme/{order}", {})
                assert answer.status_code == 503
                assert "database or disk is full" in answer.json()["detail"]
            assert await agent.get("/v1/trunks") == before
            disk.execute("DROP TRIGGER full")

    with_agent(story)


@pytest.mark.parametrize("order", ["register", "unregister", "pause", "resume"])
def test_order_answers_with_an_attempt_to_follow(with_agent: WithAgent, order: str) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask(f"/v1/trunks/acme/{order}", {})
        assert answer.status_code == (200 if order == "pause" else 202), answer.text
        assert (answer.json()["trunk"], answer.json()["order"]) == ("acme", order)
        suspends = order in ("unregister", "pause")
        assert (await agent.get("/v1/trunks/acme"))["suspended"] is suspends
        await agent.node.until_quiet()
        ended = await agent.get(answer.headers["location"])
        assert ended["ended_at"] == NOW
        states = {"unregister": "unregistered", "pause": "paused"}
        assert ended["result"]["state"] == states.get(order, "registered")

    with_agent(story)


def test_order_with_wait_answers_with_its_result(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        agent.node.registrar.status = 403
        asked = asyncio.create_task(agent.ask(f"/v1/trunks/acme/register?wait={PATIENCE_S}", {}))
        await agent.node.until(asked.done)
        answer = await asked
        assert answer.status_code == 200
        result = answer.json()["result"]
        assert (result["state"], result["last_status"]) == ("waiting", 403)
        assert result["reason"] == "rejected"

    with_agent(story)


def test_order_for_a_trunk_that_is_removed_ends(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        agent.node.registrar.open = asyncio.Event()
        answer = await agent.ask("/v1/trunks/acme/register", {})
        assert (await agent.get(answer.headers["location"]))["ended_at"] is None
        agent.node.apply(FILE.replace('"acme"', '"other"'))
        ended = await agent.get(answer.headers["location"])
        assert (ended["ended_at"], ended["result"]) == (NOW, None)
        agent.node.registrar.open.set()
        assert (await agent.ask("/v1/attempts/1")).json()["code"] == "unknown_attempt"

    with_agent(story)


def test_order_for_an_unknown_trunk_answers_404(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        for order in ("register", "unregister", "pause", "resume"):
            answer = await agent.ask(f"/v1/trunks/nobody/{order}", {})
            assert answer.status_code == 404
            assert answer.json() == {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "no trunk nobody is configured; list the trunks: whence trunks",
                "code": "unknown_trunk",
                "errors": [],
            }
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await agent.ask("/v1/trunks/acme/explode", {})).status_code == 404

    with_agent(story)


def test_register_of_a_disabled_trunk_answers_409(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask("/v1/trunks/idle/register", {})
        assert answer.status_code == 409
        assert "write enabled = true, and reload" in answer.json()["detail"]

    with_agent(story)


def test_reload_answers_what_changed(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        changed = FILE.replace('id = "bell"', 'id = "belle"').replace("topsecret", "other")
        changed = changed.replace("sip:pbx@192.0.2.9", "sip:pbx@192.0.2.10")
        agent.node.settings(changed.replace('"edge.example"', '"edge.example"\nworkers = 3', 1))
        answer = await agent.ask("/v1/reload", {})
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "added": ["belle"],
            "removed": ["bell"],
            "changed": ["idle"],
            "users_changed": ["alice"],
            "routing_changed": False,
            "registration_changed": False,
            "needs_restart": True,
        }
        assert [trunk["id"] for trunk in await agent.get("/v1/trunks")] == ["acme", "belle", "idle"]
        await agent.registered()

    with_agent(story)


@pytest.mark.parametrize(
    ("written", "in_force_now", "needs_restart"),
    [
        ("rate = 7", True, False),
        ("response_timeout = 8", False, True),
        ("rate = 7\nresponse_timeout = 8", True, True),
    ],
)
def test_reload_reports_what_is_in_force_and_what_needs_restart(
    with_agent: WithAgent,
    caplog: pytest.LogCaptureFixture,
    written: str,
    in_force_now: bool,
    needs_restart: bool,
) -> None:
    """Each reload reports what needs a restart. It reports once what is in force."""

    async def story(agent: Agent) -> None:
        agent.node.settings(f"{FILE}\n[registration]\n{written}\n")
        for first in (True, False):
            caplog.clear()
            change = (await agent.ask("/v1/reload", {})).json()
            reported = change.pop("registration_changed"), change.pop("needs_restart")
            assert reported == (in_force_now and first, needs_restart)
            assert not any(change.values())
            assert needs_restart == (
                "what changed in registration response_timeout takes effect at the next start"
                in caplog.text
            )

    with_agent(story)


def test_reload_of_a_faulty_file_answers_422_with_each_fault(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        before = await agent.get("/v1/trunks")
        file = agent.node.folder / "whence.toml"
        file.write_text('[edge]\nworkers = 0\ndomian = "x"\n', encoding="utf-8")
        answer = await agent.ask("/v1/reload", {})
        assert answer.status_code == 422
        assert [fault["detail"] for fault in answer.json()["errors"]] == [
            "whence.toml: edge: workers: is too small; write at least 1",
            'whence.toml: edge: domian: unknown key; did you mean "domain"?',
        ]
        assert await agent.get("/v1/trunks") == before

    with_agent(story)


# Pages that may not send an order.

PAGES = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "https://127.0.0.1:8088"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8088"},
]


@pytest.mark.parametrize("page", PAGES, ids=str)
@pytest.mark.parametrize("path", ["/v1/reload", "/v1/trunks/acme/unregister"])
def test_order_of_another_sites_page_answers_403(
    with_agent: WithAgent, path: str, page: dict[str, str]
) -> None:
    async def story(agent: Agent) -> None:
        assert (await agent.ask(path, {}, headers=page)).status_code == 403
        assert not (await agent.get("/v1/trunks"))[0]["suspended"]

    with_agent(story)


def test_order_of_the_apis_own_page_answers_200(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        page = {"Origin": "http://127.0.0.1:8088", "Sec-Fetch-Site": "same-origin"}
        assert (await agent.ask("/v1/trunks/acme/pause", {}, headers=page)).status_code == 200

    with_agent(story)
