"""Requests of a dialog go from one party to the other, while the call lasts."""

import re
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from testkit.sip import Endpoint, Message, place, reply, request
from testkit.stream import StreamEndpoint
from tests.contract.books import DOMAIN
from tests.contract.call import Call, cancel, connect, is_method, refuse, ring
from tests.contract.scene import PASSWORD, Scene
from tests.contract.world import World, questions
from whence.core.sip.transport_address import TransportAddress

METHODS = ["BYE", "INFO", "INVITE", "MESSAGE", "OPTIONS", "REFER", "UPDATE", "ACK", "ODD"]


@pytest.fixture(scope="module", params=[True, False], ids=["native", "python"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A Kamailio whose name server never answers, with TCP too.

    Dialogs of the simple form are Kamailio's own, or Python's.
    """
    folder = tmp_path_factory.mktemp("bounds")
    with World(folder, nameserver=True, tcp=True, simple_dialogs=request.param) as world:
        yield world


def no_questions(world: World) -> bool:
    """Return whether no worker has sent a DNS query."""
    return not questions(world)


def to(message: Message, uri: str) -> Message:
    """Send a request to another Request-URI."""
    return Message(message.start_line.replace(message.request_uri, uri, 1), message.headers)


def refused(scene: Scene, sender: Endpoint, ask: Message) -> bool:
    """Return whether a request gets a 481 or 400; an ACK gets no answer."""
    sender.send(ask, scene.edge)
    answers = [m.status for m in scene.came(sender) if m["CSeq"] == ask["CSeq"]]
    return answers in ([[]] if ask.method == "ACK" else [[481], [400], [416]])


def passes(scene: Scene, ask: Message, sender: Endpoint, receiver: Endpoint) -> Message:
    """Send a request of a dialog, answer it, and return it as it arrived."""
    sender.send(ask, scene.edge)
    arrived = receiver.expect(lambda m: m.method == ask.method and not m.is_reply)
    at = f"<sip:{place(receiver.address)}>"
    receiver.send(reply(arrived, 200, headers=[("Contact", at)]), scene.edge)
    answer = sender.expect(lambda m: m.status >= 200 and m["CSeq"] == ask["CSeq"])
    assert answer.status == 200
    return arrived


@pytest.mark.parametrize("method", METHODS)
def test_party_sends_nothing_elsewhere(scene: Scene, method: str) -> None:
    trunk, phone = scene.line()
    call, victim = connect(scene, trunk.at, phone), scene.endpoint("victim")
    with socket.create_server((victim.address[0], 0)) as tcp:
        tcp.setblocking(False)
        there, by_tcp = place(victim.address), place(tcp.getsockname()[:2])
        elsewhere = [
            f"sip:x@{there}",
            f"sip:x@{by_tcp};transport=tcp",
            f"sips:x@{by_tcp}",
            f"sip:x@{place(phone.address)};maddr={victim.address[0]}",
            f"sip:x@{place(phone.address)};transport=tcp",
            f"sip:{place(phone.address)};x@{there}",
            "sip:x@never-answers.example",
            "sip:x@never-answers.example:5070;transport=tcp",
            f"sip:{scene.edge[0]}:{scene.agent_socket[1]}",
            f"sip:{place(scene.edge)}",
            "tel:+4420",
        ]
        for uri in elsewhere:
            assert refused(scene, trunk.at, to(call.from_caller(method), uri)), uri
            assert refused(scene, phone, to(call.from_phone(method), uri)), uri
        with pytest.raises(BlockingIOError):
            tcp.accept()
    assert scene.nothing_came(victim, trunk.at, phone)
    assert no_questions(scene.world)


@pytest.mark.parametrize("method", METHODS)
def test_party_sends_nothing_by_a_further_route(scene: Scene, method: str) -> None:
    trunk, phone = scene.line()
    call, victim = connect(scene, trunk.at, phone), scene.endpoint("victim")
    for host in (place(victim.address), "never-answers.example", place(scene.edge)):
        for more in (f", <sip:{host};lr>", f",<sip:{host}>", f", x <sip:{host};lr>"):
            for route in (call.route + more, more.strip(" ,") + "," + call.route):
                assert refused(scene, trunk.at, call.from_caller(method, route)), route
        further = [("Route", f"<sip:{host};lr>")]
        assert refused(scene, trunk.at, call.from_caller(method, headers=further))
        assert refused(scene, phone, call.from_phone(method, headers=further))
    assert scene.nothing_came(victim, phone, trunk.at)
    assert no_questions(scene.world)


def test_request_of_a_third_party_is_refused(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    for who in (scene.endpoint(), scene.trunk("alice", at="another").at):
        for method in METHODS:
            for ask in (call.from_caller(method), call.from_phone(method)):
                own = re.sub(r"127\.\d+\.\d+\.\d+:\d+", place(who.address), ask["Via"], count=1)
                fields = [(n, own if n == "Via" else v) for n, v in ask.headers]
                assert refused(scene, who, Message(ask.start_line, tuple(fields)))
    assert scene.nothing_came(trunk.at, phone)


def test_party_reaches_the_other_one_only(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    itself = replace(call, caller=phone, phone=trunk.at)
    assert refused(scene, phone, itself.from_caller("INFO"))
    assert refused(scene, trunk.at, itself.from_phone("INFO"))
    passes(scene, call.from_caller("INFO"), trunk.at, phone)
    passes(scene, call.from_phone("INFO"), phone, trunk.at)


@pytest.mark.parametrize("status", [200, 481, 408])
def test_dialog_ends_with_its_bye(scene: Scene, status: int) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    bye = call.from_phone("BYE")
    phone.send(bye, scene.edge)
    arrived = trunk.at.expect(lambda m: m.method == "BYE")
    trunk.at.send(reply(arrived, status), scene.edge)
    assert phone.receive().status == status
    phone.send(bye, scene.edge)
    assert phone.receive().status == status  # the repeated request gets its answer again
    for method in METHODS:
        assert refused(scene, trunk.at, call.from_caller(method))
        assert refused(scene, phone, call.from_phone(method))
    assert scene.nothing_came(trunk.at, phone)


def test_challenged_bye_keeps_the_dialog(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    phone.send(call.from_phone("BYE"), scene.edge)
    arrived = trunk.at.expect(lambda m: m.method == "BYE")
    trunk.at.send(reply(arrived, 401), scene.edge)
    assert phone.receive().status == 401
    passes(scene, call.from_phone("BYE"), phone, trunk.at)


def test_refused_or_cancelled_call_has_no_dialog(scene: Scene) -> None:
    trunk, phone = scene.line()
    for cancelled in (False, True):
        invite = scene.invite(trunk.at)
        arrived = ring(scene, trunk.at, phone, invite)
        if cancelled:
            trunk.at.send(cancel(invite), scene.edge)
            phone.send(reply(phone.expect(lambda m: m.method == "CANCEL"), 200), scene.edge)
        refuse(scene, phone, arrived, 487)
        answer = trunk.at.expect(lambda m: m.status == 487)
        with_contact = Message(answer.start_line, (*answer.headers, ("Contact", "<sip:a@b>")))
        call = Call(trunk.at, phone, invite, arrived, with_contact)
        for method in METHODS:
            assert refused(scene, phone, call.from_phone(method))
    assert not [m for m in scene.came(trunk.at) if m.method in METHODS and not m.is_reply]


def test_refreshed_contact_is_followed(scene: Scene) -> None:
    trunk, phone = scene.line()
    for method in ("INVITE", "UPDATE"):
        call = connect(scene, trunk.at, phone)
        elsewhere = scene.endpoint("provider")
        uri = f"sip:new@{place(elsewhere.address)}"
        assert refused(scene, phone, to(call.from_phone("INFO"), uri))
        ask = call.from_caller(method)
        fields = [f for f in ask.headers if f[0] != "Contact"] + [("Contact", f"<{uri}>")]
        passes(scene, Message(ask.start_line, tuple(fields)), trunk.at, phone)
        passes(scene, to(call.from_phone("INFO"), uri), phone, elsewhere)
        # The answer to a refresh has a Contact, too.
        moved = scene.endpoint("provider")
        ask = to(call.from_phone(method), uri)
        fields = [f for f in ask.headers if f[0] != "Contact"]
        fields.append(("Contact", f"<sip:{place(phone.address)}>"))
        phone.send(Message(ask.start_line, tuple(fields)), scene.edge)
        arrived = elsewhere.expect(is_method(method))
        there = f"sip:{place(moved.address)}"
        trunk.at.send(reply(arrived, 200, headers=[("Contact", f"<{there}>")]), scene.edge)
        assert phone.expect(lambda m: m.status == 200)
        passes(scene, to(call.from_phone("INFO"), there), phone, moved)


def test_contact_may_change_its_user(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    uri = f"sip:another;odd=yes@{place(trunk.at.address)};ob"
    arrived = passes(scene, to(call.from_phone("INFO"), uri), phone, trunk.at)
    assert arrived.request_uri == uri


def called_with(scene: Scene, trunk: Endpoint, phone: Endpoint, contact: str) -> Call:
    """Return a call whose INVITE has this Contact."""
    invite = scene.invite(trunk, contact=f"<{contact}>")
    arrived = ring(scene, trunk, phone, invite)
    at = f"<sip:{place(phone.address)}>"
    phone.send(reply(arrived, 200, headers=[("Contact", at)]), scene.edge)
    return Call(trunk, phone, invite, arrived, trunk.expect(lambda m: m.status == 200))


def test_contact_at_a_place_of_no_party_is_ignored(scene: Scene) -> None:
    """Places: loopback without the party, our own sockets, addresses that no host can have."""
    trunk, phone = scene.line()
    victim = scene.endpoint("victim")
    with socket.create_server((victim.address[0], 0)) as tcp:
        tcp.setblocking(False)
        contacts = [
            f"sip:x@{place(victim.address)}",
            f"sip:x@{place(tcp.getsockname()[:2])};transport=tcp",
            f"sip:x@[::ffff:{victim.address[0]}]:{victim.address[1]}",
            f"sip:x@{place(scene.edge)}",
            f"sip:x@{place(scene.agent_socket)}",
            f"sip:x@{place(scene.edge)};transport=tcp",
            "sip:x@0.0.0.0:5060",
            "sip:x@[::1]:5060",
            "sip:x@224.0.0.1",
            "sip:x@255.255.255.255",
            f"sip:x@{place(trunk.at.address)};maddr={victim.address[0]}",
            f"sip:x@{place(trunk.at.address)};transport=sctp",
        ]
        for contact in contacts:
            call = called_with(scene, trunk.at, phone, contact)
            assert call.arrived["Contact"] == f"<{contact}>"
            assert refused(scene, phone, call.from_phone("INFO")), contact
            passes(scene, call.from_caller("BYE"), trunk.at, phone)
        with pytest.raises(BlockingIOError):
            tcp.accept()
    assert scene.nothing_came(victim)


@pytest.mark.parametrize("name", ["never-answers.example", "never-answers.example:5070", "127.1"])
def test_contact_with_a_host_name_leads_to_its_source(scene: Scene, name: str) -> None:
    trunk, phone = scene.line()
    call = called_with(scene, trunk.at, phone, f"sip:x@{name}")
    arrived = passes(scene, call.from_phone("INFO"), phone, trunk.at)
    assert arrived.request_uri == f"sip:x@{name}"
    # The same for the phone.
    invite = scene.invite(trunk.at)
    rang = ring(scene, trunk.at, phone, invite)
    phone.send(reply(rang, 200, headers=[("Contact", f"<sip:y@{name}>")]), scene.edge)
    call = Call(trunk.at, phone, invite, rang, trunk.at.expect(lambda m: m.status == 200))
    trunk.at.send(call.from_caller("ACK"), scene.edge)
    assert phone.expect(lambda m: m.method == "ACK").request_uri == f"sip:y@{name}"
    passes(scene, call.from_caller("BYE"), trunk.at, phone)
    assert no_questions(scene.world)


def test_contact_with_a_host_name_over_tcp_uses_the_connection(scene: Scene) -> None:
    trunk, phone = scene.line()
    with StreamEndpoint(trunk.at.address[0]) as caller:
        invite = caller.request(
            "INVITE", scene.uri("+4420"), contact="<sip:x@never-answers.example;transport=tcp>"
        )
        arrived = ring(scene, caller, phone, invite)
        at = f"<sip:{place(phone.address)}>"
        phone.send(reply(arrived, 200, headers=[("Contact", at)]), scene.edge)
        answer = caller.expect(lambda m: m.status == 200)
        call = Call(caller, phone, invite, arrived, answer)
        phone.send(call.from_phone("BYE"), scene.edge)
        assert caller.expect(lambda m: m.method == "BYE" and not m.is_reply)
    assert no_questions(scene.world)


def test_route_sets_of_both_sides_are_followed(scene: Scene) -> None:
    trunk, phone = scene.line()
    near, far = (scene.endpoint(machine) for machine in ("provider", "phones"))
    invite = scene.invite(
        trunk.at,
        contact="<sip:caller@192.0.2.77:5060>",
        headers=[
            ("Record-Route", f"<sip:{place(near.address)};lr>, <sip:proxy.example;lr;x=y>"),
            ("Record-Route", "<sip:192.0.2.78;lr>"),
        ],
    )
    arrived = ring(scene, trunk.at, phone, invite)
    recorded = [("Record-Route", f"<sip:192.0.2.99;lr>,<sip:{place(far.address)};lr>")]
    answer = reply(arrived, 200, headers=[("Contact", "<sip:callee@192.0.2.98>")])
    phone.send(Message(answer.start_line, (*recorded, *answer.headers)), scene.edge)
    got = trunk.at.expect(lambda m: m.status == 200)

    towards_callee = ",".join(got.all("Record-Route")).split(",")[::-1]
    assert "192.0.2.78" in towards_callee[0]  # the caller's own proxies come first
    routes = ",".join(one.strip() for one in towards_callee[3:])
    call = Call(trunk.at, phone, invite, arrived, got)
    trunk.at.send(call.from_caller("INFO", routes), scene.edge)
    came = far.expect(lambda m: m.method == "INFO")
    assert came.request_uri == "sip:callee@192.0.2.98"
    assert ",".join(came.all("Route")).count("sip:") == 2

    towards_caller = ",".join(arrived.all("Record-Route"))
    ask = call.from_phone("INFO")
    fields = [(n, towards_caller if n == "Route" else v) for n, v in ask.headers]
    phone.send(Message(ask.start_line, tuple(fields)), scene.edge)
    came = near.expect(lambda m: m.method == "INFO")
    assert came.request_uri == "sip:caller@192.0.2.77:5060"
    assert ",".join(came.all("Route")).count("sip:") == 3
    ask = call.from_phone("OPTIONS")
    shorter = [(n, arrived.all("Record-Route")[0] if n == "Route" else v) for n, v in ask.headers]
    assert refused(scene, phone, Message(ask.start_line, tuple(shorter)))
    assert no_questions(scene.world)


def test_phones_of_one_user_each_have_their_own_path(scene: Scene) -> None:
    """Two phones answer at once, each with its own Contact and proxies."""
    user = scene.user()
    trunk, desk, other = scene.trunk(user), scene.phone(user), scene.endpoint("elsewhere")
    assert other.register(scene.edge, user, PASSWORD, DOMAIN).status == 200
    invite = scene.invite(trunk.at)
    trunk.at.send(invite, scene.edge)
    calls = []
    for phone in (desk, other):
        arrived = phone.expect(is_method("INVITE"))
        answer = reply(
            arrived, 200, headers=[("Contact", "<sip:callee@192.0.2.98>")], to_tag=scene.name("tag")
        )
        proxy = ("Record-Route", f"<sip:{place(phone.address)};lr>")
        phone.send(Message(answer.start_line, (proxy, *answer.headers)), scene.edge)
        got = trunk.at.expect(lambda m: m.status == 200)
        calls.append(Call(trunk.at, phone, invite, arrived, got))
    for call in calls:
        routes = ",".join(call.answer.all("Record-Route")[::-1])
        trunk.at.send(call.from_caller("INFO", routes), scene.edge)
        assert call.phone.expect(is_method("INFO"))["Route"]


def test_trunk_may_go_on_from_another_of_its_addresses(scene: Scene) -> None:
    trunk, phone = scene.line()
    call, other = connect(scene, trunk.at, phone), scene.endpoint("sibling")
    ask = call.from_caller("INFO")
    via = ask["Via"].replace(place(trunk.at.address), place(other.address))
    moved = Message(ask.start_line, (("Via", via), *ask.headers[1:]))
    assert refused(scene, other, moved)
    source = TransportAddress.parse(f"udp:{other.address[0]}:5060")
    now = scene.world.now()
    scene.world.books.learn(trunk.id, source, now, now + 60)
    passes(scene, Message(moved.start_line, moved.headers), other, phone)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_phone_that_moved_and_registered_goes_on(scene: Scene, transport: str) -> None:
    user = scene.user()
    trunk, phone = scene.trunk(user), scene.phone(user)
    call, there = connect(scene, trunk.at, phone), scene.endpoint("elsewhere")
    other = scene.user()
    with there if transport == "udp" else StreamEndpoint(there.address[0]) as moved:
        ask = call.from_phone("INFO")
        via = ask["Via"].replace(place(phone.address), place(moved.address))
        via = via.replace("UDP", transport.upper())
        ask = Message(ask.start_line, (("Via", via), *ask.headers[1:]))
        assert refused(scene, moved, ask)
        assert moved.register(scene.edge, other, PASSWORD, DOMAIN).status == 200
        assert refused(scene, moved, ask)
        assert moved.register(scene.edge, user, PASSWORD, DOMAIN).status == 200
        passes(scene, ask, moved, trunk.at)


def test_dialog_outlives_a_crash_and_then_ends(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    scene.world.restart()
    victim = scene.endpoint("victim")
    uri = f"sip:x@{place(victim.address)}"
    assert refused(scene, trunk.at, to(call.from_caller("INFO"), uri))
    assert refused(scene, phone, to(call.from_phone("INFO"), uri))
    assert refused(scene, scene.endpoint(), call.from_caller("INFO"))
    passes(scene, call.from_caller("INFO"), trunk.at, phone)
    passes(scene, call.from_phone("INFO"), phone, trunk.at)
    moved = scene.endpoint("moved")
    ask = call.from_phone("INVITE")
    fields = [f for f in ask.headers if f[0] != "Contact"]
    fields.append(("Contact", f"<sip:{place(moved.address)}>"))
    assert refused(scene, trunk.at, to(call.from_caller("INFO"), f"sip:{place(moved.address)}"))
    passes(scene, call.from_phone("BYE"), phone, trunk.at)
    assert refused(scene, trunk.at, call.from_caller("INFO"))
    assert refused(scene, phone, call.from_phone("INFO"))
    assert scene.nothing_came(victim)


@pytest.mark.parametrize(
    "odd",
    [
        "From: <sip:a@invalid>\r\n x;tag=1",
        "From: <sip:a@\r\n invalid>;tag=1",
        "To: <sip:a@invalid>\r\n x;tag=1",
        "CSeq: 5 INFO\r\nCSeq: 6 INFO",
        "CSeq: 5 OPTIONS",
        "Content-Length: 77",
        "Content-Length: 0\r\nContent-Length: 0",
        "Max-Forwards: many",
        "Expires: soon",
    ],
)
def test_request_in_a_dialog_passes_the_sanity_check(scene: Scene, odd: str) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    ask = call.from_caller("INFO")
    name = odd.partition(":")[0]
    fields = [f"{n}: {v}" for n, v in ask.headers if n != name]
    trunk.at.send("\r\n".join([ask.start_line, *fields, odd, "", ""]), scene.edge)
    answers = {m.status for m in scene.came(trunk.at)}
    for arrived in scene.came(phone):
        assert "\0" not in str(arrived)
        assert answers == set()
    assert len(answers) <= 1
    assert answers <= {400, 481, 483}
    passes(scene, call.from_caller("INFO"), trunk.at, phone)


def test_register_and_message_begin_no_dialog(scene: Scene) -> None:
    trunk, phone = scene.line()
    trunk.at.send(request("MESSAGE", scene.uri("+4420"), trunk.at.address), scene.edge)
    arrived = phone.expect(lambda m: m.method == "MESSAGE")
    assert "Record-Route" not in arrived
    phone.send(reply(arrived, 200), scene.edge)
    assert trunk.at.receive().status == 200
