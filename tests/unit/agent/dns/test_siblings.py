"""Siblings appear with a registration, are extended with DNS, and end with either."""

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
    """Says what it is told to, and counts how often it is asked."""

    def __init__(self) -> None:
        self.says: dict[str, tuple[tuple[str, ...], float]] = {
            "provider.example": ((HERE, BESIDE), 600.0)
        }
        self.asked: list[str] = []

    async def everywhere(self, server: Uri) -> tuple[tuple[TransportAddress, ...], float]:
        self.asked.append(server.host)
        ips, ttl_s = self.says.get(server.host, ((), 0.0))
        return tuple(TransportAddress(Transport.UDP, canonical_ip(ip), 5060) for ip in ips), ttl_s


class Node:
    """A directory, and the siblings in it, with a clock that stands until it is put on."""

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
        """Let every trunk be registered."""
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
        """Let it do all that it can do now."""
        running = asyncio.create_task(self.siblings.run())
        for _ in range(200):
            await asyncio.sleep(0)
        running.cancel()

    def live(self) -> dict[str, list[str]]:
        """Trunk id → the ips of its siblings that stand now."""
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


def tell(story: Story) -> None:
    asyncio.run(story())


def test_what_is_unregistered_during_a_refresh_gets_no_sibling_anew(node: Node) -> None:
    """Something is granted until the registrar has heard; but it is not to be admitted any more."""

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

    tell(story)


def test_siblings_stand_beside_a_registration_as_long_as_the_answer_counts(node: Node) -> None:
    async def story() -> None:
        node.start()
        await node.settled()
        assert (node.live(), node.dns.asked) == ({}, []), "nobody is registered"
        node.registered()
        await node.settled()
        assert node.live() == {"acme": [BESIDE]}
        assert node.ends() == [NOW + 600 + SLACK_S]
        node.now += 600 + SLACK_S
        assert node.live() == {}

    tell(story)


def test_a_name_is_looked_up_again_in_its_time_and_what_it_still_names_lives_on(
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
        assert node.generation() == before, "it only lives longer"

        node.dns.says["provider.example"] = ((HERE, THIRD), 600.0)
        node.now += 600
        await node.settled()
        assert node.live() == {"acme": [BESIDE, THIRD]}, "the old one to its end"
        assert node.generation() != before
        node.now += SLACK_S
        assert node.live() == {"acme": [THIRD]}

    tell(story)


@pytest.mark.parametrize(("ttl_s", "counts_s"), [(0, 300), (300, 300), (9e9, 3600)])
def test_a_ttl_counts_within_bounds(node: Node, ttl_s: float, counts_s: float) -> None:
    async def story() -> None:
        node.dns.says["provider.example"] = ((BESIDE,), ttl_s)
        node.start()
        node.registered(for_s=90_000)
        await node.settled()
        assert node.ends() == [NOW + counts_s + SLACK_S]

    tell(story)


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

    tell(story)


def test_what_is_unregistered_has_no_siblings_from_that_moment(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        await node.settled()
        back = Registration("acme", "call-1", state=State.UNREGISTERING)
        node.directory.save(AccountKey("acct1"), back, [ForgetAddresses()], OURS, node.now)
        node.siblings.changed(node_settings(node.settings).trunks[0], back)
        assert node.live() == {}
        await node.settled()
        node.now += 3600
        await node.settled()
        assert node.live() == {}
        assert len(node.dns.asked) == 1, "nobody wants to know any more"

    tell(story)


def test_a_name_is_asked_for_once_for_all_its_trunks(node: Node) -> None:
    trunks = [TRUNK.replace("acme", f"acme-{i}") for i in range(250)]

    async def story() -> None:
        node.start("".join(trunks))
        node.registered()
        await node.settled()
        assert node.dns.asked == ["provider.example"]
        assert len(node.live()) == 250

    tell(story)


def test_the_outbound_proxys_name_counts_too_and_literal_addresses_have_none(node: Node) -> None:
    async def story() -> None:
        node.dns.says["proxy.example"] = ((THIRD,), 900.0)
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

    tell(story)


def test_who_does_not_follow_dns_has_no_siblings_and_nobody_is_asked(node: Node) -> None:
    async def story() -> None:
        node.start(TRUNK + "follow_dns = false\n")
        node.registered()
        await node.settled()
        assert (node.live(), node.dns.asked) == ({}, [])

    tell(story)


def test_a_new_file_is_heeded_at_once(node: Node) -> None:
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

    tell(story)


def test_after_a_restart_what_stands_goes_on_and_the_generation_stays(node: Node) -> None:
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

    tell(story)


def test_a_trunk_that_is_gone_is_forgotten(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        node.siblings.gone("acme")
        node.siblings.gone("acme")
        await node.settled()
        assert (node.live(), node.dns.asked) == ({}, [])

    tell(story)


def test_a_name_of_which_nothing_is_found_is_asked_for_again(node: Node) -> None:
    async def story() -> None:
        says = node.dns.says.pop("provider.example")
        node.start()
        node.registered()
        await node.settled()
        assert node.live() == {}
        node.dns.says["provider.example"] = says
        node.now += module.AGAIN_S
        await node.settled()
        assert node.live() == {"acme": [BESIDE]}

    tell(story)


def test_a_resolver_that_breaks_is_asked_again(node: Node) -> None:
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

    tell(story)


def test_what_cannot_be_written_down_is_written_later(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        with broken(node.directory.path, "INSERT ON address"):
            await node.settled()
        assert node.live() == {}
        await node.settled()
        assert node.live() == {"acme": [BESIDE]}

    tell(story)


def test_however_often_dns_names_others_a_trunk_has_a_few(node: Node) -> None:
    async def story() -> None:
        node.start()
        for i in range(10):
            ips = tuple(f"192.0.2.{j}" for j in range(10 + 10 * i, 20 + 10 * i))
            node.dns.says["provider.example"] = (ips, 300.0)
            node.registered(for_s=90_000)
            await node.settled()
            node.now += 300
        node.now -= 300
        assert len(node.live()["acme"]) == 16
        assert set(ips) - {str(OURS.ip)} <= set(node.live()["acme"]), "the newest are among them"

    tell(story)


def test_where_a_trunk_registers_elsewhere_its_former_server_is_a_sibling(node: Node) -> None:
    async def story() -> None:
        node.start()
        node.registered()
        await node.settled()
        node.registered(f"tls:{BESIDE}:5061")
        await node.settled()
        of = {str(a.ip): a for _, a in node.directory.addresses()}
        assert of[HERE].transport == "tls", "what it learned over TLS is not widened"
        assert of[BESIDE].expires_at == NOW + 600 + SLACK_S

    tell(story)


def test_who_registers_elsewhere_hears_what_dns_says_now(node: Node) -> None:
    """Else a server that has just been given up would be a sibling of the new one."""

    async def story() -> None:
        node.dns.says["provider.example"] = ((HERE,), 3600.0)
        node.start(TRUNK + BELL)
        node.registered()
        await node.settled()
        node.now += 1
        node.dns.says["provider.example"] = ((THIRD,), 3600.0)
        node.registered(f"udp:{THIRD}:5060")
        await node.settled()
        assert node.live() == {}
        assert len(node.dns.asked) == 2, "once for both"
        node.now += 3600
        node.registered(f"udp:{THIRD}:5060")
        await node.settled()
        assert len(node.dns.asked) == 3

    tell(story)


def test_a_server_that_dns_does_not_name_is_told_once_and_again_when_it_is_another(
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

    tell(story)


def test_where_dns_says_nothing_no_server_is_called_strange(node: Node) -> None:
    async def story() -> None:
        node.dns.says = {}
        node.start()
        node.registered("udp:192.0.2.77:5060")
        await node.settled()
        assert node.unnamed == []

    tell(story)
