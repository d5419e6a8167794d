"""Fixtures: a real Kamailio that takes users' calls, and strict servers around it."""

from collections.abc import Iterator

import pytest

from tests.contract.outbound.scene import OutScene
from tests.contract.world import World


@pytest.fixture(scope="session")
def out_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("out")
    with World(folder, calls_out=True, tcp=True, country="44") as world:
        yield world


@pytest.fixture
def scene(out_world: World) -> Iterator[OutScene]:
    with OutScene(out_world) as scene:
        yield scene
    assert scene.faults == []
