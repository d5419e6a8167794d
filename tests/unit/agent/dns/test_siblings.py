"""Test siblings: they follow registrations and DNS, and end with either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from testkit.directory import install
from tests.unit.store.disk import broken
from whence.agent.config.load import load
from whence.agent.config.models import Config
from whence.agent.config.to_core import node_settings, sibling_settings
from whence.agent.dns import siblings as module
from whence.agent.dns.siblings import SLACK_S, SiblingService
from whence.core.identification.address import Origin
from whence.core.registration.events import ForgetAddresses
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_ip
from whence.core.sip.uri import Uri
from whence.store.directory import FILE, Directory
from whence.store.schema import GENERATION_FILE

NOW = 1_000_000.0
HERE, BESIDE, THIRD = "192.0.2.1", "192.0.2.2", "192.0.2.3"
OURS = TransportAddress.parse("udp:192.0.2.99:5060")

TRUNK = """
[[trunk]]
id = "acme"
registrar = "sip:provider.example"
user = "acct1"
password = "hunter2"
target = "sip:pbx@192.0.2.9"
"""
BELL = TRUNK.replace("acme", "bell")


class Dns:
    """Fake DNS: answers from `answers`, and records the look-ups."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[tuple[str, ...], float]] = {
            "provider.example": ((HERE, BESIDE), 600.0)
        }
        self.asked: list[str] = []

    async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
        self.asked.append(server.host)
        ips, ttl_s = self.answers.get(server.host, ((), 0.0))
        return tuple(TransportAddress(Transport.UDP, canonical_ip(ip), 5060) for ip in ips), ttl_s


class Node:
    """A directory and its siblings, with a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOW
        self.dns = Dns()
        self.directory = Directory(folder / FILE)
        self.siblings: SiblingService
        self.settings: Config
        self.unnamed: list[str] = []

    def load(self, text: str) -> Config:
        file = self.folder / "whence.toml"
        file.write_text(text, "utf-8")
        self.settings = load(file)
        install(self.directory, self.settings, self.now)
        return self.settings

    def start(self, text: str = TRUNK) -> None:
        self.siblings = SiblingService(
            self.directory,
            self.dns,
            sibling_settings(self.load(text)),
            lambda: self.now,
            observers=[self],
        )

    def not_in_dns(self, trunk_id: str, registrar: TransportAddress, servers: str) -> None:
        self.unnamed.append(f"{trunk_id} {registrar.ip} {servers}")

    def registered(self, at: str = f"udp:{HERE}:5060", *, for_s: float = 3600) -> None:
        """Report every trunk as registered."""
        for trunk in node_settings(self.settings).trunks:
            registration = Registration(
                trunk.id,
                "call-1",
                state=State.REGISTERED,
                expires_at=self.now + for_s,
                learned_until=self.now + for_s,
                registrar=TransportAddress.parse(at),
            )
            self.siblings.changed(trunk, registration)

    def reload(self, text: str) -> None:
        self.siblings.apply(node_settings(self.load(text)).trunks)

    async def settled(self) -> None:
        """Run the service until all due work is done."""
        running = asyncio.create_task(self.siblings.run())
        for _ in range(200):
            await asyncio.sleep(0)
        running.cancel()

    def live(self) -> dict[str, list[str]]:
        """Return trunk id → the ips of its valid siblings."""
        found: dict[str, list[str]] = {}
        for trunk_id, address in self.directory.addresses():
            if address.origin is Origin.RESOLVED and address.live(self.now):
                found.setdefault(trunk_id, []).append(str(address.ip))
        return found

    def ends(self) -> list[float | None]:
        return [a.expires_at for _, a in self.directory.addresses() if a.live(self.now)]

    def generation(self) -> bytes:
        return (self.folder / GENERATION_FILE).read_bytes()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.directory.close()


Story = Callable[[], Coroutine[Any, Any, None]]


def run(story: Story) -> None:
    asyncio.run(story())


def test_unregister_during_a_refresh_adds_no_sibling(node: Node) -> None:
    """The grant is valid until the registrar answers, but its address must not admit calls."""

    async def story() -> None:
        node.start()
        node.registered()
        await node.settled()
        assert node.live() == {"acme": [BESIDE]}
        (trunk,) = node_settings(node.settings).trunks
        node.directory.save(
            AccountKey("x"), Registration("acme", "call-1"), [ForgetAddresses()], OURS, node.now
        )
        unregistered = Registration(
            "acme",
            "call-1",
            state=State.REGISTERING,
            wanted=False,
            expires_at=node.now + 3600,
            learned_until=node.now + 3600,
            registrar=TransportAddress.parse(f"udp:{HERE}:5060"),
        )
        node.siblings.changed(trunk, unregistered)
        node.now += 700
        await node.settled()
        assert node.live() == {}

    run(story)


def test_siblings_of_a_registration_end_with_the_answer(node: Node) -> None:
    async def story() -> None:
        node.start()
        await node.settled()
        assert (node.live(), node.dns.asked) == ({}, []), "no trunk is registered"
        node.registered()
        await node.settled()
        assert node.live() == {"acme": [BESIDE]}
        assert node.ends() == [NOW + 600 + SLACK_S]
        node.now += 600 + SLACK_S
        assert node.live() == {}

    run(story)


def test_siblings_still_in_dns_are_extended(
    node: Node,
) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        await node.settled()
        before = node.generation()
        node.now += 599
        await node.settled()
        assert len(node.dns.asked) == 1
        node.now += 1
        await node.settled()
        assert len(node.dns.asked) == 2
        assert node.ends() == [NOW + 1200 + SLACK_S]
        assert node.generation() == before, "only its end has changed"

        node.dns.answers["provider.example"] = ((HERE, THIRD), 600.0)
        node.now += 600
        await node.settled()
        assert node.live() == {"acme": [BESIDE, THIRD]}, "the old one until its end"
        assert node.generation() != before
        node.now += SLACK_S
        assert node.live() == {"acme": [THIRD]}

    run(story)


@pytest.mark.parametrize(("ttl_s", "counts_s"), [(0, 300), (300, 300), (9e9, 3600)])
def test_ttl_is_limited_by_bounds(node: Node, ttl_s: float, counts_s: float) -> None:
    async def story() -> None:
        node.dns.answers["provider.example"] = ((BESIDE,), ttl_s)
        node.start()
        node.registered(for_s=90_000)
        await node.settled()
        assert node.ends() == [NOW + counts_s + SLACK_S]

    run(story)


def test_siblings_end_with_the_grant_and_are_extended_with_it(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered(for_s=100)
        await node.settled()
        assert node.ends() == [NOW + 100 + 32], "the grace is that of the registrar's own"
        node.now += 70
        node.registered(for_s=100)
        await node.settled()
        assert node.ends() == [NOW + 170 + 32]
        assert len(node.dns.asked) == 1

    run(story)


def test_unregister_ends_the_siblings_at_once(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        await node.settled()
        unregistering = Registration("acme", "call-1", state=State.UNREGISTERING)
        node.directory.save(AccountKey("acct1"), unregistering, [ForgetAddresses()], OURS, node.now)
        node.siblings.changed(node_settings(node.settings).trunks[0], unregistering)
        assert node.live() == {}
        await node.settled()
        node.now += 3600
        await node.settled()
        assert node.live() == {}
        assert len(node.dns.asked) == 1, "no trunk needs it any more"

    run(story)


def test_name_of_many_trunks_is_looked_up_once(node: Node) -> None:
    trunks = [TRUNK.replace("acme", f"acme-{i}") for i in range(250)]

    async def story() -> None:
        node.start("".join(trunks))
        node.registered()
        await node.settled()
        assert node.dns.asked == ["provider.example"]
        assert len(node.live()) == 250

    run(story)


def test_siblings_include_the_outbound_proxys(node: Node) -> None:
    async def story() -> None:
        node.dns.answers["proxy.example"] = ((THIRD,), 900.0)
        node.start(
            '[edge]\nlisten = ["udp:127.0.0.1:5060", "udp:[::1]:5060"]\n'
            + TRUNK
            + 'proxy = "sip:proxy.example"\n'
            + BELL.replace("provider.example", HERE)
            + 'proxy = "sip:[2001:db8::1]:5060"\n'
        )
        node.registered()
        await node.settled()
        assert node.live() == {"acme": [BESIDE, THIRD]}
        assert sorted(node.dns.asked) == ["provider.example", "proxy.example"]

    run(story)


def test_follow_dns_off_has_no_siblings_and_no_look_up(node: Node) -> None:
    async def story() -> None:
        node.start(TRUNK + "follow_dns = false\n")
        node.registered()
        await node.settled()
        assert (node.live(), node.dns.asked) == ({}, [])

    run(story)


def test_reload_changes_siblings_at_once(node: Node) -> None:
    async def story() -> None:
        node.start(TRUNK + BELL)
        node.registered()
        await node.settled()
        before = node.generation()
        node.reload(TRUNK + "follow_dns = false\n" + BELL + "match_port = true\n")
        assert node.live() == {}
        assert node.generation() != before
        await node.settled()
        ((trunk_id, address),) = node.directory.addresses()
        assert (trunk_id, address.port, address.exact) == ("bell", 5060, True)
        node.reload(TRUNK + BELL + "enabled = false\n")
        assert node.live() == {}
        node.registered()
        await node.settled()
        assert node.live() == {"acme": [BESIDE]}

    run(story)


def test_restart_extends_siblings_without_new_generation(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        await node.settled()
        node.start()
        before = node.generation()
        node.now += 60
        node.registered()
        await node.settled()
        assert node.ends() == [NOW + 660 + SLACK_S]
        assert node.generation() == before

    run(story)


def test_trunk_removed_is_not_looked_up(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        node.siblings.gone("acme")
        node.siblings.gone("acme")
        await node.settled()
        assert (node.live(), node.dns.asked) == ({}, [])

    run(story)


def test_name_without_addresses_is_looked_up_again(node: Node) -> None:
    async def story() -> None:
        removed = node.dns.answers.pop("provider.example")
        node.start()
        node.registered()
        await node.settled()
        assert node.live() == {}
        node.dns.answers["provider.example"] = removed
        node.now += module.AGAIN_S
        await node.settled()
        assert node.live() == {"acme": [BESIDE]}

    run(story)


def test_look_up_that_raises_is_repeated(node: Node) -> None:
    class Broken(Dns):
        async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
            found = await super().everywhere(server)
            if len(self.asked) == 1:
                raise RuntimeError("broken")
            return found

    async def story() -> None:
        node.dns = Broken()
        node.start()
        node.registered()
        await node.settled()
        node.now += module.AGAIN_S
        await node.settled()
        assert node.live() == {"acme": [BESIDE]}

    run(story)


def test_siblings_on_a_full_disk_are_written_later(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        with broken(node.directory.path, "INSERT ON address"):
            await node.settled()
        assert node.live() == {}
        await node.settled()
        assert node.live() == {"acme": [BESIDE]}

    run(story)


def test_siblings_of_one_trunk_are_limited(node: Node) -> None:
    async def story() -> None:
        node.start()
        for i in range(10):
            ips = tuple(f"192.0.2.{j}" for j in range(10 + 10 * i, 20 + 10 * i))
            node.dns.answers["provider.example"] = (ips, 300.0)
            node.registered(for_s=90_000)
            await node.settled()
            node.now += 300
        node.now -= 300
        assert len(node.live()["acme"]) == 16
        assert set(ips) - {str(OURS.ip)} <= set(node.live()["acme"]), "the newest are among them"

    run(story)


def test_former_server_becomes_a_sibling(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        await node.settled()
        node.registered(f"tls:{BESIDE}:5061")
        await node.settled()
        of = {str(a.ip): a for _, a in node.directory.addresses()}
        assert of[HERE].transport == "tls", "an address learned over TLS admits only TLS"
        assert of[BESIDE].expires_at == NOW + 600 + SLACK_S

    run(story)


def test_registrar_changed_looks_up_the_name_again(node: Node) -> None:
    """A server that was just replaced must not become a sibling of the new one."""

    async def story() -> None:
        node.dns.answers["provider.example"] = ((HERE,), 3600.0)
        node.start(TRUNK + BELL)
        node.registered()
        await node.settled()
        node.now += 1
        node.dns.answers["provider.example"] = ((THIRD,), 3600.0)
        node.registered(f"udp:{THIRD}:5060")
        await node.settled()
        assert node.live() == {}
        assert len(node.dns.asked) == 2, "once for both"
        node.now += 3600
        node.registered(f"udp:{THIRD}:5060")
        await node.settled()
        assert len(node.dns.asked) == 3

    run(story)


def test_not_in_dns_is_called_once_for_each_address(
    node: Node,
) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        await node.settled()
        assert node.unnamed == []
        for at in ("udp:192.0.2.77:5060", "udp:192.0.2.77:5070", "udp:192.0.2.78:5060"):
            for _ in range(3):
                node.now += 601
                node.registered(at)
                await node.settled()
        here = "provider.example"
        assert node.unnamed == [f"acme 192.0.2.77 {here}", f"acme 192.0.2.78 {here}"]
        node.registered()
        await node.settled()
        node.registered("udp:192.0.2.77:5060")
        await node.settled()
        assert len(node.unnamed) == 3

    run(story)


def test_not_in_dns_is_not_called_without_a_dns_answer(node: Node) -> None:
    async def story() -> None:
        node.dns.answers = {}
        node.start()
        node.registered("udp:192.0.2.77:5060")
        await node.settled()
        assert node.unnamed == []

    run(story)


def test_clock_stepped_moves_the_look_up_and_the_ends(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        await node.settled()
        node.now -= 3600
        node.siblings.clock_stepped(-3600, None)
        node.registered()
        await node.settled()
        assert len(node.dns.asked) == 1
        node.now += 600
        await node.settled()
        assert len(node.dns.asked) == 2
        assert node.now + 600 + SLACK_S in node.ends()

    run(story)
