"""Test the DNS cache with a real DNS server."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import dns.message
import dns.rcode
import dns.rrset
import pytest

from testkit.nameserver import NameServer, address, forwarded, refused, srv
from testkit.network import Network
from whence.agent.dns import cache as limits
from whence.agent.dns.cache import (
    FAILURE_S,
    NAMES_LIMIT,
    NEGATIVE_MOST_S,
    QUERIES_LIMIT,
    QUERY_S,
    STALE_S,
    TTL_LEAST_S,
    TTL_MOST_S,
    DnsCache,
    Kind,
)

NAME = "sip.example"
BUSY_S = 20
"""Extra time for a test on a busy machine."""


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A DNS server, and a cache that queries it."""

    def __init__(self, nameserver: NameServer) -> None:
        self.nameserver = nameserver
        self.clock = Clock()
        self.records = DnsCache(nameserver.address, self.clock)

    async def find(self, name: str = NAME, kind: Kind = "A") -> set[str] | None:
        found = await self.records.find(name, kind)
        return found if found is None else {str(record) for record in found}

    def asked(self) -> int:
        return len(self.nameserver.asked())


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def scene(network: Network, tmp_path: Path) -> Iterator[Scene]:
    with NameServer(network.ip("nameserver"), tmp_path) as nameserver:
        yield Scene(nameserver)


# How long an answer is valid.


def test_answer_is_valid_for_its_ttl(scene: Scene) -> None:
    async def story() -> None:
        scene.nameserver.change(address(NAME, "192.0.2.1", ttl_s=60))
        assert await scene.find() == {"192.0.2.1"}
        scene.nameserver.change(address(NAME, "192.0.2.2", ttl_s=60))
        scene.clock.now += 59.9
        assert await scene.find() == {"192.0.2.1"}
        assert scene.asked() == 1
        scene.clock.now += 0.1
        assert await scene.find() == {"192.0.2.2"}
        assert scene.asked() == 2

    asyncio.run(story())


@pytest.mark.parametrize(
    ("ttl_s", "counts_s"), [(0, TTL_LEAST_S), (1, TTL_LEAST_S), (2_000_000, TTL_MOST_S)]
)
def test_ttl_is_limited_by_bounds(scene: Scene, ttl_s: int, counts_s: float) -> None:
    async def story() -> None:
        scene.nameserver.change(address(NAME, "192.0.2.1", ttl_s=ttl_s))
        await scene.find()
        scene.clock.now += counts_s - 0.1
        await scene.find()
        assert scene.asked() == 1
        scene.clock.now += 0.1
        await scene.find()
        assert scene.asked() == 2

    asyncio.run(story())


@pytest.mark.parametrize("known", [(), (address(NAME, "2001:db8::1"),)])
def test_negative_answer_is_valid_for_30_s_at_most(scene: Scene, known: tuple[str, ...]) -> None:
    """The name does not exist, or has only records of another type; without a SOA."""

    async def story() -> None:
        scene.nameserver.change(*known)
        assert await scene.find() == set()
        scene.nameserver.change(*known, address(NAME, "192.0.2.1"))
        scene.clock.now += NEGATIVE_MOST_S - 0.1
        assert await scene.find() == set()
        assert scene.asked() == 1
        scene.clock.now += 0.1
        assert await scene.find() == {"192.0.2.1"}

    asyncio.run(story())


class Soa(asyncio.DatagramProtocol):
    """A name server that answers NXDOMAIN, with a SOA minimum of 10 s."""

    def __init__(self) -> None:
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        answer = dns.message.make_response(dns.message.from_wire(data))
        answer.set_rcode(dns.rcode.NXDOMAIN)
        soa = "ns.example. hostmaster.example. 1 2 3 4 10"
        answer.authority.append(dns.rrset.from_text("example.", 3600, "IN", "SOA", soa))
        self.transport.sendto(answer.to_wire(), addr)


def test_negative_answer_is_valid_for_its_soa_minimum(network: Network) -> None:
    """RFC 2308 5: the minimum of its own TTL and its field MINIMUM."""

    async def story() -> None:
        place, clock = (network.ip("soa"), 5300), Clock()
        transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
            Soa, local_addr=place
        )
        records = DnsCache(place, clock)
        try:
            for step_s, asked in [(0, 1), (9.9, 1), (0.1, 2)]:
                clock.now += step_s
                assert await records.find(NAME, "A") == ()
                assert server.asked == asked
        finally:
            transport.close()

    asyncio.run(story())


# One query for many callers.


def test_find_of_many_callers_sends_one_query(scene: Scene) -> None:
    async def story() -> None:
        scene.nameserver.change(srv("_sip._udp.p.example", NAME), address(NAME, "192.0.2.1"))
        found = await asyncio.gather(
            *(scene.find("_sip._udp.p.example", "SRV") for _ in range(1000))
        )
        assert found == [{f"10 10 5060 {NAME}."}] * 1000
        assert scene.nameserver.asked() == [("SRV", "_sip._udp.p.example")]

    asyncio.run(story())


def test_find_cancelled_does_not_cancel_the_query(scene: Scene) -> None:
    async def story() -> None:
        scene.nameserver.change(address(NAME, "192.0.2.1"))
        first, second = asyncio.create_task(scene.find()), asyncio.create_task(scene.find())
        await asyncio.sleep(0)
        first.cancel()
        assert await second == {"192.0.2.1"}
        assert scene.asked() == 1

    asyncio.run(story())


# No answer, or an error.


def test_find_with_a_dead_server_ends_in_time(scene: Scene) -> None:
    async def story() -> None:
        scene.nameserver.stop()
        async with asyncio.timeout(QUERY_S + BUSY_S):
            assert await scene.find() is None

    asyncio.run(story())


def test_find_with_a_slow_server_delays_no_other(network: Network, tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
        NameServer(network.ip("nameserver"), tmp_path) as nameserver,
    ):
        silent.bind((network.ip("silent"), 5300))
        nameserver.change(
            forwarded("slow.example", silent.getsockname()), address(NAME, "192.0.2.1")
        )
        scene = Scene(nameserver)

        async def story() -> None:
            slow = [asyncio.create_task(scene.find(f"{i}.slow.example")) for i in range(100)]
            await asyncio.sleep(0)
            assert await scene.find() == {"192.0.2.1"}
            assert not any(task.done() for task in slow)
            async with asyncio.timeout(QUERY_S + BUSY_S):
                assert await asyncio.gather(*slow) == [None] * len(slow)

        asyncio.run(story())


def test_find_of_many_failed_keys_delays_no_other(network: Network, tmp_path: Path) -> None:
    """Also if there are more than QUERIES_LIMIT."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
        NameServer(network.ip("nameserver"), tmp_path) as nameserver,
    ):
        silent.bind((network.ip("silent"), 5300))
        scene = Scene(nameserver)
        names = [f"{i}.slow.example" for i in range(2 * QUERIES_LIMIT)]

        async def story() -> None:
            nameserver.change(refused("slow.example"))
            assert await asyncio.gather(*map(scene.find, names)) == [None] * len(names)
            nameserver.change(
                forwarded("slow.example", silent.getsockname()), address(NAME, "192.0.2.1")
            )
            scene.clock.now += FAILURE_S
            slow = [asyncio.create_task(scene.find(name)) for name in names]
            await asyncio.sleep(0)
            assert await scene.find() == {"192.0.2.1"}
            assert not any(task.done() for task in slow)
            for task in slow:
                task.cancel()

        asyncio.run(story())


def test_find_after_a_failure_sends_no_query_at_once(scene: Scene) -> None:
    async def story() -> None:
        scene.nameserver.change(refused(NAME))
        assert await scene.find() is None
        scene.nameserver.change(address(NAME, "192.0.2.1"))
        scene.clock.now += FAILURE_S - 0.1
        assert await scene.find() is None
        assert scene.asked() == 1
        scene.clock.now += 0.1
        assert await scene.find() == {"192.0.2.1"}

    asyncio.run(story())


def test_answer_is_used_for_a_day_after_failures(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        scene.nameserver.change(address(NAME, "192.0.2.1", ttl_s=60))
        assert await scene.find() == {"192.0.2.1"}
        scene.nameserver.stop()
        scene.clock.now += 100
        assert await scene.find() == {"192.0.2.1"}
        async with asyncio.timeout(QUERY_S + BUSY_S):
            while not caplog.messages:
                await asyncio.sleep(0)
        scene.nameserver.change(refused(NAME))
        scene.clock.now += 100
        assert await scene.find() == {"192.0.2.1"}
        assert len(caplog.messages) == 1, "one line, however often"
        assert caplog.messages[0].startswith(
            "DNS does not answer for sip.example (A), its last answer is used: "
        )

        scene.clock.now += STALE_S
        assert await scene.find() is None

    asyncio.run(story())


def test_find_with_a_stale_answer_does_not_wait(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """It would delay a refresh. A late answer is still used."""

    async def story() -> None:
        scene.nameserver.change(address(NAME, "192.0.2.1", ttl_s=60))
        await scene.find()
        scene.nameserver.process.signal(signal.SIGSTOP)
        scene.clock.now += 60
        try:
            assert await scene.find() == {"192.0.2.1"}
            assert caplog.messages == [], "it may still answer"
        finally:
            scene.nameserver.process.signal(signal.SIGCONT)
        while scene.asked() < 2:
            await asyncio.sleep(0)
        assert await scene.find() == {"192.0.2.1"}
        assert caplog.messages == []

    asyncio.run(story())


def test_find_after_recovery_returns_the_new_answer(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        scene.nameserver.change(address(NAME, "192.0.2.1", ttl_s=60))
        await scene.find()
        scene.nameserver.change(refused(NAME))
        scene.clock.now += 60
        assert await scene.find() == {"192.0.2.1"}
        scene.nameserver.change(address(NAME, "192.0.2.2", ttl_s=60))
        scene.clock.now += FAILURE_S
        assert await scene.find() == {"192.0.2.2"}
        assert caplog.messages[1:] == ["DNS answers again for sip.example"]

    asyncio.run(story())


def test_negative_answer_is_used_after_failures(scene: Scene) -> None:
    """A provider without SRV records must stay reachable by its A record."""

    async def story() -> None:
        assert await scene.find(kind="SRV") == set()
        scene.nameserver.change(refused(NAME))
        scene.clock.now += NEGATIVE_MOST_S
        assert await scene.find(kind="SRV") == set()

    asyncio.run(story())


def test_name_removed_from_dns_has_no_stale_answer(scene: Scene) -> None:
    """NXDOMAIN is an answer, and replaces an older one."""

    async def story() -> None:
        scene.nameserver.change(address(NAME, "192.0.2.1", ttl_s=60))
        await scene.find()
        scene.nameserver.change()
        scene.clock.now += 60
        assert await scene.find() == set()
        scene.nameserver.change(refused(NAME))
        scene.clock.now += NEGATIVE_MOST_S
        assert await scene.find() == set()

    asyncio.run(story())


# Bounds.


def test_find_returns_a_limited_number_of_records(scene: Scene) -> None:
    async def story() -> None:
        scene.nameserver.change(
            *(address(NAME, f"10.0.{i >> 8}.{i & 255}", ttl_s=60) for i in range(1000))
        )
        found = await scene.find()
        assert found is not None
        assert len(found) == limits.RECORDS_LIMIT

    asyncio.run(story())


def test_cache_drops_the_least_recently_used_name(scene: Scene) -> None:
    def asked_of(name: str) -> int:
        return len(scene.nameserver.asked(name))

    async def story() -> None:
        scene.nameserver.change(address(NAME, "192.0.2.1"))
        await scene.find()
        first = asked_of(NAME)
        for start in range(0, NAMES_LIMIT, 256):
            await asyncio.gather(*(scene.find(f"n{start + i}.example") for i in range(256)))
            await scene.find()
        # A slow answer may cause a retransmission, so each query counts once.
        assert len(set(scene.nameserver.asked())) == NAMES_LIMIT + 1
        before = asked_of("n0.example")
        await scene.find()
        assert asked_of(NAME) == first
        await scene.find("n0.example")
        assert asked_of("n0.example") > before

    asyncio.run(story())


# resolv.conf.


def test_resolv_conf_is_read_again_when_it_changes(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    with Network() as network:
        ips = [network.ip("first"), network.ip("second")]
        if not may_use_port_53(ips[0]):
            pytest.skip("resolv.conf knows only port 53, which this user may not use")
        records = (address(NAME, "192.0.2.1"), address(NAME, "192.0.2.2"))
        servers = [
            NameServer(ip, tmp_path, [record], name=f"at-{ip}", port=53)
            for ip, record in zip(ips, records, strict=True)
        ]
        clock = Clock()
        asking = DnsCache(None, clock, conf)

        async def story() -> list[str]:
            found = []
            for text in (f"nameserver {ips[0]}\n", "no name server\n", f"nameserver {ips[1]}\n"):
                after = conf.with_suffix(".new")
                after.write_text(text, "utf-8")
                after.replace(conf)
                clock.now += 300
                found += [str(one) for one in await asking.find(NAME, "A") or ()]
            return found

        try:
            assert asyncio.run(story()) == ["192.0.2.1", "192.0.2.1", "192.0.2.2"]
        finally:
            for server in servers:
                server.stop()


def may_use_port_53(ip: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((ip, 53))
        except PermissionError:
            return os.geteuid() == 0
        return True
