"""The stream of events: what clients get, and its bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.unit.agent.api.agent import NOW, Agent, Story
from whence.agent.access.verifier import hashed
from whence.agent.api import stream
from whence.agent.monitoring.stream import CLIENTS, WAITING, EventStream, StreamKind
from whence.core.access import Role

WithAgent = Callable[[Story], None]


class Client:
    """A client of the stream. It speaks ASGI, since httpx reads only whole answers."""

    def __init__(self) -> None:
        self.status = 0
        self.parts: asyncio.Queue[str] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["body"]:
            await self.parts.put(message["body"].decode())

    async def event(self) -> tuple[str, str, dict[str, Any]]:
        """Return the next event: its id, kind and data."""
        while True:
            lines = (await self.parts.get()).splitlines()
            if lines[0].startswith("id: "):
                id_, kind, data = (line.partition(": ")[2] for line in lines[:3])
                return id_, kind, json.loads(data)


@asynccontextmanager
async def reading(
    agent: Agent, query: str = "", **headers: str
) -> AsyncIterator[tuple[Client, asyncio.Task[None]]]:
    client = Client()
    named = {"host": "127.0.0.1", **headers}
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/stream",
        "raw_path": b"/v1/stream",
        "query_string": query.encode(),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in named.items()],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
        "server": ("127.0.0.1", 8088),
    }
    task = asyncio.create_task(agent.api(scope, client.receive, client.send))
    assert "retry" in await client.parts.get()
    try:
        yield client, task
    finally:
        client.gone.set()
        await task


def test_stream_has_each_change_of_a_trunk(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        async with reading(agent) as (client, _):
            await agent.ask("/v1/trunks/acme/pause", {})
            _, kind, data = await client.event()
            assert (kind, data["id"], data["item"]["state"]) == ("trunk", "acme", "paused")

    with_agent(story)


def test_stream_has_only_the_kinds_that_are_asked_for(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        async with reading(agent, "kind=calls") as (client, _):
            await agent.ask("/v1/trunks/acme/pause", {})
            agent.stream.receive(None, b"")  # type: ignore[arg-type]
            agent.stream.turn_ended()
            assert (await client.event())[1:] == ("calls", {})

    with_agent(story)


def test_client_that_returns_gets_what_it_missed(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        async with reading(agent) as (client, _):
            await agent.ask("/v1/trunks/acme/pause", {})
            last, *_ = await client.event()
        await agent.ask("/v1/trunks/bell/pause", {})
        async with reading(agent, last_event_id=last) as (client, _):
            assert (await client.event())[2]["id"] == "bell"
        for unknown in ("other-1", "x", f"{last}0000"):
            async with reading(agent, last_event_id=unknown) as (client, _):
                assert (await client.event())[1] == "resync"

    with_agent(story)


def test_stream_of_a_revoked_token_ends(
    with_agent: WithAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.01)

    async def story(agent: Agent) -> None:
        agent.access.required = True
        token, _ = agent.tokens.create("viewer", Role.VIEW, hashed, NOW)
        async with reading(agent, authorization=f"Bearer {token}") as (client, task):
            assert await client.parts.get() == ": alive\n\n"
            agent.tokens.revoke("viewer")
            await task

    with_agent(story)


def test_stream_of_a_revoked_token_ends_with_the_next_event(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        agent.access.required = True
        token, _ = agent.tokens.create("viewer", Role.VIEW, hashed, NOW)
        async with reading(agent, authorization=f"Bearer {token}") as (client, task):
            agent.stream.gone("acme")
            await client.event()
            agent.tokens.revoke("viewer")
            agent.stream.gone("bell")
            await task
            assert client.parts.empty() or client.parts.get_nowait() == ""

    with_agent(story)


def test_streams_are_bounded_in_number_and_end_with_the_agent(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        async with reading(agent) as (_, task):
            others = [agent.stream.subscribe() for _ in range(CLIENTS - 1)]
            for other in others:
                other.__enter__()
            answer = await agent.ask("/v1/stream")
            assert (answer.status_code, answer.json()["code"]) == (503, "too_many_streams")
            for other in others:
                other.__exit__(None, None, None)
            agent.stream.close()
            await task
        assert (await agent.ask("/v1/stream")).status_code == 503

    with_agent(story)


def test_slow_client_gets_resync_in_bounded_memory() -> None:
    events = EventStream()
    with events.subscribe() as client:
        for number in range(10 * WAITING):
            events.gone(str(number))
            assert len(client.waiting) <= WAITING
        assert client.waiting[0].kind is StreamKind.RESYNC


def test_many_events_about_one_trunk_are_one() -> None:
    events = EventStream()
    with events.subscribe() as client:
        for _ in range(5):
            events.gone("acme")
        assert [event.key for event in client.waiting] == ["acme"]
