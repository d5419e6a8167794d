"""Unknown sources get a 403 without information; broken messages do not stop the edge."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Endpoint, Message, reply, request
from testkit.sipp import Caller, Phone
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import (
    ACCOUNTS,
    ALICES_NUMBER,
    BOBS_NUMBER,
    UNASSIGNED_NUMBER,
    alices_trunk,
    bobs_trunk,
    names,
    try_to_call,
    uri,
)


@dataclass
class Scene:
    whence: Whence
    provider: Provider
    phone: Phone
    caller: Caller
    unknown_source: Endpoint
    at_provider: Endpoint

    def assert_still_serving(self) -> None:
        """Assert that each worker still answers, and that a call still reaches its phone."""
        for _ in range(4):  # there are two workers
            assert try_to_call(self.unknown_source, self.whence) == 403
        calls = len(self.phone.calls())
        self.caller.call(uri(self.whence), expect=200)
        assert len(self.phone.calls()) == calls + 1


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    rig = shared_rig
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(
        trunks=[alices_trunk(provider), bobs_trunk(provider)], users=["alice", "bob"]
    )
    whence.wait_registered()
    return Scene(
        whence,
        provider,
        rig.phone("alice", whence),
        rig.caller(whence, at=provider),
        rig.endpoint("unknown_source", SIP_PORT),
        rig.endpoint("provider", 5070),
    )


@pytest.fixture(autouse=True)
def no_process_died(scene: Scene) -> Iterator[None]:
    before, logged = scene.whence.kamailio_pids(), len(scene.whence.log)
    yield
    assert scene.whence.kamailio_pids() == before
    output = scene.whence.log[logged:]
    assert "whence:" not in output, output  # a bug of Whence would write such a line
    assert "SystemError" not in output, output


# --- unknown sources


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "MESSAGE", "SUBSCRIBE", "REFER"])
@pytest.mark.parametrize("user", [ALICES_NUMBER, UNASSIGNED_NUMBER, "alice", "nobody"])
def test_unknown_source_gets_a_bare_403(scene: Scene, method: str, user: str) -> None:
    """The answer is the same for numbers and users that exist and that do not."""
    unknown_source, whence = scene.unknown_source, scene.whence
    rang = len(scene.phone.calls())
    refusal = unknown_source.ask(
        request(method, uri(whence, user), unknown_source.address), whence.address
    )
    assert refusal.start_line == "SIP/2.0 403 Forbidden"
    assert names(refusal) == ["Via", "From", "To", "Call-ID", "CSeq", "Content-Length"]
    assert refusal.body == ""
    assert len(scene.phone.calls()) == rang


def test_unknown_source_with_forged_headers_is_refused(scene: Scene) -> None:
    unknown_source, whence, provider = scene.unknown_source, scene.whence, scene.provider
    (contact,) = provider.contacts("acct1")
    forged = [
        ("P-Asserted-Identity", f"<sip:+44207@{provider.ip}>"),
        ("X-Whence-Trunk", "alices-trunk"),
        ("X-Whence-Source", f"udp:{provider.ip}:5060"),
        ("Route", f"<sip:{provider.ip};lr>"),
        ("P-Called-Party-ID", f"<{uri(whence)}>"),
        ("Via", f"SIP/2.0/UDP {provider.ip}:5060;branch=z9hG4bKbelow;received={provider.ip}"),
    ]
    for called in (uri(whence), contact.uri):
        call = request(
            "INVITE",
            called,
            unknown_source.address,
            from_uri=f"sip:acct1@{provider.ip}",
            headers=forged,
        )
        assert unknown_source.ask(call, whence.address).status == 403


@pytest.mark.parametrize("method", ["BYE", "INVITE", "INFO"])
def test_unknown_source_with_a_to_tag_gets_481(scene: Scene, method: str) -> None:
    unknown_source, whence = scene.unknown_source, scene.whence
    target = f"sip:alice@{scene.phone.address[0]}:{scene.phone.address[1]}"
    routes = [("Route", f"<sip:{whence.address[0]};lr;whence={'0' * 24}>")]
    for headers in ([], routes):
        asked = request(method, target, unknown_source.address, to_tag="made-up", headers=headers)
        assert unknown_source.ask(asked, whence.address).status == 481
    assert not [m for m in scene.phone.received() if "made-up" in m["To"]]


# --- broken messages

LATIN = "\udce9\udcff"  # two bytes that are not UTF-8
HAS = ["From", "To", "Call-ID", "CSeq", "Contact", "Via", "Max-Forwards"]
MAY_HAVE = ["P-Called-Party-ID", "User-Agent", "Route", "Authorization", f"X-{LATIN}"]
MAY_HAVE += ["X-Whence-Mac", "X-Whence-Next-Hop", "X-Whence-Socket"]


def with_latin(message: Message, where: str) -> Message:
    """Return the message with these bytes in one place."""
    start_line, headers = message.start_line, message.headers
    if where == "Request-URI":
        start_line = start_line.replace("sip:", f"sip:{LATIN}")
    elif where in HAS:
        headers = tuple((n, LATIN + value if n == where else value) for n, value in headers)
    else:
        headers = (*headers[:-1], (where, f"{LATIN} <sip:{LATIN}@x>"), headers[-1])
    return Message(start_line, headers, message.body)


@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "BYE", "OPTIONS", "ACK", "CANCEL"])
@pytest.mark.parametrize("where", ["Request-URI", *HAS, *MAY_HAVE])
def test_message_with_latin_1_bytes_breaks_nothing(scene: Scene, where: str, method: str) -> None:
    for sender in (scene.unknown_source, scene.at_provider):
        for tag in (None, "tag"):
            whole = request(method, uri(scene.whence, "nobody"), sender.address, to_tag=tag)
            for socket in (scene.whence.address, scene.whence.agent_socket):
                sender.send(with_latin(whole, where), socket)
    assert try_to_call(scene.unknown_source, scene.whence) == 403


BROKEN = {
    "nothing": b"",
    "a keep-alive": b"\r\n\r\n",
    "zeros": b"\0" * 500,
    "noise": bytes(range(256)) * 8,
    "half a line": b"INVITE sip:x@y",
    "no headers": b"INVITE sip:x@y SIP/2.0\r\n\r\n",
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no Call-ID": b"INVITE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
    "another CSeq": b"INVITE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK2\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 BYE\r\n\r\n",
    "a false length": b"INVITE sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK3\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 2\r\nCSeq: 1 INVITE\r\n"
    b"Content-Length: 99999\r\n\r\nshort",
    "a reply without headers": b"SIP/2.0 200 OK\r\n\r\n",
    "a reply without a Via": b"SIP/2.0 200 OK\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\n"
    b"Call-ID: 3\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
    "an invalid status": b"SIP/2.0 999999 OK\r\nVia: SIP/2.0/UDP 127.0.0.1\r\n\r\n",
    "a very long header": b"INVITE sip:x@y SIP/2.0\r\nX: " + b"a" * 60_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_message_breaks_nothing(scene: Scene, broken: str) -> None:
    for sender in (scene.unknown_source, scene.at_provider):
        for socket in (scene.whence.address, scene.whence.agent_socket):
            for _ in range(4):
                sender.send(BROKEN[broken], socket)
    scene.assert_still_serving()


def test_phone_with_invalid_replies_harms_its_own_call_only(scene: Scene, shared_rig: Rig) -> None:
    whence, bob = scene.whence, shared_rig.endpoint("phone-bob")
    answer = bob.register(whence.address, "bob", whence.password("bob"), whence.domain)
    assert answer.status == 200
    call = request("INVITE", uri(whence, BOBS_NUMBER), scene.at_provider.address)
    scene.at_provider.send(call, whence.address)
    arrived = bob.expect(lambda m: m.method == "INVITE", what="the call at the phone")
    forged = [("X-Whence-Source", LATIN), ("Contact", LATIN)]
    for invalid in (
        b"SIP/2.0 180 \xff\xff\r\n\r\n",
        bytes(reply(arrived, 180, headers=forged)),
        bytes(reply(arrived, 180))[:80],
    ):
        bob.send(invalid, whence.address)
    scene.assert_still_serving()


def test_log_shows_no_text_of_an_unreadable_message(scene: Scene) -> None:
    """Kamailio quotes a header that it cannot parse, with its line ends.

    `whence run` shows neither that text nor the forged log lines in it.
    """
    before = len(scene.whence.log)
    ask = bytes(request("INVITE", uri(scene.whence), scene.unknown_source.address))
    forged = (
        b"an unknown source's\n12:00:00 INFO agent: trunk acme: registered \x1b[31m\x9b\r\n"
        b" 1(77) ERROR: tm [t.c:1]: f(): trunk acme\r\nCSeq"
    )
    scene.unknown_source.send(ask.replace(b"\r\nCSeq", b"\r\n" + forged), scene.whence.address)
    ip = scene.unknown_source.address[0]

    def listed() -> bool:
        found = scene.whence.get("/v1/unknown-sources")
        return any(f":{ip}:" in s["source"] and "unreadable_message" in s["reasons"] for s in found)

    eventually(listed, what="the sender in the list")
    scene.assert_still_serving()
    output = scene.whence.log[before:]
    assert "acme" not in output
    assert output.replace("\n", "").isprintable()
