"""Fixtures of the rig's own tests."""

from collections.abc import Iterator

import pytest

from tests.rig.network import Network


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network
