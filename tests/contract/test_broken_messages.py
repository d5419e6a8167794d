"""Broken messages: the edge answers or drops them, and serves the next call."""

import pytest

from testkit.sip import Endpoint, Message, request
from tests.contract.books import DOMAIN
from tests.contract.scene import PASSWORD, Scene
from whence.cli.service.preflight import kamailio_version
from whence.ipc import headers

BYTES = "a\udcff\udcfe\udc80b"


def still_serves(scene: Scene, caller: Endpoint, phone: Endpoint) -> None:
    """Make the good call that must pass after the bad message."""
    scene.await_edge()
    invite = scene.invite(caller)
    caller.send(invite, scene.edge)
    phone.expect(lambda m: m.call_id == invite.call_id, what="the good call")
    unknown_source = scene.endpoint()
    assert unknown_source.ask(scene.invite(unknown_source), scene.edge).status == 403


def replaced(message: Message, name: str, value: str) -> Message:
    """Give a header, or the Request-URI, another value."""
    if name == "Request-URI":
        start = message.start_line.replace(message.request_uri, value)
        return Message(start, message.headers)
    if name not in message:
        return Message(message.start_line, (*message.headers, (name, value)))
    fields = tuple((n, value if n == name else v) for n, v in message.headers)
    return Message(message.start_line, fields)


IN_BYTES = {
    "From": f"{BYTES} <sip:{BYTES}@invalid>;tag=1",
    "To": f'"{BYTES}" <sip:{BYTES}@invalid>',
    "Subject": BYTES,
    "User-Agent": BYTES,
    "P-Called-Party-ID": f"<sip:{BYTES}@invalid>",
    "Call-ID": BYTES,
    "Request-URI": f"sip:{BYTES}@edge.example",
    "Contact": f"<sip:{BYTES}@invalid>",
    "Route": f"<sip:{BYTES}@invalid;lr>",
    "Authorization": f'Digest username="{BYTES}"',
    "X-Whence-Trunk": BYTES,
    "X-Whence-Mac": BYTES,
}


@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "OPTIONS", "BYE", "MESSAGE"])
@pytest.mark.parametrize("place", IN_BYTES)
def test_bytes_that_are_not_utf8_get_an_answer(scene: Scene, place: str, method: str) -> None:
    trunk, phone = scene.line()
    for who in (trunk.at, scene.endpoint()):
        to_tag = "made-up" if method == "BYE" else None
        ask = request(method, f"sip:{DOMAIN}", who.address, to_tag=to_tag)
        who.send(replaced(ask, place, IN_BYTES[place]), scene.edge)
        replies = [m for m in scene.came(who) if m.status]
        assert replies or scene.came(phone), "neither answered nor sent on"
        assert all(100 <= m.status < 500 for m in replies), [m.start_line for m in replies]
    still_serves(scene, trunk.at, phone)


def test_method_of_bytes_leaves_the_next_call_unharmed(scene: Scene) -> None:
    trunk, phone = scene.line()
    trunk.at.send(request(f"A{BYTES}", scene.uri(), trunk.at.address), scene.edge)
    still_serves(scene, trunk.at, phone)


def test_agent_socket_survives_bytes_that_are_not_utf8(scene: Scene) -> None:
    process = scene.agent()
    for name in (headers.MAC, headers.NEXT_HOP, headers.SOCKET, "Call-ID", "User-Agent"):
        ask = request("REGISTER", f"sip:{DOMAIN}", process.address)
        process.send(replaced(ask, name, BYTES), scene.agent_socket)
        assert process.receive().status >= 400
        scene.await_agent_socket()


def broken(scene: Scene, sender: Endpoint) -> dict[str, bytes]:
    """Return messages that are broken, or nearly valid."""
    good = scene.invite(sender)
    text = str(good)

    def without(*names: str) -> bytes:
        return bytes(Message(good.start_line, tuple(f for f in good.headers if f[0] not in names)))

    return {
        "no Via": without("Via"),
        "no CSeq": without("CSeq"),
        "no Call-ID": without("Call-ID"),
        "no From": without("From"),
        "no To": without("To"),
        "no Contact": without("Contact"),
        "no Max-Forwards": without("Max-Forwards"),
        "no header at all": f"{good.start_line}\r\n\r\n".encode(),
        "no end": text.removesuffix("\r\n\r\n").encode(),
        "half": text[: len(text) // 2].encode(),
        "only the start line": good.start_line.encode(),
        "empty": b"",
        "keep-alive": b"\r\n\r\n",
        "half a keep-alive": b"\r\n",
        "one byte": b"\0",
        "NULs": b"\0" * 1000,
        "NULs in headers": text.replace("Call-ID: ", "Subject: \0\0\r\nCall-ID: \0").encode(),
        "garbage": bytes(range(256)) * 8,
        "HTTP": b"GET / HTTP/1.1\r\nHost: edge.example\r\n\r\n",
        "a huge header": text.replace("CSeq", f"Subject: {'a' * 50_000}\r\nCSeq").encode(),
        "very many headers": text.replace("CSeq", "Subject: a\r\n" * 4000 + "CSeq").encode(),
        "very many Vias": text.replace("Via:", "Via: SIP/2.0/UDP a\r\n" * 500 + "Via:").encode(),
        "a huge Request-URI": text.replace("+4420", "4" * 10_000, 1).encode(),
        "CSeq of another method": bytes(replaced(good, "CSeq", "1 BYE")),
        "CSeq without a number": bytes(replaced(good, "CSeq", "INVITE")),
        "a huge CSeq": bytes(replaced(good, "CSeq", "99999999999999999999 INVITE")),
        "Max-Forwards in words": bytes(replaced(good, "Max-Forwards", "many")),
        "a negative Max-Forwards": bytes(replaced(good, "Max-Forwards", "-1")),
        "a wrong Content-Length": bytes(replaced(good, "Content-Length", "5000")),
        "a negative Content-Length": bytes(replaced(good, "Content-Length", "-1")),
        "SIP/1.0": text.replace("SIP/2.0", "SIP/1.0", 1).encode(),
        "From that is none": bytes(replaced(good, "From", "<<<>>>")),
        "To that is none": bytes(replaced(good, "To", '"')),
        "To without a tag's value": bytes(replaced(good, "To", "<sip:a@invalid>;tag=")),
        "Via to nowhere": bytes(replaced(good, "Via", "SIP/2.0/UDP 0.0.0.0:0;branch=z9hG4bK1")),
        "a reply to nothing": b"SIP/2.0 200 OK\r\n\r\n",
        "a reply without a status": b"SIP/2.0 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n",
        "a lonely LF": text.replace("\r\n", "\n").encode(),
        "a lonely CR": text.replace("\r\n", "\r").encode(),
    }


def test_broken_message_leaves_the_next_call_unharmed(scene: Scene) -> None:
    trunk, phone = scene.line()
    for who in (trunk.at, scene.endpoint()):
        for what, data in broken(scene, who).items():
            who.send(data, scene.edge)
            scene.await_edge()
            for came in scene.came(phone):
                assert came.all(headers.TRUNK) == [trunk.id], what
    still_serves(scene, trunk.at, phone)


def test_agent_socket_survives_a_broken_message(scene: Scene) -> None:
    process = scene.agent()
    for data in broken(scene, process).values():
        process.send(data, scene.agent_socket)
        scene.await_agent_socket()


def test_broken_register_leaves_the_next_call_unharmed(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    for data in broken(scene, phone).values():
        phone.send(data.replace(b"INVITE", b"REGISTER"), scene.edge)
    scene.await_edge()
    assert phone.register(scene.edge, user, PASSWORD, DOMAIN).status == 200


def test_long_message_of_bytes_is_refused_without_a_log_line(scene: Scene) -> None:
    """Kamailio 5 cannot convert so long a text for Python, and would log an error for each message.
    Kamailio 6 reads no message above 32 767 bytes.
    """
    trunk, phone = scene.line()
    logged = len(scene.world.process.log)
    ask = replaced(scene.invite(trunk.at), "Subject", BYTES + "a" * 40_000)
    if kamailio_version().startswith("5."):
        assert trunk.at.ask(ask, scene.edge).status == 400
    else:
        trunk.at.send(ask, scene.edge)
    still_serves(scene, trunk.at, phone)
    lines = scene.world.process.log[logged:].splitlines()
    # Calls of other tests may end meanwhile, and write into the log.
    kamailio_errors = (ask.call_id, "ERROR", "CRITICAL")
    assert not [line for line in lines if any(text in line for text in kamailio_errors)]
