"""The kernel's source address."""

from ipaddress import ip_address

import pytest

from whence.ipc import kernel_route


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.9.8.7", "::1"])
def test_source_ip_of_loopback_is_loopback(ip: str) -> None:
    found = kernel_route.source_ip(ip_address(ip))
    assert found is not None and found.is_loopback


def test_source_ip_without_route_is_none() -> None:
    assert kernel_route.source_ip(ip_address("255.255.255.255")) is None
