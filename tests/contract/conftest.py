"""Every contract test runs in both worlds: what the fake promises, the real Kamailio keeps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.real import RealWorld
from tests.contract.scene import Scene
from tests.contract.world import World


@pytest.fixture(scope="session", params=["real"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with RealWorld(folder) as world:
        yield world


@pytest.fixture
def scene(world: World) -> Iterator[Scene]:
    with Scene(world) as scene:
        yield scene
