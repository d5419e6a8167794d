"""A fixture that runs a coroutine over the API of an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testkit.network import Network
from testkit.wait import PATIENCE_S
from tests.unit.agent.api.agent import Agent, Story
from tests.unit.agent.registration.edge import KEY, Edge
from tests.unit.agent.registration.node import Node
from whence.agent.registration.client import KamailioClient


@pytest.fixture
def with_agent(tmp_path: Path) -> Iterator[Callable[[Story], None]]:
    """Run a coroutine over the API of an agent whose trunks have just been registered."""
    node = Node(tmp_path)

    async def run(story: Story, ip: str) -> None:
        edge = Edge(ip)
        kamailio = await KamailioClient.connect(edge.agent_socket, KEY)
        try:
            async with asyncio.timeout(PATIENCE_S):
                agent = Agent(node, edge, kamailio)
                try:
                    await agent.registered()
                    await story(agent)
                finally:
                    agent.receiver.close()
                    agent.provisioned.close()
        finally:
            kamailio.close()
            edge.close()
            await asyncio.sleep(0)

    with Network() as network:
        yield lambda story: asyncio.run(run(story, network.ip("edge")))
    node.directory.close()
