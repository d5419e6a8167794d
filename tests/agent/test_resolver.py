"""Where a registrar is now: literal addresses, and names of this machine."""

import asyncio

import pytest

from whence.agent.resolver import Resolver
from whence.core.uri import Uri


def targets(server: str) -> list[str]:
    uri = Uri.parse(server)
    assert uri is not None
    return [str(target) for target in asyncio.run(Resolver().targets(uri))]


@pytest.mark.parametrize(
    ("server", "target"),
    [
        ("sip:192.0.2.1", "udp:192.0.2.1:5060"),
        ("sip:192.0.2.1:5070", "udp:192.0.2.1:5070"),
        ("sip:192.0.2.1;transport=tcp", "tcp:192.0.2.1:5060"),
        ("sip:[2001:DB8::0:1]:5070", "udp:[2001:db8::1]:5070"),
    ],
)
def test_a_literal_address_is_itself(server: str, target: str) -> None:
    assert targets(server) == [target]


def test_a_name_has_each_of_its_addresses_once() -> None:
    found = targets("sip:localhost:5070;transport=tcp")
    assert "tcp:127.0.0.1:5070" in found
    assert len(found) == len(set(found))
    assert set(found) <= {"tcp:127.0.0.1:5070", "tcp:[::1]:5070"}


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "x..y", "192.0.2.256"])
def test_what_can_be_no_name_has_no_address(host: str) -> None:
    assert targets(f"sip:{host}") == []
