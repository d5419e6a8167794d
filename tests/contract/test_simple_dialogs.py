"""Dialogs of the simple form: Kamailio itself checks them, and lets in what the edge lets in."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from testkit.sip import Endpoint, Message, place, reply
from tests.contract import handler_trace
from tests.contract.call import Call, connect, is_method, ring, uri_of
from tests.contract.scene import Scene
from tests.contract.world import Caller, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("simple")
    with World(folder, parameters=handler_trace.parameters(folder)) as world:
        yield world


@pytest.fixture(scope="module")
def plain_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Kamailio in which Python alone has all dialogs."""
    with World(tmp_path_factory.mktemp("python"), simple_dialogs=False) as world:
        yield world


@pytest.fixture
def plain(plain_world: World) -> Iterator[Scene]:
    with Scene(plain_world) as scene:
        yield scene


def begun_by_kamailio(message: Message) -> bool:
    """Return whether the Record-Route of an INVITE is Kamailio's own."""
    return re.search(";whence=[bc]", message["Record-Route"]) is not None


def test_ordinary_call_needs_python_for_looks_and_its_trunk(scene: Scene) -> None:
    trunk, phone = scene.line()
    scene.await_edge()
    since = len(scene.world.process.log)
    call = connect(scene, trunk.at, phone)
    assert begun_by_kamailio(call.arrived)
    assert call.answer["Record-Route"] == call.arrived["Record-Route"]
    for sender, receiver, ask in (
        (trunk.at, phone, call.from_caller("ACK")),
        (phone, trunk.at, call.from_phone("BYE")),
    ):
        sender.send(ask, scene.edge)
        arrived = receiver.expect(is_method(ask.method))
        assert "Route" not in arrived
    phone_answer = reply(arrived, 200)
    trunk.at.send(phone_answer, scene.edge)
    assert phone.expect(lambda m: m.status == 200)
    called = set(handler_trace.called(scene.world, since))
    assert called - {"ksr_look_out"} == {"ksr_look", "ksr_initial", "ksr_reply"}


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:{}>",
        "<sip:alice@{}>",
        "<sip:+4420%20@{}>",
        "<sip:alice@{};ob>",
        "<sip:alice@{};transport=udp>",
        "<sip:alice@{};line=a.b-c;transport=UDP;ob>",
        "<sip:alice@{}>;expires=60",
        '<sip:alice@{}>;+sip.instance="<urn:uuid:0>";expires=60',
    ],
)
def test_kamailio_begins_a_dialog_with_its_contact(scene: Scene, contact: str) -> None:
    trunk, phone = scene.line()
    header = contact.format(place(trunk.at.address))
    arrived = ring(scene, trunk.at, phone, scene.invite(trunk.at, contact=header))
    assert begun_by_kamailio(arrived)
    answered = reply(arrived, 200, headers=[("Contact", contact.format(place(phone.address)))])
    phone.send(answered, scene.edge)
    answer = trunk.at.expect(lambda m: m.status == 200)
    assert answer["Record-Route"] == arrived["Record-Route"]
    call = Call(trunk.at, phone, Message("", arrived.headers), arrived, answer)
    since = len(scene.world.process.log)
    trunk.at.send(call.from_caller("ACK"), scene.edge)
    assert phone.expect(is_method("ACK")).request_uri == uri_of(answered["Contact"])
    phone.send(call.from_phone("BYE"), scene.edge)
    assert trunk.at.expect(is_method("BYE")).request_uri == uri_of(header)
    assert set(handler_trace.called(scene.world, since)) == {"ksr_look"}


@pytest.mark.parametrize(
    "contact",
    [
        "sip:alice@{}",
        "<sip:alice@{0};maddr=192.0.2.7>",
        "<sip:alice@{0};MADDR=192.0.2.7>",
        "<sip:alice@{0};transport=tcp>",
        "<sip:alice@{0};transport=udp;transport=tcp>",
        "<sip:alice@{0};Transport=TLS>",
        "<sips:alice@{}>",
        "<sip:a@192.0.2.7@{}>",
        "<sip:192.0.2.7?a=@{}>",
        "<sip:192.0.2.7;x=@{}>",
        '"<sip:192.0.2.7>" <sip:alice@{}>',
        "<sip:192.0.2.7>,<sip:alice@{}>",
        "<sip:alice@{}>, <sip:alice@192.0.2.7>",
        "<sip:alice@{}>x",
        "<sip:alice@{0};transport=udpx>",
        "<sip:alice@{0}1>",
        "<sip:alice@{}?Route=%3Csip:192.0.2.7%3E>",
        "<sip:alice@never-answers.example>",
        "*",
    ],
)
def test_python_begins_a_dialog_with_another_contact(scene: Scene, contact: str) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at, contact=contact.format(place(trunk.at.address)))
    assert not begun_by_kamailio(ring(scene, trunk.at, phone, invite))


@pytest.mark.parametrize(
    "headers",
    [
        [("Record-Route", "<sip:never-answers.example;lr>")],
        [("Record-Route", "<sip:127.0.0.9;lr>")],
        [("Contact", "<sip:alice@192.0.2.7>")],
    ],
)
def test_python_begins_a_dialog_with_further_headers(
    scene: Scene, headers: list[tuple[str, str]]
) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    invite = Message(invite.start_line, (*invite.headers[:1], *headers, *invite.headers[1:]))
    assert not begun_by_kamailio(ring(scene, trunk.at, phone, invite))


@pytest.mark.parametrize(
    "call_id", ["a b", "a|b", 'a"b', "a 127.0.0.1:5060 sip:x@192.0.2.7", "a" * 200]
)
def test_python_begins_a_dialog_with_an_odd_call_id(scene: Scene, call_id: str) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at, call_id=call_id)
    trunk.at.send(invite, scene.edge)
    assert not begun_by_kamailio(phone.expect(is_method("INVITE")))


def answered_elsewhere(scene: Scene) -> dict[str, list[tuple[str, str]]]:
    at = place(scene.endpoint("phones").address)
    return {
        "elsewhere": [("Contact", f"<sip:a@{at}>")],
        "two": [("Contact", "<sip:a@{}>"), ("Contact", f"<sip:a@{at}>")],
        "a way": [("Record-Route", f"<sip:{at};lr>"), ("Contact", "<sip:a@{}>")],
    }


@pytest.mark.parametrize("answer", ["elsewhere", "two", "a way"])
def test_answer_of_another_form_gets_a_cookie_of_python(scene: Scene, answer: str) -> None:
    trunk, phone = scene.line()
    arrived = ring(scene, trunk.at, phone)
    assert begun_by_kamailio(arrived)
    ours = place(phone.address)
    headers = [(name, value.format(ours)) for name, value in answered_elsewhere(scene)[answer]]
    phone.send(reply(arrived, 200, headers=headers), scene.edge)
    got = trunk.at.expect(lambda m: m.status == 200)
    cookies = [re.findall("whence=(\\w+)", m["Record-Route"]) for m in (arrived, got)]
    assert cookies[0] != cookies[1]
    assert all(cookies[1][-1].startswith(cookie) for cookie in cookies[0])


# What Kamailio does with a request must be what Python does with it.

CHANGES: dict[str, Callable[[str, str], str]] = {
    "none": lambda text, _: text,
    "no Route": lambda text, _: re.sub("Route: .*\r\n", "", text),
    "a further Route": lambda text, victim: text.replace(
        "Call-ID:", f"Route: <sip:{victim};lr>\r\nCall-ID:"
    ),
    "a Route before ours": lambda text, victim: text.replace(
        "Route: ", f"Route: <sip:{victim};lr>\r\nRoute: "
    ),
    "a further Route in ours": lambda text, victim: re.sub(
        "(Route: .*)\r", f"\\1,<sip:{victim};lr>\r", text
    ),
    "our Route twice": lambda text, _: re.sub("(Route: .*\r\n)", "\\1\\1", text),
    "a parameter of the Route": lambda text, _: re.sub("(Route: .*)\r", "\\1;x=y\r", text),
    "a parameter of its URI": lambda text, _: re.sub("(Route: .*)>\r", "\\1;x=y>\r", text),
    "another form of lr": lambda text, _: text.replace(";lr;", ";lr=on;"),
    "our Route in capitals": lambda text, _: re.sub(
        "Route: .*", lambda found: found[0].upper(), text
    ),
    "a name in the Route": lambda text, _: text.replace("Route: <", "Route: x <"),
    "a user in the Route": lambda text, victim: text.replace(
        "Route: <sip:", f"Route: <sip:{victim}@"
    ),
    "the victim's Route": lambda text, victim: re.sub(
        "Route: <sip:[^;]*", f"Route: <sip:{victim}", text
    ),
    "a shorter cookie": lambda text, _: re.sub("(Route: .*).>\r", "\\1>\r", text),
    "another Call-ID": lambda text, _: text.replace("Call-ID: ", "Call-ID: x"),
    "a longer Call-ID": lambda text, victim: re.sub(
        "Call-ID: (.*)\r", f"Call-ID: \\1 {victim} sip:x@{victim}\r", text
    ),
    "a Call-ID in capitals": lambda text, _: re.sub(
        "Call-ID: .*", lambda found: found[0].upper(), text
    ),
    "another user": lambda text, _: re.sub(" sip:", " sip:another@", text, count=1),
    "another host": lambda text, victim: re.sub(" sip:.* SIP", f" sip:{victim} SIP", text, count=1),
    "maddr": lambda text, victim: text.replace(" SIP/2.0", f";maddr={victim} SIP/2.0", 1),
    "tcp": lambda text, _: text.replace(" SIP/2.0", ";transport=tcp SIP/2.0", 1),
    "a strict router": lambda text, victim: re.sub(
        " sip:.* SIP", f" sip:{victim};lr SIP", text, count=1
    ),
    "two Call-IDs": lambda text, _: re.sub("(Call-ID: .*\r\n)", "\\1\\1", text),
    "two From": lambda text, _: re.sub("(From: .*\r\n)", "\\1\\1", text),
    "a compact From": lambda text, _: re.sub("(From: .*\r\n)", "\\1f: <sip:a@b>\r\n", text),
    "a folded line": lambda text, _: text.replace("Call-ID:", "Subject: a\r\n b\r\nCall-ID:"),
    "a NUL": lambda text, _: text.replace("Call-ID:", "Subject: a\0b\r\nCall-ID:"),
    "an LF alone": lambda text, _: text.replace("Call-ID:", "Subject: a\nCall-ID:"),
    "a CR alone": lambda text, _: text.replace("Call-ID:", "Subject: a\rb\r\nCall-ID:"),
    "a CR and an LF alone": lambda text, _: text.replace("Call-ID:", "Subject: a\rb\nCall-ID:"),
    "an odd name": lambda text, _: text.replace("Call-ID:", "Sub ject: a\r\nCall-ID:"),
    "Proxy-Require": lambda text, _: text.replace("Call-ID:", "Proxy-Require: a\r\nCall-ID:"),
    "a longer body": lambda text, _: text.replace("Length: 0", "Length: 7"),
    "a long number": lambda text, _: text.replace("Length: 0", "Length: 0000000000000"),
    "no length": lambda text, _: text.replace("Content-Length: 0\r\n", ""),
    "extra octets": lambda text, _: text + "x",
    "a blank more": lambda text, _: text.replace(" sip:", "  sip:", 1),
    "a small version": lambda text, _: text.replace("SIP/2.0", "sip/2.0", 1),
    "no tag": lambda text, _: re.sub("(To: .*);tag=.*\r", "\\1\r", text),
    "no Max-Forwards": lambda text, _: re.sub("Max-Forwards: .*\r\n", "", text),
    "a header of ours": lambda text, _: text.replace("Call-ID:", "x-whence-trunk: a\r\nCall-ID:"),
    "a header of ours, hidden": lambda text, _: text.replace(
        "Call-ID:", "Subject: a\x0bX-WHENCE-Trunk: a\r\nCall-ID:"
    ),
}


def outcome(
    scene: Scene, line: tuple[Caller, Endpoint], method: str, change: str, *, by_phone: bool
) -> tuple[object, ...]:
    """Return what the sender and the receiver of a changed request get, and the victim."""
    trunk, phone = line
    call, victim = connect(scene, trunk.at, phone), scene.endpoint("victim")
    sender, receiver = (phone, trunk.at) if by_phone else (trunk.at, phone)
    ask = call.from_phone(method) if by_phone else call.from_caller(method)
    text = CHANGES[change](str(ask), place(victim.address))
    sender.send(text.encode(), scene.edge)
    arrived = scene.came(receiver)
    answers = [m.status for m in scene.came(sender) if m.is_reply]
    assert scene.nothing_came(victim)
    assert not any("X-Whence" in str(m) for m in arrived)
    names = [[m.method, *sorted(name.lower() for name, _ in m.headers)] for m in arrived]
    return answers, names


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("method", ["ACK", "BYE"])
def test_kamailio_does_what_python_does(
    scene: Scene, plain: Scene, method: str, change: str
) -> None:
    lines = {one: one.line() for one in (plain, scene)}
    for by_phone in (False, True):
        expected, found = [
            outcome(one, line, method, change, by_phone=by_phone) for one, line in lines.items()
        ]
        assert found == expected


def test_dialog_of_kamailio_goes_on_after_its_restart(scene: Scene) -> None:
    trunk, phone = scene.line()
    call, unknown_source = connect(scene, trunk.at, phone), scene.endpoint()
    scene.world.restart()
    other = scene.endpoint("provider")
    strangers = ((unknown_source, call.from_caller("INFO")), (other, call.from_caller("INFO")))
    for stranger, ask in strangers:
        own = re.sub(r"127\.\d+\.\d+\.\d+:\d+", place(stranger.address), ask["Via"], count=1)
        fields = [(n, own if n == "Via" else v) for n, v in ask.headers]
        assert stranger.ask(Message(ask.start_line, tuple(fields)), scene.edge).status == 481
    for sender, receiver, ask in (
        (trunk.at, phone, call.from_caller("INFO")),
        (phone, trunk.at, call.from_phone("UPDATE")),
        (phone, trunk.at, call.from_phone("BYE")),
    ):
        sender.send(ask, scene.edge)
        arrived = receiver.expect(is_method(ask.method))
        receiver.send(reply(arrived, 200), scene.edge)
        assert sender.expect(lambda m: m.status == 200)
    for sender, ask in ((trunk.at, call.from_caller("BYE")), (phone, call.from_phone("INFO"))):
        assert sender.ask(ask, scene.edge).status == 481


def test_cookie_of_kamailio_opens_only_its_own_call(scene: Scene) -> None:
    trunk, phone = scene.line()
    call, other = connect(scene, trunk.at, phone), connect(scene, trunk.at, phone)
    elsewhere = replace(call, answer=other.answer, arrived=other.arrived)
    for restarted in (False, True):
        if restarted:
            scene.world.restart()
        for method in ("BYE", "INFO"):
            ask = call.from_caller(method, route=other.route)
            assert trunk.at.ask(ask, scene.edge).status == 481
            assert phone.ask(elsewhere.from_phone(method), scene.edge).status == 481
    assert scene.nothing_came(trunk.at, phone)
