"""One Kamailio for all torture tests, in a network namespace without a way out."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from testkit.namespace import Namespace
from tests.contract.scene import Scene
from tests.contract.torture.arena import Arena
from tests.contract.world import World

BOUNDLESS: dict[str, Any] = {"flood": 0, "connections_per_source": 0}
"""One address sends here what many would."""


@pytest.fixture(scope="module")
def shared_arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("torture")
    with (
        Namespace(folder) as namespace,
        World(folder, namespace=namespace, tcp=True, **BOUNDLESS) as world,
        Scene(world) as scene,
        closing(Arena(world, scene, namespace)) as arena,
    ):
        yield arena


@pytest.fixture
def arena(shared_arena: Arena) -> Arena:
    shared_arena.begin()
    return shared_arena
