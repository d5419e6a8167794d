"""Test the sources that are learned: next hop, DNS, `networks`, `learn_from = "any"`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from testkit.directory import install
from tests.unit.agent.registration.node import ACME, NOW, Dns, Node, run
from whence.core.identification.explain import nearest
from whence.core.identification.identify import identify
from whence.core.identification.request import Request
from whence.core.monitoring import alarms
from whence.core.registration.events import IgnoreReply
from whence.core.registration.history import HistoryEvent
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.errors import ConfigError
from whence.store.directory import Directory
from whence.store.learning import FORMER_S
from whence.store.statements import IGNORED_LIMIT

HERE, BESIDE = "192.0.2.1", "192.0.2.2"
IMPOSTOR = TransportAddress.parse("udp:192.0.2.66:5060")


def learned(node: Node) -> list[tuple[str, str]]:
    """Return (ip, why it was learned) of each address."""
    return [(str(a.ip), a.ground) for _, a in node.directory.addresses() if a.origin == "learned"]


def explained(directory: Directory, source: TransportAddress, now: float) -> str:
    """Return the nearest trunk to a call from `source`, as text."""
    request = Request(source, Uri("sip", "x", "198.51.100.1", None))
    evidence = directory.evidence(request, now)
    decision = identify(request, evidence, now)
    return str(nearest(request, decision, directory.neighbours(request, evidence), now))


def test_grant_by_unexpected_source_is_an_alarm(node: Node) -> None:
    happened: list[tuple[str, HistoryEvent]] = []

    class Observer:
        def happened(self, trunk_id: str, events: Sequence[HistoryEvent]) -> None:
            happened.extend((trunk_id, event) for event in events)

    async def story() -> None:
        node.history_observers.append(Observer())
        node.agent()
        node.registrar.accepts_at = IMPOSTOR
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        assert node.addresses == []
        assert node.of["acme"].registrar is None
        raised = [alarms.of_history(id_, event) for id_, event in happened]
        (alarm,) = [one for one in raised if one is not None]
        assert (alarm.kind, alarm.trunk) == (alarms.AlarmKind.UNEXPECTED_REPLY, "acme")
        assert str(IMPOSTOR) in alarm.message and f"udp:{HERE}:5060" in alarm.message
        text = explained(node.directory, IMPOSTOR, NOW + 60)
        assert text.startswith(
            f"acme: a reply to its REGISTER came from {IMPOSTOR.ip} 1 min 0 s ago"
        )
        assert "networks" in text and 'learn_from = "any"' in text

    run(story)


def test_refresh_by_unexpected_source_keeps_the_address(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        before = node.addresses
        node.registrar.accepts_at = IMPOSTOR
        node.clock.now += 600
        node.registrations.orders.want("acme")
        await node.until(lambda: node.of["acme"].unexpected == IMPOSTOR)
        assert node.addresses == before
        assert node.of["acme"].registrar == TransportAddress.parse(f"udp:{HERE}:5060")
        node.agent()
        node.apply(ACME)  # a restart
        await node.until_loop()
        assert node.addresses == before
        assert node.of["acme"].unexpected == IMPOSTOR
        assert node.of["acme"].learned_until == NOW + 3600

    run(story)


@pytest.mark.parametrize("name", ["registrar", "proxy"])
def test_grant_by_address_in_dns_is_learned(node: Node, name: str) -> None:
    async def story() -> None:
        node.resolver = Dns(
            (
                TransportAddress.parse(f"udp:{HERE}:5060"),
                TransportAddress.parse(f"udp:{BESIDE}:5060"),
            )
        )
        node.agent()
        node.registrar.accepts_at = TransportAddress.parse(f"udp:{BESIDE}:6000")
        servers = {
            "registrar": 'registrar = "sip:provider.example"',
            "proxy": 'registrar = "sip:192.0.2.9"\nproxy = "sip:proxy.example"',
        }
        node.apply(ACME.replace(f'registrar = "sip:{HERE}"', servers[name]))
        await node.until_all(State.REGISTERED)
        assert learned(node) == [(BESIDE, "dns")]

    run(story)


def test_grant_by_address_not_in_dns_learns_nothing(node: Node) -> None:
    async def story() -> None:
        dns = Dns((TransportAddress.parse(f"udp:{HERE}:5060"),))
        node.resolver = dns
        node.agent()
        node.registrar.accepts_at = TransportAddress.parse(f"udp:{BESIDE}:5060")
        node.apply(ACME.replace(f"sip:{HERE}", "sip:provider.example"))
        await node.until_all(State.REGISTERED)
        assert node.addresses == []

    run(story)


NETWORKS = f'networks = ["{IMPOSTOR.ip}/32"]\n'
WITH_PORT = f'networks = [{{network = "{IMPOSTOR.ip}", port = 5060}}]\n'


@pytest.mark.parametrize(
    ("more", "ground", "exact"),
    [
        ('learn_from = "any"\n', "any", False),
        (NETWORKS, "networks", False),
        (WITH_PORT, "networks", True),
    ],
)
def test_source_permitted_by_settings_ends_with_them(
    node: Node, more: str, ground: str, exact: bool
) -> None:
    async def story() -> None:
        node.registrar.accepts_at = IMPOSTOR
        node.apply(ACME + more)
        await node.until_all(State.REGISTERED)
        assert learned(node) == [(str(IMPOSTOR.ip), ground)]
        (address,) = [a for _, a in node.directory.addresses() if a.origin == "learned"]
        assert address.exact == exact
        asked = len(node.registrar.received)
        node.apply(ACME + more)
        await node.until_quiet()
        assert learned(node) == [(str(IMPOSTOR.ip), ground)]
        assert len(node.registrar.received) == asked, "nothing changed"
        node.apply(ACME)
        assert node.addresses == []
        assert not node.of["acme"].admits(node.clock.now)
        await node.until(lambda: node.of["acme"].unexpected == IMPOSTOR)
        assert node.addresses == []
        node.apply(ACME + more)  # permitted again: it registers at once, and is learned
        await node.until(lambda: bool(learned(node)))

    run(story)


def test_source_no_longer_permitted_ends_at_a_restart(node: Node) -> None:
    async def story() -> None:
        node.registrar.accepts_at = IMPOSTOR
        node.apply(ACME + 'learn_from = "any"\n')
        await node.until_all(State.REGISTERED)
        node.agent()
        node.apply(ACME)
        assert node.addresses == []
        assert not node.of["acme"].admits(node.clock.now)
        assert node.of["acme"].next_at == node.clock.now

    run(story)


def test_ignored_replies_are_bounded_and_removed(node: Node) -> None:
    install(node.directory, node.settings(ACME), NOW)
    for i in range(3 * IGNORED_LIMIT):
        source = TransportAddress.parse(f"udp:192.0.2.{100 + i}:5060")
        ignored = [IgnoreReply(source, f"udp:{HERE}:5060")]
        here = TransportAddress.parse("udp:192.0.2.9:5060")
        node.directory.save(AccountKey("x"), Registration("acme", "c"), ignored, here, NOW + i)
    newest = TransportAddress.parse(f"udp:192.0.2.{99 + 3 * IGNORED_LIMIT}:5060")
    assert "a reply to its REGISTER" in explained(node.directory, newest, NOW + 60)
    oldest = TransportAddress.parse("udp:192.0.2.100:5060")
    assert "a reply to its REGISTER" not in explained(node.directory, oldest, NOW + 60)
    node.directory.drop_expired(NOW + 60 + FORMER_S)
    assert "a reply to its REGISTER" not in explained(node.directory, newest, NOW + 60)


def test_learn_from_unknown_value_is_a_fault(node: Node) -> None:
    with pytest.raises(ConfigError) as error:
        node.settings(ACME + f"learn_from = {json.dumps('all')}\n")
    assert "learn_from" in str(error.value.faults)
