"""A call from a trunk to a real browser: sound passes both ways, also after a hold."""

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from testkit.chromium import Chromium
from testkit.network import Network
from testkit.rtpengine import RtpEngine
from testkit.sip import Message, place, reply
from testkit.sound import Sound
from testkit.wait import eventually
from tests.contract.books import DOMAIN
from tests.contract.call import Call, is_method
from tests.contract.scene import PASSWORD, Scene
from tests.contract.world import World

PAGE = Path(__file__).parents[2] / "demo" / "browser"

ENERGY = """
(async () => {
  let energy = 0;
  (await phone.session.connection.getStats()).forEach((one) => {
    if (one.type === "inbound-rtp") { energy = one.totalAudioEnergy; }
  });
  return energy;
})()
"""
"""The sound that the browser has got, as it plays it."""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write no log."""


@contextmanager
def served(ip: str) -> Iterator[str]:
    """Serve the sample page; return its origin."""
    handler = functools.partial(_Quiet, directory=str(PAGE))
    with http.server.ThreadingHTTPServer((ip, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{ip}:{server.server_port}"
        server.shutdown()
        thread.join()


def with_sdp(message: Message, body: str) -> Message:
    headers = [(n, v) for n, v in message.headers if n != "Content-Length"]
    headers += [("Content-Type", "application/sdp"), ("Content-Length", str(len(body)))]
    return Message(message.start_line, tuple(headers), body)


def sdp(ip: str, sound: Sound) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n"
        f"m=audio {sound.port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n"
    )


def media_place(body: str) -> tuple[str, int]:
    ip, port = re.search(r"c=IN IP4 (\S+)", body), re.search(r"m=audio (\d+)", body)
    assert ip and port, body
    return ip[1], int(port[1])


@pytest.mark.slow
def test_browser_hears_and_speaks_with_a_trunk(tmp_path: Path) -> None:
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        origin = stack.enter_context(served(network.ip("web")))
        rtpengine = stack.enter_context(RtpEngine(network.ip("rtpengine"), tmp_path))
        world = stack.enter_context(
            World(
                tmp_path,
                streams=True,
                websockets={"ws": 8080},
                phones={"websocket_origins": [origin]},
                media={"rtpengine": rtpengine.uri},
            )
        )
        scene = stack.enter_context(Scene(world))
        user = scene.user()
        trunk = scene.trunk(user)
        ip = trunk.at.address[0]
        sound = stack.enter_context(Sound(ip))
        browser = stack.enter_context(Chromium(origin, tmp_path))
        edge = f"ws://{scene.edge[0]}:8080/"
        browser.run(f"register({edge!r}, {user!r}, {DOMAIN!r}, {PASSWORD!r})")
        has_event(browser, "registered")

        invite = with_sdp(scene.invite(trunk.at), sdp(ip, sound))
        trunk.at.send(invite, scene.edge)
        has_event(browser, "incoming")
        browser.run("answer()")
        answer = trunk.at.expect(lambda m: m.status == 200, what="the browser's answer")
        call = Call(trunk.at, trunk.at, invite, invite, answer)
        trunk.at.send(call.from_caller("ACK"), scene.edge)
        has_event(browser, "confirmed")
        sound.to = media_place(answer.body)
        both_ways(browser, sound)

        for script, direction in (("hold", "sendonly"), ("unhold", "sendrecv")):
            browser.run(f"phone.session.{script}(); 0")
            asked = trunk.at.expect(is_method("INVITE"), what=f"the re-INVITE of {script}")
            assert f"a={direction}" in asked.body
            contact = ("Contact", f"<sip:trunk@{place(trunk.at.address)}>")
            ok = with_sdp(reply(asked, 200, headers=[contact]), sdp(ip, sound))
            trunk.at.send(ok, scene.edge)
            trunk.at.expect(is_method("ACK"), what="the ACK of the re-INVITE")
        both_ways(browser, sound)

        browser.run("phone.session.terminate(); 0")
        bye = trunk.at.expect(is_method("BYE"), what="the BYE of the browser")
        trunk.at.send(reply(bye, 200), scene.edge)
        eventually(lambda: rtpengine.calls() == 0, what="the end of its media")


def has_event(browser: Chromium, name: str) -> None:
    """Wait until the page has noted an event."""
    found = f"phone.events.some((event) => event.startsWith({name!r}))"
    eventually(lambda: browser.run(found), what=f"{name} in the page")


def both_ways(browser: Chromium, sound: Sound) -> None:
    """Wait until each side gets more sound than it had."""
    before, energy = sound.loud, float(browser.run(ENERGY))
    eventually(lambda: sound.loud > before + 3, what="the browser's sound at the trunk")
    eventually(lambda: float(browser.run(ENERGY)) > energy + 0.01, what="the tone in the browser")
