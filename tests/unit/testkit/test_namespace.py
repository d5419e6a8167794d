"""The network namespace: sockets inside, the sniffer, and the count of unroutable packets."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.namespace import PUBLIC, Namespace, Sniffer
from testkit.process import Process, alive
from testkit.wait import eventually


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[Namespace]:
    with Namespace(tmp_path) as namespace:
        yield namespace


def test_sockets_inside_reach_each_other_and_are_sniffed(namespace: Namespace) -> None:
    sniffer = Sniffer(namespace)
    one, other = namespace.socket("udp", "127.9.0.1", 5060), namespace.socket("udp", "127.9.0.2")
    to = other.getsockname()
    one.sendto(b"hello", to)
    other.settimeout(5)
    assert other.recvfrom(100) == (b"hello", ("127.9.0.1", 5060))
    assert sniffer.seen() == {("udp", ("127.9.0.1", 5060), to)}
    assert sniffer.seen() == set()
    for each in (one, other, sniffer):
        each.close()


def test_public_addresses_are_local(namespace: Namespace) -> None:
    one, other = (namespace.socket("udp", str(PUBLIC[number]), 5060) for number in (9, 70_000))
    other.settimeout(5)
    one.sendto(b"hello", other.getsockname())
    assert other.recvfrom(100) == (b"hello", (str(PUBLIC[9]), 5060))
    one.close()
    other.close()


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_connect_without_a_route_is_counted(namespace: Namespace, kind: str) -> None:
    before = namespace.refused
    with contextlib.closing(namespace.socket(kind, "0.0.0.0")) as one, pytest.raises(OSError):
        one.connect(("192.0.2.9", 5060))
    assert namespace.refused == before + 1


def test_process_inside_sees_its_loopback_only(namespace: Namespace, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = Process("inside", namespace.enter(["cat", "/proc/net/dev"]), log)
    assert process.wait(10) == 0
    assert [line.split(":")[0].strip() for line in process.log.splitlines()[2:]] == ["lo"]


def test_socket_that_cannot_be_bound_raises_the_reason(namespace: Namespace) -> None:
    with pytest.raises(OSError, match="requested address"):
        namespace.socket("udp", "192.0.2.9")


def test_close_leaves_no_process(tmp_path: Path) -> None:
    with Namespace(tmp_path) as namespace:
        pid = namespace.pid
    eventually(lambda: not alive(pid), what="the end of the namespace's process")
