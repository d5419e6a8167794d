from __future__ import annotations

from collections.abc import Iterator

import pytest

from testkit.network import Network
from tests.unit.cli.api import Api


@pytest.fixture
def api() -> Iterator[Api]:
    with Network() as network:
        api = Api(network.ip("api"))
        yield api
        api.close()
