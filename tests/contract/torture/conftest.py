"""One Kamailio for all that tortures it, in a network from which nothing leaves."""

from collections.abc import Iterator

import pytest

from tests.contract.scene import Scene
from tests.contract.torture.arena import Arena
from tests.contract.world import World
from tests.rig.namespace import Namespace


@pytest.fixture(scope="module")
def shared_arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("torture")
    with (
        Namespace(folder) as namespace,
        World(folder, namespace=namespace, transports=("udp", "tcp")) as world,
        Scene(world) as scene,
    ):
        yield Arena(world, scene, namespace)


@pytest.fixture
def arena(shared_arena: Arena) -> Arena:
    shared_arena.begin()
    return shared_arena
