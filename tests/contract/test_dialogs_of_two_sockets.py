"""Kamailio itself checks dialogs that come by one of several sockets, and leave by another."""

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from testkit.network import SIP_PORT
from testkit.sip import Address, Endpoint, Message, place, reply
from tests.contract import handler_trace
from tests.contract.books import DOMAIN
from tests.contract.call import is_method
from tests.contract.far_calls import FORMS, NEAR, FarCall, Form, Party, call
from tests.contract.public_world import PublicWorld, public_world
from tests.contract.scene import PASSWORD, Scene

FAR = FORMS["two proxies"]


def inside(world: PublicWorld) -> Address:
    """Return the second socket of the edge."""
    return str(IPv4Address(world.edge[0]) + 100), SIP_PORT


@pytest.fixture(scope="module", params=[True, False], ids=["native", "python"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PublicWorld]:
    """A Kamailio with two sockets. Dialogs of the simple form are Kamailio's own, or Python's."""
    folder = tmp_path_factory.mktemp("sockets")
    with public_world(
        folder,
        simple_dialogs=request.param,
        parameters=handler_trace.parameters(folder),
        listen=["udp:{edge}", "udp:198.18.1.101:5060"],
    ) as world:
        assert inside(world)[0] == "198.18.1.101"
        yield world


def parties(scene: Scene, at: Address) -> tuple[Party, Party]:
    """Return a trunk's machines, and those of a phone that has registered at a socket."""
    user = scene.user()
    phone = scene.endpoint("phones")
    assert phone.register(at, user, PASSWORD, DOMAIN).status == 200
    return Party.of(scene, scene.trunk(user).at), Party.of(scene, phone)


def passes(scene: Scene, made: FarCall, ask: Message, sender: Party, at: Address) -> Message:
    """Send a request of a dialog to a socket, answer it, and return it as it arrived."""
    sender.at.send(ask, at)
    hop = made.hop(sender)
    arrived = hop.expect(is_method(ask.method))
    assert arrived.source is not None
    hop.send(reply(arrived, 200), arrived.source)
    assert sender.at.expect(lambda m: m.status >= 200 and m["CSeq"] == ask["CSeq"]).status == 200
    return arrived


@pytest.mark.parametrize("by", ["one", "both"])
@pytest.mark.parametrize("forms", [(NEAR, NEAR), (FAR, FAR)], ids=["near", "far"])
def test_dialog_goes_by_the_sockets_of_its_call(
    scene: Scene,
    world: PublicWorld,
    forms: tuple[Form, Form],
    by: str,
    request: pytest.FixtureRequest,
) -> None:
    there = inside(world) if by == "both" else scene.edge
    caller, callee = parties(scene, there)
    scene.await_edge()
    since = len(world.process.log)
    made = call(scene, caller, callee, forms)
    assert made.arrived.source == there
    ours = [one for one in made.arrived.all("Record-Route") if "whence=" in one]
    assert [one.partition(";")[0] for one in ours] == [
        f"<sip:{ip}" for ip in ([there[0], scene.edge[0]] if by == "both" else [there[0]])
    ]
    arrived = passes(scene, made, made.from_caller("BYE"), caller, scene.edge)
    assert arrived.source == there
    assert arrived.all("Route") == forms[1].routes(callee.places)
    if "native" in request.node.name:
        called = set(handler_trace.called(world, since))
        assert called - {"ksr_look_out"} == {"ksr_look", "ksr_initial", "ksr_reply"}


@pytest.mark.parametrize("forms", [(NEAR, NEAR), (FAR, FAR)], ids=["near", "far"])
def test_callee_reaches_the_caller_by_its_socket(
    scene: Scene, world: PublicWorld, forms: tuple[Form, Form]
) -> None:
    caller, callee = parties(scene, inside(world))
    made = call(scene, caller, callee, forms)
    for method in ("INFO", "BYE"):
        arrived = passes(scene, made, made.from_callee(method, 2), callee, inside(world))
        assert arrived.source == scene.edge
        assert arrived.all("Route") == forms[0].routes(caller.places)
    made = call(scene, caller, callee, forms)
    world.restart()
    passes(scene, made, made.from_callee("INFO"), made.callee, inside(world))
    passes(scene, made, made.from_caller("BYE"), made.caller, scene.edge)


def changed_routes(ask: Message, victim: Endpoint) -> Iterator[Message]:
    """Yield the request with other Routes of ours."""
    routes = ask.all("Route")
    bad = f"<sip:{place(victim.address)};lr>"
    for some in (
        routes[1:],
        routes[::-1],
        [*routes[:1], *routes[:1]],
        [routes[0], bad, *routes[1:]],
        [bad, *routes],
        [*routes, bad],
        [routes[0].replace(";r2=on", "").replace("<sip:", f"<sip:{victim.address[0]}", 1)],
    ):
        fields = [(n, v) for n, v in ask.headers if n != "Route"]
        yield Message(ask.start_line, (*fields[:-1], *(("Route", one) for one in some), fields[-1]))


def test_request_with_other_routes_of_ours_leads_nowhere_else(
    scene: Scene, world: PublicWorld
) -> None:
    caller, callee = parties(scene, inside(world))
    made, victim = call(scene, caller, callee, (FAR, FAR)), scene.endpoint("victim")
    for ask, sender, receiver, at in (
        (made.from_caller("INFO"), caller, callee, scene.edge),
        (made.from_callee("INFO"), callee, caller, inside(world)),
    ):
        for changed in changed_routes(ask, victim):
            sender.at.send(changed, at)
        scene.await_edge()
        for machine in receiver.machines():
            hop = machine is made.hop(sender)
            assert hop or scene.nothing_came(machine)
    assert scene.nothing_came(victim)
