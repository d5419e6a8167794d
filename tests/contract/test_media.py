"""Media of browsers and of other phones: what rtpengine makes of their SDP, and when."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from testkit.network import Network
from testkit.rtpengine import RtpEngine
from testkit.sip import Endpoint, Message, place, reply
from testkit.wait import eventually
from testkit.websocket import WebSocketEndpoint
from tests.contract.books import DOMAIN
from tests.contract.call import Call, is_method
from tests.contract.reports import Agent
from tests.contract.scene import PASSWORD, Scene
from tests.contract.world import World

SDP = [("Content-Type", "application/sdp")]
FINGERPRINT = ":".join(["AB"] * 32)


def plain(ip: str, port: int = 40000) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )


def of_browser(ip: str, setup: str) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\n"
        "m=audio 41000 UDP/TLS/RTP/SAVPF 0\r\n"
        f"c=IN IP4 {ip}\r\na=rtpmap:0 PCMU/8000\r\na=mid:0\r\na=rtcp-mux\r\n"
        "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n"
        f"a=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:{setup}\r\n"
        f"a=candidate:1 1 udp 2130706431 {ip} 41000 typ host\r\n"
    )


def as_read(body: str) -> str:
    """Return a body as an endpoint reads it."""
    return body.replace("\r\n", "\n")


def with_body(message: Message, body: str) -> Message:
    headers = [(n, v) for n, v in message.headers if n != "Content-Length"]
    headers += [*SDP, ("Content-Length", str(len(body)))]
    return Message(message.start_line, tuple(headers), body)


class Media:
    """A world with rtpengine."""

    def __init__(self, folder: Path, stack: ExitStack, mode: str = "auto") -> None:
        network = stack.enter_context(Network())
        self.rtpengine = stack.enter_context(RtpEngine(network.ip("rtpengine"), folder))
        media = {"rtpengine": self.rtpengine.uri, "mode": mode}
        self.world = stack.enter_context(
            World(folder, streams=True, websockets={"ws": 8080}, media=media)
        )
        self.scene = stack.enter_context(Scene(self.world))
        self._stack = stack

    def browser(self, user: str) -> WebSocketEndpoint:
        scene = self.scene
        phone = self._stack.enter_context(
            WebSocketEndpoint(scene.ip("browser"), (scene.edge[0], 8080))
        )
        answer = phone.register(scene.edge, user, PASSWORD, DOMAIN, contact=phone.contact)
        assert answer.status == 200
        return phone

    def call(self, caller: Endpoint, phone: Endpoint, answer: str, contact: str = "") -> Call:
        """Call with plain RTP; the phone answers with this SDP."""
        scene = self.scene
        invite = with_body(scene.invite(caller), plain(caller.address[0]))
        caller.send(invite, scene.edge)
        arrived = phone.expect(is_method("INVITE"), what="the call at the phone")
        contact = contact or f"<sip:phone@{place(phone.address)}>"
        ok = reply(arrived, 200, headers=[("Contact", contact)])
        phone.send(with_body(ok, answer), scene.edge)
        got = caller.expect(lambda m: m.status == 200, what="the answer at the caller")
        call = Call(caller, phone, invite, arrived, got)
        caller.send(call.from_caller("ACK"), scene.edge)
        return call


@contextmanager
def started(factory: pytest.TempPathFactory, mode: str = "auto") -> Iterator[Media]:
    with ExitStack() as stack:
        yield Media(factory.mktemp("media"), stack, mode)


@pytest.fixture
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    with started(tmp_path_factory) as media:
        yield media


def test_call_of_a_trunk_to_a_browser_is_bridged(media: Media) -> None:
    scene, user = media.scene, media.scene.user()
    phone, trunk = media.browser(user), scene.trunk(user)
    browser_sdp = of_browser(scene.ip("browser"), "active")
    call = media.call(trunk.at, phone, browser_sdp, phone.contact)
    offer, answer = call.arrived.body, call.answer.body
    assert re.search(r"^m=audio \d+ (UDP/TLS/)?RTP/SAVPF ", offer, re.MULTILINE), offer
    assert "a=fingerprint:" in offer and "a=ice-ufrag:" in offer and "a=setup:" in offer
    assert f"c=IN IP4 {media.rtpengine.ip}" in offer and trunk.at.address[0] not in offer
    assert re.search(r"^m=audio \d+ RTP/AVP 0", answer, re.MULTILINE), answer
    assert "fingerprint" not in answer and "a=ice" not in answer
    assert f"c=IN IP4 {media.rtpengine.ip}" in answer
    assert media.rtpengine.calls() == 1
    trunk.at.send(call.from_caller("BYE"), scene.edge)
    bye = phone.expect(is_method("BYE"), what="the BYE")
    phone.send(reply(bye, 200))
    assert trunk.at.expect(lambda m: m.method == "BYE").status == 200
    eventually(lambda: media.rtpengine.calls() == 0, what="the end of its media")


def test_hold_by_a_browser_stays_bridged(media: Media) -> None:
    scene, user = media.scene, media.scene.user()
    phone, trunk = media.browser(user), scene.trunk(user)
    sdp = of_browser(scene.ip("browser"), "active")
    call = media.call(trunk.at, phone, sdp, phone.contact)
    hold = sdp.replace("setup:active", "setup:actpass") + "a=sendonly\r\n"
    phone.send(with_body(call.from_phone("INVITE", [("Contact", phone.contact)]), hold))
    arrived = trunk.at.expect(is_method("INVITE"), what="the re-INVITE at the trunk")
    assert "RTP/AVP 0" in arrived.body and "a=sendonly" in arrived.body
    assert "fingerprint" not in arrived.body
    contact = ("Contact", f"<sip:trunk@{place(trunk.at.address)}>")
    ok = with_body(reply(arrived, 200, headers=[contact]), plain(trunk.at.address[0]))
    trunk.at.send(ok, scene.edge)
    answer = phone.expect(lambda m: m.status == 200, what="the answer at the browser")
    assert "SAVPF" in answer.body and "a=fingerprint:" in answer.body


def test_call_to_a_plain_phone_is_not_bridged(media: Media) -> None:
    trunk, phone = media.scene.line()
    call = media.call(trunk.at, phone, plain(phone.address[0]))
    assert call.arrived.body == as_read(plain(trunk.at.address[0]))
    assert call.answer.body == as_read(plain(phone.address[0]))
    assert media.rtpengine.calls() == 0


def test_call_in_mode_always_is_bridged(tmp_path_factory: pytest.TempPathFactory) -> None:
    with started(tmp_path_factory, "always") as media:
        trunk, phone = media.scene.line()
        call = media.call(trunk.at, phone, plain(phone.address[0]))
        for body in (call.arrived.body, call.answer.body):
            assert f"c=IN IP4 {media.rtpengine.ip}" in body and "RTP/AVP 0" in body
        assert media.rtpengine.calls() == 1


@pytest.mark.parametrize("answers", ["browser", "desk phone"])
def test_media_of_each_phone_has_its_own_offer(media: Media, answers: str) -> None:
    scene, user = media.scene, media.scene.user()
    browser, desk = media.browser(user), scene.phone(user)
    trunk = scene.trunk(user)
    invite = with_body(scene.invite(trunk.at), plain(trunk.at.address[0]))
    trunk.at.send(invite, scene.edge)
    at_browser = browser.expect(is_method("INVITE"), what="the call at the browser")
    at_desk = desk.expect(is_method("INVITE"), what="the call at the desk phone")
    assert "SAVPF" in at_browser.body and "SAVPF" not in at_desk.body
    if answers == "browser":
        sdp = of_browser(scene.ip("browser"), "active")
        ok = reply(at_browser, 200, headers=[("Contact", browser.contact)])
        browser.send(with_body(ok, sdp))
    else:
        contact = ("Contact", f"<sip:{place(desk.address)}>")
        ok = reply(at_desk, 200, headers=[contact])
        desk.send(with_body(ok, plain(desk.address[0])), scene.edge)
    answer = trunk.at.expect(lambda m: m.status == 200, what="the answer at the caller")
    assert "RTP/AVP 0" in answer.body and "fingerprint" not in answer.body
    is_relayed = f"c=IN IP4 {media.rtpengine.ip}" in answer.body
    assert is_relayed == (answers == "browser")


def test_call_without_rtpengine_gets_503_and_is_reported(media: Media) -> None:
    scene, user = media.scene, media.scene.user()
    phone, trunk = media.browser(user), scene.trunk(user)
    agent = Agent(scene)
    try:
        media.rtpengine.kill()
        invite = with_body(scene.invite(trunk.at), plain(trunk.at.address[0]))
        answer = trunk.at.ask(invite, scene.edge)
        assert answer.status == 503
        assert "Retry-After" in answer
        assert scene.nothing_came(phone)
        eventually(lambda: agent.report().reason == "media_unavailable", what="the report")
    finally:
        agent.close()


def test_call_without_rtpengine_rings_a_plain_phone(media: Media) -> None:
    trunk, phone = media.scene.line()
    media.rtpengine.kill()
    call = media.call(trunk.at, phone, plain(phone.address[0]))
    assert call.answer.body == as_read(plain(phone.address[0]))
