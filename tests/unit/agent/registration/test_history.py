"""Test the history of a trunk in directory, API and log, and expired grants."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable

import pytest

from tests.unit.agent.api.agent import Agent, Story
from tests.unit.agent.registration.node import ACME, BELL, NOW, Node, run
from tests.unit.store.disk import DISK_FULL
from whence.core.registration.history import LIMIT, EventKind
from whence.core.registration.model import State
from whence.core.registration.reason import RegistrationReason
from whence.store.directory import FILE

WithAgent = Callable[[Story], None]


def whats(node: Node, trunk_id: str = "acme") -> list[str]:
    return [event.what for _, event in node.directory.events(trunk_id)]


async def fails(node: Node, times: int) -> None:
    for _ in range(times):
        node.clock.now = node.of["acme"].next_at or node.clock.now
        before = node.of["acme"].failures
        await node.until(lambda before=before: node.of["acme"].failures > before)  # type: ignore[misc]


def test_refresh_is_no_event_even_after_a_restart(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        for restart in (False, True):
            if restart:
                node.agent()
                node.apply(ACME)
            node.clock.now += 3000
            await node.until(lambda: node.of["acme"].expires_at == node.clock.now + 3600)
        assert whats(node) == ["registered"]

    run(story)


def test_failures_are_stored_up_to_the_limit(node: Node) -> None:
    async def story() -> None:
        node.registrar.status = 403
        node.apply(ACME)
        await fails(node, LIMIT + 5)
        kept = node.directory.events("acme")
        assert len(kept) == LIMIT
        assert {(e.what, e.status, e.reason, e.message) for _, e in kept} == {
            (EventKind.WAITING, 403, RegistrationReason.REJECTED, "403 Reason")
        }
        assert kept[-1][0] == node.clock.now
        assert [at for at, _ in kept] == sorted(at for at, _ in kept)

    run(story)


def test_history_is_separate_and_removed_with_its_trunk(
    node: Node,
) -> None:
    async def story() -> None:
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        node.registrar.status = 403
        node.registrations.orders.want("acme")
        await node.until(lambda: node.of["acme"].failures == 1)
        await fails(node, LIMIT)
        assert whats(node, "bell")[0] == "registered"
        node.apply(BELL)
        assert whats(node, "acme") == []
        assert whats(node, "bell") != []

    run(story)


def test_history_has_the_orders(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrations.orders.unregister("acme")
        await node.until_all(State.UNREGISTERED)
        node.registrations.orders.want("acme")
        await node.until_all(State.REGISTERED)
        node.registrations.orders.pause("acme")
        assert whats(node) == [
            "registered",
            "suspended",
            "unregistered",
            "register_requested",
            "registered",
            "paused",
        ]

    run(story)


# Expired grants.


def test_expired_is_logged_once_when_the_grant_ends(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "whence.agent.registration.service")

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.silent = True
        node.clock.now = NOW + 3599
        await node.until_all(State.WAITING)
        await node.until_quiet()
        assert node.registrations.expirations == 0
        node.clock.now = NOW + 3600
        await node.until(lambda: node.registrations.expirations == 1)
        assert node.of["acme"].expires_at is None
        node.agent()
        node.apply(ACME)
        await node.until_quiet()
        assert node.registrations.expirations == 0, "it was counted before the restart"
        assert whats(node).count("expired") == 1

    run(story)
    assert [r.getMessage() for r in caplog.records] == [
        "trunk acme: expired: the grant ended without a refresh"
    ]


def test_expired_without_an_agent_is_counted_at_the_start(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.silent = True
        node.agent()
        node.clock.now = NOW + 4000
        node.apply(ACME)
        await node.until(lambda: node.registrations.expirations == 1)

    run(story)


def test_expired_of_a_shorter_grant_is_in_time(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.grants_s = 60
        node.registrations.orders.want("acme")
        await node.until(lambda: node.of["acme"].expires_at == NOW + 60)
        node.registrar.silent = True
        node.clock.now = NOW + 60
        await node.until(lambda: node.registrations.expirations == 1)
        node.clock.now = NOW + 3600
        await node.until_quiet()
        assert node.registrations.expirations == 1

    run(story)


def test_expired_is_not_counted_after_refresh_or_order(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        node.registrations.orders.unregister("bell")
        node.clock.now = NOW + 3000
        await node.until(lambda: node.of["acme"].expires_at == NOW + 6600)
        node.clock.now = NOW + 3700
        await node.until_quiet()
        assert node.registrations.expirations == 0

    run(story)


def test_expired_on_a_full_disk_is_counted_once(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        disk = sqlite3.connect(node.folder / FILE, isolation_level=None)
        disk.execute(DISK_FULL)
        node.clock.now = NOW + 3600
        await node.until(lambda: node.registrations.expirations == 1)
        disk.execute("DROP TRIGGER full")
        disk.close()
        node.registrar.silent = True
        node.clock.now += 100
        await node.until(lambda: node.of["acme"].expires_at is None)
        assert node.registrations.expirations == 1

    run(story)


# The API.


def test_api_has_the_history_of_one_trunk(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        acme = await agent.get("/v1/trunks/acme")
        assert acme.pop("events") == [
            {
                "at": NOW,
                "what": "registered",
                "status": 200,
                "reason": "granted",
                "message": "granted 3600 s by udp:192.0.2.1:5060",
            }
        ]
        assert acme == (await agent.get("/v1/trunks"))[0]
        assert (await agent.ask("/v1/trunks/nobody")).status_code == 404

    with_agent(story)


def test_metrics_have_expirations_and_next_expiry(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        lines = (await agent.ask("/metrics")).text.splitlines()
        samples = dict(line.split() for line in lines if re.match(r"\w+ \S+$", line))
        next_expiry_at = float(samples["whence_registration_next_expiry_timestamp_seconds"])
        assert next_expiry_at == NOW + 3600
        assert "whence_registration_expirations_total 0.0" in lines
        assert "whence_registrations_rate_limited 0.0" in lines
        assert "whence_registrations_in_flight 0.0" in lines
        assert 'whence_trunk_registered{trunk="acme"} 1.0' in lines

        node = agent.node
        node.registrar.silent = True
        node.clock.now = NOW + 3600
        await node.until(lambda: node.registrations.expirations == 2)
        lines = (await agent.ask("/metrics")).text.splitlines()
        assert "whence_registration_expirations_total 2.0" in lines
        assert not any(line.startswith("whence_registration_next") for line in lines)
        assert 'whence_trunk_registered{trunk="acme"} 0.0' in lines

    with_agent(story)
