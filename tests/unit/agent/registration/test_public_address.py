"""The Contact follows an advertised name, or the address at which the trunk's registrar sees us."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.agent.registration.node import ACME, BELL, REGISTRAR, Dns, Node, run
from whence.agent.registration.public_address import MOVE_S
from whence.core.registration.model import State
from whence.core.sip.sockets import seen_place
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri

AUTO = '[edge]\nlisten = ["udp:192.168.1.10:5060"]\nadvertise = "auto"\n'
NAMED = AUTO.replace("auto", "sip.example.net")
OWN = ("192.168.1.10", 5060)
NAT = TransportAddress.parse("udp:203.0.113.7:1024")
OTHER_NAT = TransportAddress.parse("udp:203.0.113.8:1025")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.directory.close()


def places(node: Node, aor: str = "acct1") -> list[tuple[str, int | None]]:
    """Return the place of each Contact that a trunk has registered, and forget them."""
    return [
        (received.account.contact.host, received.account.contact.port)
        for received in node.registrar.take_received()
        if aor in received.aor
    ]


def place(address: TransportAddress) -> tuple[str, int]:
    return address.ip_text, address.port


def aor(node: Node, trunk_id: str) -> str:
    trunk, _ = node.registrations[trunk_id]
    return trunk.aor


def test_auto_registers_again_where_the_registrar_sees_us(node: Node) -> None:
    async def story() -> None:
        node.apply(AUTO + ACME)
        node.registrar.seen_at[aor(node, "acme")] = NAT
        await node.until(lambda: len(node.registrar.received) == 2)
        await node.until_quiet()
        first, second = node.registrar.received
        assert (first.account.contact.host, first.account.contact.port) == OWN
        assert second.account.former_contact == first.account.contact
        assert first.account.former_contact is None
        assert places(node) == [OWN, place(NAT)]
        node.registrations.bring_forward("acme")
        await node.until(lambda: len(node.registrar.received) == 1)
        assert node.registrar.received[0].account.former_contact is None
        assert places(node) == [place(NAT)]

    run(story)


def test_auto_moves_the_contact_of_no_other_trunk(node: Node) -> None:
    async def story() -> None:
        node.apply(AUTO + ACME + BELL)
        node.registrar.seen_at[aor(node, "acme")] = NAT
        await node.until(lambda: len(node.registrar.received) == 3)
        await node.until_quiet()
        of_bell = [a for a in node.registrar.received if a.aor == aor(node, "bell")]
        assert [(a.account.contact.host, a.account.contact.port) for a in of_bell] == [OWN]

    run(story)


@pytest.mark.parametrize("learn_from", ["asked", "any"])
def test_auto_ignores_a_reply_from_an_unexpected_address(node: Node, learn_from: str) -> None:
    async def story() -> None:
        node.registrar.accepts_at = TransportAddress.parse("udp:198.51.100.66:5060")
        node.apply(AUTO + ACME + f'learn_from = "{learn_from}"\n')
        node.registrar.seen_at[aor(node, "acme")] = NAT
        await node.until_all(State.REGISTERED)
        node.registrations.bring_forward("acme")
        await node.until(lambda: len(node.registrar.received) == 2)
        assert places(node) == [OWN, OWN]

    run(story)


def test_auto_with_changing_ports_registers_once_at_once(node: Node) -> None:
    async def story() -> None:
        node.apply(AUTO + ACME)
        seen = node.registrar.seen_at
        seen[aor(node, "acme")] = NAT
        await node.until(lambda: len(node.registrar.received) == 2)
        seen[aor(node, "acme")] = OTHER_NAT
        node.registrations.bring_forward("acme")
        await node.until(lambda: len(node.registrar.received) == 3)
        await node.until_quiet()
        assert places(node) == [OWN, place(NAT), place(NAT)]
        node.clock.now += MOVE_S
        node.registrations.bring_forward("acme")
        await node.until(lambda: len(node.registrar.received) == 1)
        await node.until_quiet()
        assert places(node) == [place(OTHER_NAT)]

    run(story)


class Names(Dns):
    """Gives the registrar for each server, and `answers` for the advertised name."""

    async def targets(self, server: Uri) -> tuple[TransportAddress, ...]:
        return (REGISTRAR,)


def test_name_is_resolved_again_and_moves_the_contact(node: Node) -> None:
    async def story() -> None:
        names = Names((NAT,))
        node.resolver = names
        node.agent()
        node.apply(NAMED + ACME)
        following = asyncio.create_task(node.registrations.follow_names())
        await node.until_all(State.REGISTERED)
        assert places(node) == [(NAT.ip_text, 5060)]
        following.cancel()
        names.answers = (OTHER_NAT,)
        following = asyncio.create_task(node.registrations.follow_names())
        await node.until(lambda: len(node.registrar.received) == 1)
        assert places(node) == [(OTHER_NAT.ip_text, 5060)]
        following.cancel()
        names.answers = ()
        following = asyncio.create_task(node.registrations.follow_names())
        await node.until_loop()
        node.registrations.bring_forward("acme")
        await node.until(lambda: len(node.registrar.received) == 1)
        assert places(node) == [(OTHER_NAT.ip_text, 5060)]
        following.cancel()

    run(story)


@pytest.mark.parametrize("ip", ["127.0.0.1", "0.0.0.0", "224.0.0.1", "169.254.0.1", "[::1]"])
def test_name_with_an_unusable_address_keeps_the_contact(node: Node, ip: str) -> None:
    async def story() -> None:
        names = Names((NAT,))
        node.resolver = names
        node.agent()
        node.apply(NAMED + ACME)
        following = asyncio.create_task(node.registrations.follow_names())
        await node.until_all(State.REGISTERED)
        following.cancel()
        node.registrar.take_received()
        names.answers = (TransportAddress.parse(f"udp:{ip}:5060"),)
        following = asyncio.create_task(node.registrations.follow_names())
        await node.until_loop()
        node.registrations.bring_forward("acme")
        await node.until(lambda: len(node.registrar.received) == 1)
        assert places(node) == [(NAT.ip_text, 5060)]
        following.cancel()

    run(story)


@pytest.mark.parametrize(
    ("socket", "seen", "expected"),
    [
        ("udp:192.168.1.10:5060", "udp:203.0.113.7:1024", ("203.0.113.7", 1024)),
        ("tcp:192.168.1.10:5060", "tcp:203.0.113.7:1024", ("203.0.113.7", 5060)),
        ("udp:192.168.1.10:5060", "udp:10.0.0.1:1024", ("10.0.0.1", 1024)),
        ("udp:127.0.0.1:5060", "udp:127.0.0.1:1024", ("127.0.0.1", 1024)),
        ("udp:192.168.1.10:5060", "udp:127.0.0.1:1024", None),
        ("udp:192.168.1.10:5060", "udp:0.0.0.0:1024", None),
        ("udp:192.168.1.10:5060", "udp:224.0.0.1:1024", None),
        ("udp:192.168.1.10:5060", "udp:255.255.255.255:1024", None),
        ("udp:192.168.1.10:5060", "udp:169.254.0.1:1024", None),
        ("udp:192.168.1.10:5060", "udp:[2001:db8::1]:1024", None),
    ],
)
def test_seen_place_is_an_address_that_can_be_ours(
    socket: str, seen: str, expected: tuple[str, int] | None
) -> None:
    assert seen_place(TransportAddress.parse(socket), TransportAddress.parse(seen)) == expected


# The socket of a trunk.

TWO = '[edge]\nlisten = ["udp:127.0.0.1:5060", "udp:127.0.0.2:5060"]\n'
SECOND = TransportAddress.parse("udp:127.0.0.2:5060")


def test_new_socket_of_trunk_registers_from_it_at_once(node: Node) -> None:
    async def story() -> None:
        node.apply(TWO + ACME)
        await node.until_all(State.REGISTERED)
        first = node.registrar.take_received()[-1].account.contact
        node.apply(TWO + ACME + f'socket = "{SECOND}"\n')
        await node.until(lambda: len(node.registrar.received) == 1)
        (received,) = node.registrar.received
        assert received.socket == SECOND
        assert received.account.contact.host == "127.0.0.2"
        assert received.account.former_contact == first

    run(story)


def test_refresh_after_restart_removes_no_other_contact(node: Node) -> None:
    """Before its first REGISTER an agent only guesses the Contact: it may be one of the inside."""

    async def story() -> None:
        text = TWO + ACME + f'socket = "{SECOND}"\n'
        node.apply(text)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        node.agent()
        node.apply(text.replace(f'socket = "{SECOND}"\n', ""))
        node.registrations.bring_forward("acme")
        await node.until(lambda: len(node.registrar.received) == 1)
        assert node.registrar.received[0].account.former_contact is None

    run(story)
