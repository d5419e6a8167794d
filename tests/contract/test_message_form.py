"""Requests that parsers read differently are refused; octets after a body are discarded."""

from collections.abc import Iterator

import pytest

from testkit.sip import Endpoint, Message, place, reply, request
from testkit.stream import StreamEndpoint
from tests.contract.books import DOMAIN
from tests.contract.call import cancel, connect, ring
from tests.contract.scene import Scene
from tests.contract.world import World, whence_headers

BREAKS = {
    "an LF line, then LF CR": b"X-a: b\n\rS: b\r\nX-Whence-Trunk: forged\r\n\r\n",
    "a CR alone": b"X-a: b\rc\r\n",
    "an LF alone": b"X-a: b\nX-b: c\r\n",
    "CR CR LF": b"X-a: b\r\r\n",
    "CR LF LF": b"X-a: b\r\n\nX-b: c\r\n",
    "an empty line of LFs": b"X-a: b\n\nX-b: c\r\n",
    "a NUL": b"X-a: b\0c\r\n",
    "a quoted NUL": b'X-a: "b\\\0c"\r\n',
}
METHODS = ["INVITE", "MESSAGE", "OPTIONS", "REGISTER", "BYE", "INFO"]


def with_line(message: Message, line: bytes) -> bytes:
    """Add bytes after the last header of a message."""
    head, end, body = bytes(message).partition(b"\r\n\r\n")
    return head + b"\r\n" + line.removesuffix(b"\r\n") + end + body


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("line", BREAKS)
def test_request_with_a_broken_line_is_answered_400(scene: Scene, line: str, method: str) -> None:
    trunk, phone = scene.line()
    for who in (trunk.at, scene.endpoint()):
        tag = "made-up" if method in ("BYE", "INFO") else None
        ask = request(method, scene.uri("+4420"), who.address, to_tag=tag)
        who.send(with_line(ask, BREAKS[line]), scene.edge)
        assert [m.status for m in scene.came(who)] == [400]
    assert scene.nothing_came(phone)


@pytest.mark.parametrize("line", BREAKS)
def test_request_in_a_dialog_with_a_broken_line_is_answered_400(scene: Scene, line: str) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    for method in ("INFO", "INVITE", "BYE", "ACK"):
        trunk.at.send(with_line(call.from_caller(method), BREAKS[line]), scene.edge)
        expected = [] if method == "ACK" else [400]
        assert [m.status for m in scene.came(trunk.at)] == expected
    assert scene.nothing_came(phone)


def test_cancel_carries_no_header_of_ours(scene: Scene) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    ring(scene, trunk.at, phone, invite)
    text = with_line(cancel(invite), b"X-a: b\rX-Whence-Trunk: forged\r\n")
    trunk.at.send(text, scene.edge)
    assert scene.nothing_came(phone)
    trunk.at.send(with_line(cancel(invite), b"x-whence-trunk : forged\r\n"), scene.edge)
    cancelled = phone.expect(lambda m: m.method == "CANCEL")
    assert whence_headers(cancelled) == []
    assert "forged" not in str(cancelled)


@pytest.mark.parametrize("method", METHODS)
def test_request_without_an_empty_line_is_answered_400(scene: Scene, method: str) -> None:
    trunk, phone = scene.line()
    for who in (trunk.at, scene.endpoint()):
        tag = "made-up" if method in ("BYE", "INFO") else None
        ask = request(method, scene.uri("+4420"), who.address, to_tag=tag)
        fields = [f"{n}: {v}" for n, v in ask.headers if n != "Content-Length"]
        for end in ("", "\r\n"):
            who.send("\r\n".join([ask.start_line, *fields]) + end, scene.edge)
        # A message without an end may be cut anywhere: it is refused, or not recognized.
        assert {m.status for m in scene.came(who)} <= {400}
    assert scene.nothing_came(phone)


def test_invite_without_an_empty_line_gets_400(scene: Scene) -> None:
    trunk, _ = scene.line()
    ask = scene.invite(trunk.at)
    fields = [f"{n}: {v}" for n, v in ask.headers if n != "Content-Length"]
    trunk.at.send("\r\n".join([ask.start_line, *fields, ""]), scene.edge)
    assert trunk.at.receive().status == 400


@pytest.mark.parametrize(
    "header",
    ["From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length", "f", "t", "i", "l", "L"],
)
def test_repeated_header_is_answered_400(scene: Scene, header: str) -> None:
    trunk, phone = scene.line()
    ask = scene.invite(trunk.at)
    value = ask[{"L": "Content-Length", "l": "Content-Length"}.get(header, header)]
    for line in (f"{header}: {value}\r\n", f"{header} \t:\r\n {value}\r\n"):
        trunk.at.send(with_line(ask, line.encode()), scene.edge)
        assert [m.status for m in scene.came(trunk.at)] == [400], line
    assert scene.nothing_came(phone)


@pytest.mark.parametrize(
    "fold", ["1\r\n INVITE", "1\r\n\tINVITE", "\r\n 1 INVITE", "1 \r\n\t INVITE"]
)
def test_folded_cseq_is_answered(scene: Scene, fold: str) -> None:
    """A folded CSeq is legal (RFC 3261 7.3.1), but Kamailio cannot read it."""
    trunk, phone = scene.line()
    for who in (trunk.at, scene.endpoint()):
        ask = scene.invite(who)
        who.send(str(ask).replace("CSeq: 1 INVITE", f"CSeq: {fold}"), scene.edge)
        assert who.receive().status in (100, 400, 403)
    assert len(scene.came(phone)) <= 1


@pytest.mark.parametrize(
    ("start", "status"),
    [
        ("{} nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0", 416),
        ("{} soap.beep://192.0.2.103:3002 SIP/2.0", 416),
        ("{} http://h/ SIP/2.0", 416),
        ("{} <sip:b@h> SIP/2.0", 400),
        ("{} sip:b@h SIP/2.0 ", 400),
        ("{} sip:b@h:99999 SIP/2.0", 400),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_odd_start_line_is_answered(scene: Scene, method: str, start: str, status: int) -> None:
    trunk, phone = scene.line()
    for who in (trunk.at, scene.endpoint()):
        tag = "made-up" if method in ("BYE", "INFO") else None
        ask = request(method, scene.uri("+4420"), who.address, to_tag=tag)
        who.send(Message(start.format(method), ask.headers), scene.edge)
        assert [m.status for m in scene.came(who)] == [status]
    assert scene.nothing_came(phone)


def test_unknown_proxy_require_is_answered_420(scene: Scene) -> None:
    trunk, phone = scene.line()
    ask = scene.invite(
        trunk.at, headers=[("Proxy-Require", "Foo, b"), ("Require", "c"), ("Proxy-Require", "d")]
    )
    trunk.at.send(ask, scene.edge)
    answer = trunk.at.receive()
    assert (answer.status, answer["Unsupported"]) == (420, "Foo, b, d")
    assert scene.nothing_came(phone)
    for odd in ("", ";;", "a b", ", ,", "(foo)"):
        ask = scene.invite(trunk.at, headers=[("Proxy-Require", odd)])
        assert trunk.at.ask(ask, scene.edge).status == 420, odd
    call = connect(scene, trunk.at, phone)
    inside = call.from_caller("INFO", headers=[("Proxy-Require", "foo")])
    assert trunk.at.ask(inside, scene.edge).status == 420


SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"


def with_length(ask: Message, length: str) -> Message:
    fields = tuple((n, length if n == "Content-Length" else v) for n, v in ask.headers)
    return Message(ask.start_line, fields, ask.body)


def sdp(scene: Scene, caller: Endpoint, body: str) -> Message:
    return scene.invite(caller, headers=[("Content-Type", "application/sdp")], body=body)


@pytest.mark.parametrize(
    "extra",
    ["x", "\r\n", "\r\n\r\n", "ä", "INVITE sip:b SIP/2.0\r\nX-Whence-Trunk: forged\r\n\r\n"],
)
def test_octets_after_the_body_are_discarded(scene: Scene, extra: str) -> None:
    trunk, phone = scene.line()
    for body in (SDP, "", SDP + "s=ä\r\n", SDP.replace("\r\n", "\n")):
        ask = sdp(scene, trunk.at, body)
        trunk.at.send(str(ask) + extra, scene.edge)
        arrived = phone.expect(lambda m: m.method == "INVITE")
        assert arrived.body == body.replace("\r\n", "\n")
        assert arrived["Content-Length"] == str(len(body.encode()))
        assert whence_headers(arrived)[0] == ("X-Whence-Trunk", trunk.id)
        phone.send(reply(arrived, 486), scene.edge)


@pytest.mark.parametrize("length", ["5000", "60", "-1", "many", "0x10", "", "99999999999", "1 2"])
def test_body_shorter_than_its_length_is_answered_400(scene: Scene, length: str) -> None:
    trunk, phone = scene.line()
    trunk.at.send(with_length(sdp(scene, trunk.at, SDP), length), scene.edge)
    assert trunk.at.receive().status == 400
    assert scene.nothing_came(phone)


def test_body_of_bytes_passes_and_its_extra_octets_do_not(scene: Scene) -> None:
    trunk, phone = scene.line()
    body = "a\udcff\udcfe\0b"
    headers = [("Content-Type", "application/odd"), ("Content-Length", "5")]
    ask = Message(
        f"INVITE {scene.uri('+4420')} SIP/2.0",
        (*scene.invite(trunk.at).headers[:-1], *headers),
        body,
    )
    trunk.at.send(str(ask) + "x", scene.edge)
    assert trunk.at.receive().status == 400
    trunk.at.send(ask, scene.edge)
    assert phone.expect(lambda m: m.method == "INVITE").body == body


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("streams"), tcp=True) as world:
        yield world


def test_octets_after_a_datagrams_body_enter_no_stream(streams: World) -> None:
    """In a stream they would be a request, with headers that the edge did not remove."""
    with Scene(streams) as scene:
        user = scene.user()
        trunk = scene.trunk(user)
        with StreamEndpoint(scene.endpoint("phones").address[0]) as phone:
            contact = f"<sip:{user}@{place(phone.address)};transport=tcp>"
            assert phone.register(scene.edge, user, "secret", DOMAIN, contact=contact).status == 200
            smuggled = "INVITE sip:b SIP/2.0\r\nX-Whence-Trunk: forged\r\nContent-Length: 0\r\n\r\n"
            ask = sdp(scene, trunk.at, SDP)
            trunk.at.send(str(ask) + smuggled, scene.edge)
            arrived = phone.expect(lambda m: m.method == "INVITE")
            assert arrived.body == SDP.replace("\r\n", "\n")
            phone.send(reply(arrived, 486), scene.edge)
            assert trunk.at.expect(lambda m: m.status == 486)
            trunk.at.send(scene.invite(trunk.at), scene.edge)
            assert whence_headers(phone.expect(lambda m: m.method == "INVITE"))[0][1] == trunk.id
