"""Replies: only those of transactions pass, without headers of ours; late 2xx reach the caller."""

import socket
from collections.abc import Callable, Iterator

import pytest

from testkit.network import SIP_PORT
from testkit.sip import Endpoint, Message, reply, request
from tests.contract.books import DOMAIN
from tests.contract.call import Call, connect, is_method, ring
from tests.contract.scene import PASSWORD, Scene
from tests.contract.world import World, questions, whence_headers


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Kamailio whose name server never answers, with TCP too."""
    folder = tmp_path_factory.mktemp("replies")
    with World(folder, nameserver=True, tcp=True) as world:
        yield world


def vias(scene: Scene, *others: str, branch: str = "z9hG4bKx") -> str:
    ip, port = scene.edge
    return ", ".join([f"SIP/2.0/UDP {ip}:{port};branch={branch}", *others])


def made_up(status: int, method: str, via: str, *, tag: str = "1") -> Message:
    """Return a reply of no transaction."""
    return Message(
        f"SIP/2.0 {status} Made Up",
        (
            ("Via", via),
            ("From", f"<sip:a@invalid>;tag={tag}"),
            ("To", "<sip:b@invalid>;tag=2"),
            ("Call-ID", "made-up"),
            ("CSeq", f"1 {method}"),
            ("X-Whence-Trunk", "forged"),
            ("Content-Length", "0"),
        ),
    )


SECOND_VIAS = {
    "a name": "SIP/2.0/UDP never-answers.example",
    "a name with a port": "SIP/2.0/UDP never-answers.example:5070",
    "a name as received": "SIP/2.0/UDP 192.0.2.1;received=never-answers.example",
    "a name as maddr": "SIP/2.0/UDP 192.0.2.1;maddr=never-answers.example",
    "a name over TCP": "SIP/2.0/TCP never-answers.example",
}


@pytest.mark.parametrize("status", [100, 180, 200, 404, 503])
@pytest.mark.parametrize("second", SECOND_VIAS)
def test_reply_of_no_transaction_resolves_no_name(scene: Scene, second: str, status: int) -> None:
    unknown_source, (trunk, phone) = scene.endpoint(), scene.line()
    for method in ("INVITE", "BYE", "REGISTER", "OPTIONS"):
        for _ in range(2):
            unknown_source.send(
                made_up(status, method, vias(scene, SECOND_VIAS[second])), scene.edge
            )
    connect(scene, trunk.at, phone)
    assert questions(scene.world) == []


@pytest.mark.parametrize("status", [100, 180, 200, 302, 486, 503])
@pytest.mark.parametrize("method", ["INVITE", "BYE", "MESSAGE", "REGISTER", "CANCEL", "ODD"])
def test_reply_of_no_transaction_is_dropped(scene: Scene, method: str, status: int) -> None:
    unknown_source, victim = scene.endpoint(), scene.endpoint("victim")
    ip, port = victim.address
    second = f"SIP/2.0/UDP {ip}:{port};branch=z9hG4bKy"
    unknown_source.send(made_up(status, method, vias(scene, second)), scene.edge)
    unknown_source.send(made_up(status, method, second), scene.edge)
    assert scene.nothing_came(victim)


def test_reply_of_no_transaction_opens_no_connection(scene: Scene) -> None:
    unknown_source = scene.endpoint()
    with socket.create_server((scene.endpoint("victim").address[0], 0)) as victim:
        victim.setblocking(False)
        ip, port = victim.getsockname()
        for status in (180, 200, 404):
            second = f"SIP/2.0/TCP {ip}:{port};branch=z9hG4bKy"
            unknown_source.send(made_up(status, "INVITE", vias(scene, second)), scene.edge)
        scene.await_edge()
        with pytest.raises(BlockingIOError):
            victim.accept()


NAMES = ("X-Whence-Trunk", "x-whence-source", "X-WHENCE-MAC", "X-Whence-Tls-Reject-Reason")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spelling", ["{}: forged", "{} : forged", "{}:\r\n forged", "{}\t:forged"])
def test_reply_in_a_call_loses_headers_of_ours(scene: Scene, spelling: str, name: str) -> None:
    trunk, phone = scene.line()
    arrived = ring(scene, trunk.at, phone)
    line = spelling.format(name)
    for status in (183, 200):
        answer = str(reply(arrived, status, headers=[contact(phone)]))
        phone.send(answer.replace("Content-Length", f"{line}\r\nContent-Length"), scene.edge)
        came = trunk.at.expect(is_status(status))
        assert whence_headers(came) == []
        assert "forged" not in str(came)


def test_reply_in_a_dialog_loses_headers_of_ours(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    for sender, receiver, ask in (
        (trunk.at, phone, call.from_caller("INFO")),
        (phone, trunk.at, call.from_phone("INFO")),
        (phone, trunk.at, call.from_phone("INVITE")),
    ):
        sender.send(ask, scene.edge)
        arrived = receiver.expect(is_method(ask.method))
        receiver.send(reply(arrived, 200, headers=[("X-Whence-Trunk", "forged")]), scene.edge)
        assert whence_headers(sender.expect(lambda m: m.status == 200)) == []


LINE_ENDS = {
    "a CR alone": b"Subject: a\rX-Whence-Trunk: forged",
    "an LF alone": b"Subject: a\nX-Whence-Trunk: forged",
    "LF and CR": b"Subject: a\n\rX-Whence-Trunk: forged",
    "two CRs": b"Subject: a\r\r\nX-Whence-Trunk: forged",
    "an empty line of LFs": b"Subject: a\n\nX-Whence-Trunk: forged",
    "a NUL": b"Subject: a\0\r\nX-Whence-Trunk: forged",
    "a CR alone, nothing of ours": b"Subject: a\rb",
    "a form feed": b"Subject: a\x0cX-Whence-Trunk: forged",
    "a line that is none": b"Co\r\nX-Whence-Trunk: forged",
    "a line without a name": b": a\r\nX-Whence-Trunk: forged",
    "a line separator": b"Subject: a\xe2\x80\xa8X-Whence-Trunk: forged",
}


@pytest.mark.parametrize("hidden", LINE_ENDS)
def test_reply_that_parsers_read_differently_is_dropped(scene: Scene, hidden: str) -> None:
    trunk, phone = scene.line()
    arrived = ring(scene, trunk.at, phone)
    answer = bytes(reply(arrived, 200, headers=[contact(phone)]))
    head, rest = answer.split(b"\r\n", 1)
    phone.send(head + b"\r\n" + LINE_ENDS[hidden] + b"\r\n" + rest, scene.edge)
    assert scene.nothing_came(trunk.at)
    phone.send(answer, scene.edge)  # without it the call continues
    assert trunk.at.expect(lambda m: m.status == 200)


def is_status(status: int) -> Callable[[Message], bool]:
    return lambda message: message.status == status


def contact(at: Endpoint) -> tuple[str, str]:
    return "Contact", f"<sip:{at.address[0]}:{at.address[1]}>"


def the_200(call: Call) -> Message:
    """Return the phone's answer to the call, as it sent it."""
    return reply(call.arrived, 200, headers=[contact(call.phone)])


def test_late_200_of_a_call_reaches_its_caller(scene: Scene) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    arrived = ring(scene, trunk.at, phone, invite)
    scene.world.restart()
    answer = reply(arrived, 200, headers=[contact(phone), ("X-Whence-Trunk", "forged")])
    phone.send(answer, scene.edge)
    came = trunk.at.expect(lambda m: m.status == 200)
    assert whence_headers(came) == []
    call = Call(trunk.at, phone, invite, arrived, came)
    trunk.at.send(call.from_caller("ACK"), scene.edge)
    assert phone.expect(lambda m: m.method == "ACK")
    phone.send(call.from_phone("BYE"), scene.edge)
    bye = trunk.at.expect(lambda m: m.method == "BYE")
    trunk.at.send(reply(bye, 200), scene.edge)
    assert phone.expect(lambda m: m.status == 200)


def changed(message: Message, name: str, value: str) -> Message:
    fields = tuple((n, value if n == name else v) for n, v in message.headers)
    return Message(message.start_line, fields)


def test_late_200_reaches_only_its_caller(scene: Scene) -> None:
    trunk, phone = scene.line()
    arrived = ring(scene, trunk.at, phone)
    other = ring(scene, trunk.at, phone)
    victim = scene.endpoint("victim")
    ip, port = victim.address
    ours, theirs = arrived.all("Via")
    scene.world.restart()
    answer = reply(arrived, 200, headers=[contact(phone)])
    second = {
        "elsewhere": f"SIP/2.0/UDP {ip}:{port}",
        "received elsewhere": f"{theirs};received={ip};rport={port}",
        "twice": f"{theirs};received={trunk.at.address[0]};received={ip};rport={port}",
        "a name": "SIP/2.0/UDP never-answers.example",
        "over TCP": theirs.replace("UDP", "TCP"),
    }
    for via in second.values():
        fields = [("Via", f"{ours}, {via}"), *[f for f in answer.headers if f[0] != "Via"]]
        phone.send(Message(answer.start_line, tuple(fields)), scene.edge)
    phone.send(changed(answer, "Call-ID", "another"), scene.edge)
    phone.send(changed(answer, "Record-Route", other["Record-Route"]), scene.edge)
    phone.send(changed(answer, "Record-Route", "<sip:nobody@invalid>"), scene.edge)
    phone.send(reply(arrived, 180), scene.edge)
    phone.send(reply(arrived, 486), scene.edge)
    assert scene.nothing_came(victim, trunk.at)
    assert questions(scene.world) == []


def test_late_200_of_an_ended_call_is_dropped(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    scene.world.restart()
    bye = call.from_caller("BYE")
    trunk.at.send(bye, scene.edge)
    arrived = phone.expect(lambda m: m.method == "BYE")
    phone.send(reply(arrived, 200), scene.edge)
    trunk.at.expect(lambda m: m.status == 200)
    phone.send(the_200(call), scene.edge)
    assert scene.nothing_came(trunk.at)


NAMED_VIAS = [
    "SIP/2.0/UDP never-answers.example",
    "SIP/2.0/UDP never-answers.example;rport",
    "SIP/2.0/UDP 192.0.2.1;maddr=never-answers.example",
    "SIP/2.0/UDP never-answers.example;received=never-answers.example;rport=7",
    "SIP/2.0/TCP never-answers.example;alias;rport",
]


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "BYE", "REGISTER", "CANCEL"])
@pytest.mark.parametrize("via", NAMED_VIAS)
def test_answer_to_a_request_resolves_no_name(scene: Scene, via: str, method: str) -> None:
    trunk, _ = scene.line()
    for who, machine in ((scene.endpoint(), "unknown_source"), (trunk.at, "provider")):
        # Without rport the answer goes to the port of the Via: 5060 (RFC 3261 18.2.2). A phone
        # whose Via has another address is behind NAT.
        at_source = "rport" in via or method == "REGISTER"
        receiver = who if at_source else scene.endpoint(machine, SIP_PORT)
        tag = "made-up" if method == "BYE" else None
        ask = request(method, scene.uri("+4420"), who.address, to_tag=tag)
        fields = (("Via", f"{via};branch=z9hG4bK{ask.call_id}"), *ask.headers[1:])
        who.send(Message(ask.start_line, fields), scene.edge)
        assert receiver.receive().status
    assert questions(scene.world) == []


def test_call_to_a_phone_with_a_name_resolves_nothing(scene: Scene) -> None:
    user = scene.user()
    trunk, phone = scene.trunk(user), scene.endpoint("phones")
    contact = f"<sip:{user}@never-answers.example>"
    assert phone.register(scene.edge, user, PASSWORD, DOMAIN, contact=contact).status == 200
    trunk.at.send(scene.invite(trunk.at), scene.edge)
    arrived = phone.expect(lambda m: m.method == "INVITE")
    assert arrived.request_uri == contact.strip("<>")
    assert questions(scene.world) == []


@pytest.mark.parametrize("method", ["REGISTER", "OPTIONS", "CANCEL", "ODD"])
@pytest.mark.parametrize("status", [100, 183, 200, 486])
def test_reply_with_another_method_has_no_header_of_ours(
    scene: Scene, status: int, method: str
) -> None:
    """A transaction is found by its branch: the method in CSeq is the sender's own word."""
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    arrived = ring(scene, trunk.at, phone, invite)
    call = connect(scene, trunk.at, phone)
    trunk.at.send(call.from_caller("INFO"), scene.edge)
    info = phone.expect(is_method("INFO"))
    for asked in (arrived, info):
        headers = [contact(phone), ("X-Whence-Trunk", "forged")]
        answer = reply(asked, status, headers=headers)
        phone.send(changed(answer, "CSeq", f"1 {method}"), scene.edge)
    for came in scene.came(trunk.at):
        assert "forged" not in str(came)
