"""Calls of phones behind NAT: requests of the dialog reach them at their source."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from testkit.sip import Endpoint, Message, place, reply
from testkit.stream import StreamEndpoint
from testkit.wait import eventually
from tests.contract.books import DOMAIN
from tests.contract.call import Call, connect, is_method
from tests.contract.scene import PASSWORD, Scene
from tests.contract.world import Caller, World

PRIVATE = "<sip:phone@192.168.77.20:5060>"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("nat"), tcp=True) as world:
        yield world


@pytest.fixture
def own_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A scene in a world of its own, which the test may restart."""
    with World(tmp_path_factory.mktemp("own"), tcp=True) as world, Scene(world) as scene:
        yield scene


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def register(scene: Scene, phone: Endpoint, user: str, contact: str = PRIVATE) -> None:
    answer = phone.register(scene.edge, user, PASSWORD, DOMAIN, contact=contact)
    assert answer.status == 200


def line(scene: Scene, contact: str = PRIVATE) -> tuple[str, Caller, Endpoint]:
    """Return a user, a trunk that calls it, and its phone behind NAT."""
    user, phone = scene.user(), scene.endpoint("nat")
    register(scene, phone, user, contact)
    return user, scene.trunk(user), phone


def passes_to(scene: Scene, phone: Endpoint, sender: Endpoint, request: Message) -> Message:
    """Send a request in a dialog; return it as it reaches the phone, which answers 200."""
    sender.send(request, scene.edge)
    arrived = phone.expect(is_method(request.method), what=f"{request.method} at the phone")
    phone.send(reply(arrived, 200), scene.edge)
    answer = sender.expect(lambda m: m["CSeq"] == request["CSeq"] and m.status >= 200)
    assert answer.status == 200
    return arrived


def test_requests_reach_a_phone_behind_nat_at_its_source(scene: Scene) -> None:
    _, trunk, phone = line(scene)
    call = connect(scene, trunk.at, phone, PRIVATE)
    for method in ("INFO", "BYE"):
        arrived = passes_to(scene, phone, trunk.at, call.from_caller(method))
        assert arrived.request_uri == PRIVATE.strip("<>")


def test_requests_of_a_phone_behind_nat_reach_the_trunk(scene: Scene) -> None:
    _, trunk, phone = line(scene)
    call = connect(scene, trunk.at, phone, PRIVATE)
    passes_to(scene, trunk.at, phone, call.from_phone("BYE"))


def test_phone_behind_nat_is_reached_after_a_restart(own_scene: Scene) -> None:
    _, trunk, phone = line(own_scene)
    call = connect(own_scene, trunk.at, phone, PRIVATE)
    own_scene.world.restart()
    passes_to(own_scene, phone, trunk.at, call.from_caller("INFO"))
    passes_to(own_scene, trunk.at, phone, call.from_phone("BYE"))


def test_source_in_a_cookie_cannot_be_changed(own_scene: Scene) -> None:
    scene = own_scene
    _, trunk, phone = line(scene)
    call = connect(scene, trunk.at, phone, PRIVATE)
    victim = scene.endpoint("victim")
    scene.world.restart()
    there = f"{victim.address[1]:04x}"
    octets = "".join(f"{int(octet):02x}" for octet in victim.address[0].split("."))
    forged = re.sub(r"(whence=[0-9a-f]+h[0-4])[0-9a-f]{12}", rf"\g<1>{octets}{there}", call.route)
    without = re.sub(r"(whence=[0-9a-f]+)h[0-9a-f]+", r"\1", call.route)
    assert len({forged, without, call.route}) == 3
    for route in (forged, without):
        assert trunk.at.ask(call.from_caller("INFO", route), scene.edge).status == 481
    assert scene.nothing_came(phone, victim)


def test_phone_that_moved_is_reached_where_it_registered(scene: Scene) -> None:
    user, trunk, phone = line(scene)
    call = connect(scene, trunk.at, phone, PRIVATE)
    moved = scene.endpoint("elsewhere")
    register(scene, moved, user)
    passes_to(scene, moved, trunk.at, call.from_caller("INFO"))
    passes_to(scene, trunk.at, moved, call.from_phone("BYE"))


def test_phone_is_reached_over_its_new_connection(scene: Scene, stack: ExitStack) -> None:
    """Its Contact has the port of the connection, so the new one has another Contact."""
    user, ip = scene.user(), scene.ip("tcp-phone")

    def connected() -> StreamEndpoint:
        phone = stack.enter_context(StreamEndpoint(ip))
        here = f"<sip:phone@192.168.77.20:{phone.address[1]};transport=tcp>"
        register(scene, phone, user, here)
        return phone

    first, trunk = connected(), scene.trunk(user)
    here = f"<sip:phone@192.168.77.20:{first.address[1]};transport=tcp>"
    call = connect(scene, trunk.at, first, here)
    eventually(lambda: scene.world.contacts(user), what="a contact")
    first.close()
    eventually(lambda: not scene.world.contacts(user), what="no contact")
    second = connected()
    passes_to(scene, second, trunk.at, call.from_caller("INFO"))


def test_request_to_a_lost_connection_gets_480(scene: Scene, stack: ExitStack) -> None:
    user = scene.user()
    phone = stack.enter_context(StreamEndpoint(scene.ip("tcp-phone")))
    here = "<sip:phone@192.168.77.20:5060;transport=tcp>"
    register(scene, phone, user, here)
    trunk = scene.trunk(user)
    call = connect(scene, trunk.at, phone, here)
    eventually(lambda: scene.world.contacts(user), what="a contact")
    phone.close()
    eventually(lambda: not scene.world.contacts(user), what="no contact")
    assert trunk.at.ask(call.from_caller("INFO"), scene.edge).status == 480


def test_phone_that_receives_at_another_port_is_reached_there(scene: Scene) -> None:
    """It sends from one port, and its Contact has its own address with another."""
    user, phone = scene.user(), scene.endpoint("phones")
    listens = scene.endpoint("phones")
    register(scene, phone, user, f"<sip:phone@{place(phone.address)}>")
    trunk = scene.trunk(user)
    call = connect_at(scene, trunk.at, phone, listens)
    passes_to(scene, listens, trunk.at, call.from_caller("INFO"))


def connect_at(scene: Scene, caller: Endpoint, phone: Endpoint, listens: Endpoint) -> Call:
    """Call; the Contact of the answer is another socket of the phone."""
    invite = scene.invite(caller)
    caller.send(invite, scene.edge)
    arrived = phone.expect(is_method("INVITE"), what="the call at the phone")
    contact = f"<sip:phone@{place(listens.address)}>"
    phone.send(reply(arrived, 200, headers=[("Contact", contact)]), scene.edge)
    answer = caller.expect(lambda m: m.status == 200, what="the answer")
    call = Call(caller, phone, invite, arrived, answer)
    caller.send(call.from_caller("ACK"), scene.edge)
    listens.expect(is_method("ACK"), what="the ACK")
    return call


@pytest.mark.parametrize("contact", ["own socket", "agent socket", "loopback", "name"])
def test_contact_of_a_phone_leads_only_to_the_phone(scene: Scene, contact: str) -> None:
    edge, agent = place(scene.edge), place(scene.agent_socket)
    chosen = {
        "own socket": f"<sip:phone@{edge}>",
        "agent socket": f"<sip:phone@{agent}>",
        "loopback": "<sip:phone@127.0.0.1:5060>",
        "name": "<sip:phone@never-answers.invalid>",
    }[contact]
    _, trunk, phone = line(scene, chosen)
    call = connect(scene, trunk.at, phone, chosen)
    passes_to(scene, phone, trunk.at, call.from_caller("INFO"))


def test_contact_of_a_trunk_is_not_replaced(scene: Scene) -> None:
    """Only a phone is reached at its source: a trunk's Contact says where its requests go."""
    trunk, phone = scene.line()
    elsewhere = scene.endpoint("provider")
    invite = scene.invite(trunk.at, contact=f"<sip:trunk@{place(elsewhere.address)}>")
    trunk.at.send(invite, scene.edge)
    arrived = phone.expect(is_method("INVITE"), what="the call at the phone")
    here = f"<sip:{place(phone.address)}>"
    phone.send(reply(arrived, 200, headers=[("Contact", here)]), scene.edge)
    answer = trunk.at.expect(lambda m: m.status == 200, what="the answer")
    call = Call(trunk.at, phone, invite, arrived, answer)
    phone.send(call.from_phone("BYE"), scene.edge)
    elsewhere.expect(is_method("BYE"), what="the BYE at the trunk's Contact")
