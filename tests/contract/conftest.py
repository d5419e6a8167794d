"""Every contract test runs in both worlds: what the fake promises, the real Kamailio keeps."""

from collections.abc import Iterator

import pytest

from tests.contract.fake.world import FakeWorld
from tests.contract.real import RealWorld
from tests.contract.scene import Scene
from tests.contract.world import World


@pytest.fixture(scope="session", params=[FakeWorld, RealWorld], ids=["fake", "real"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with request.param(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def scene(world: World) -> Iterator[Scene]:
    with Scene(world) as scene:
        yield scene
