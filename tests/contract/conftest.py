"""Fixtures: a real Kamailio with the edge, and sockets around it."""

from collections.abc import Iterator

import pytest

from tests.contract.reports import Agent
from tests.contract.scene import Scene
from tests.contract.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def scene(world: World) -> Iterator[Scene]:
    with Scene(world) as scene:
        yield scene


@pytest.fixture
def agent(scene: Scene) -> Iterator[Agent]:
    agent = Agent(scene)
    yield agent
    agent.close()
