"""Fixtures: a real Kamailio with the edge, and sockets around it."""

from collections.abc import Iterator

import pytest

from tests.contract.reports import Agent
from tests.contract.scene import Scene
from tests.contract.world import World

BOTH_WAYS = frozenset(
    {"test_decision_reports", "test_identification", "test_names_of_other_trunks", "test_targets"}
)
"""Modules whose tests also run in a world without known answers. Their results are the same."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in BOTH_WAYS and "world" in metafunc.fixturenames:
        ways = [True, False]
        names = ["known answers", "no known answers"]
        metafunc.parametrize("world", ways, ids=names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def world(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[World]:
    known_answers: bool = getattr(request, "param", True)
    with World(tmp_path_factory.mktemp("world"), known_answers=known_answers) as world:
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
