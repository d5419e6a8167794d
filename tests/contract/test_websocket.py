"""Phones in browsers: who may open a WebSocket, and calls over it."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Literal

import pytest
from websockets.exceptions import InvalidStatus

from testkit.sip import Address, Message, reply, request
from testkit.wait import PATIENCE_S, eventually
from testkit.websocket import WebSocketEndpoint
from tests.contract.books import DOMAIN
from tests.contract.call import connect, is_method
from tests.contract.scene import PASSWORD, Scene
from tests.contract.world import World

PAGE = "https://phone.example"
PORTS = {"ws": 8080, "wss": 8443}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    phones = {"websocket_origins": [PAGE, "http://localhost:8000"], "websocket_path": "/sip"}
    folder = tmp_path_factory.mktemp("websocket")
    with World(folder, streams=True, websockets=PORTS, phones=phones) as world:
        yield world


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def place_of(scene: Scene, transport: str) -> Address:
    return scene.edge[0], PORTS[transport]


def browser(
    scene: Scene,
    stack: ExitStack,
    transport: Literal["ws", "wss"] = "ws",
    origin: str | None = PAGE,
    path: str = "/sip",
    subprotocol: str = "sip",
) -> WebSocketEndpoint:
    return stack.enter_context(
        WebSocketEndpoint(
            scene.ip("browser"),
            place_of(scene, transport),
            transport=transport,
            origin=origin,
            path=path,
            subprotocol=subprotocol,
        )
    )


def register(scene: Scene, phone: WebSocketEndpoint, user: str) -> Message:
    return phone.register(scene.edge, user, PASSWORD, DOMAIN, contact=phone.contact)


@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_browser_is_called_over_its_websocket(
    scene: Scene, stack: ExitStack, transport: Literal["ws", "wss"]
) -> None:
    user, phone = scene.user(), browser(scene, stack, transport)
    assert register(scene, phone, user).status == 200
    trunk = scene.trunk(user)
    call = connect(scene, trunk.at, phone, phone.contact)
    trunk.at.send(call.from_caller("INFO"), scene.edge)
    info = phone.expect(is_method("INFO"), what="INFO at the browser")
    phone.send(reply(info, 200))
    assert trunk.at.receive().status == 200
    phone.send(call.from_phone("BYE"))
    bye = trunk.at.expect(is_method("BYE"), what="the BYE of the browser")
    trunk.at.send(reply(bye, 200), scene.edge)
    assert phone.expect(lambda m: m.method == "BYE" and m.is_reply).status == 200


def test_browser_is_called_over_its_next_websocket(scene: Scene, stack: ExitStack) -> None:
    """The page lost its network in a call, and has registered again."""
    user, first = scene.user(), browser(scene, stack)
    assert register(scene, first, user).status == 200
    trunk = scene.trunk(user)
    call = connect(scene, trunk.at, first, first.contact)
    second = browser(scene, stack)
    second.address = first.address
    assert register(scene, second, user).status == 200
    first.close()
    trunk.at.send(call.from_caller("BYE"), scene.edge)
    bye = second.expect(is_method("BYE"), what="the BYE at the new connection")
    second.send(reply(bye, 200))
    assert trunk.at.receive().status == 200


def test_browser_that_closed_its_page_is_removed(scene: Scene, stack: ExitStack) -> None:
    user, phone = scene.user(), browser(scene, stack)
    assert register(scene, phone, user).status == 200
    trunk = scene.trunk(user)
    phone.close()

    def is_away() -> bool:
        return trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 480

    eventually(is_away, what="a 480 for a call to the closed page")


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:8000", None])
def test_websocket_of_an_allowed_page_opens(
    scene: Scene, stack: ExitStack, origin: str | None
) -> None:
    browser(scene, stack, origin=origin)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://phone.example",
        "https://phone.example.evil.example",
        "https://phone.example:444",
        "https://PHONE.example",
        "null",
        "https://phone.example, https://evil.example",
    ],
)
def test_websocket_of_another_page_gets_403(scene: Scene, stack: ExitStack, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        browser(scene, stack, origin=origin)
    assert refused.value.response.status_code == 403


def test_websocket_at_another_path_gets_404(scene: Scene, stack: ExitStack) -> None:
    for path in ("/", "/sip/", "/sip?x=1"):
        with pytest.raises(InvalidStatus) as refused:
            browser(scene, stack, path=path)
        assert refused.value.response.status_code == 404, path


def test_websocket_of_another_protocol_is_refused(scene: Scene, stack: ExitStack) -> None:
    with pytest.raises(InvalidStatus) as refused:
        browser(scene, stack, subprotocol="msrp")
    assert 400 <= refused.value.response.status_code < 500


def exchange(ip: str, to: Address, data: bytes) -> bytes:
    """Send bytes over TCP; return what comes until the edge closes, or is silent for a while."""
    with socket.create_connection(to, PATIENCE_S, (ip, 0)) as connection:
        connection.sendall(data)
        connection.settimeout(1)
        try:
            return connection.recv(65535)
        except (TimeoutError, ConnectionError):
            return b""


GET = (
    b"GET /sip HTTP/1.1\r\nHost: edge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: sip\r\n%s\r\n"
)


def test_websocket_with_two_origins_gets_403(scene: Scene) -> None:
    """A browser sends one. Another program could hide its own behind ours."""
    there = place_of(scene, "ws")
    origin = f"Origin: {PAGE}\r\n".encode()
    assert exchange(scene.ip("browser"), there, GET % origin).startswith(b"HTTP/1.1 101")
    for two in (origin + b"Origin: https://evil.example\r\n", origin * 2):
        assert b" 403 " in exchange(scene.ip("browser"), there, GET % two)


def test_sip_without_websocket_on_its_socket_gets_no_answer(scene: Scene) -> None:
    ask = request("OPTIONS", scene.uri(), (scene.ip("unknown_source"), 5060), transport="TCP")
    ip = scene.ip("unknown_source")
    assert exchange(ip, scene.edge, bytes(ask)).startswith(b"SIP/2.0 403")
    assert exchange(ip, place_of(scene, "ws"), bytes(ask)) == b""


def test_http_on_a_socket_for_sip_gets_no_answer(scene: Scene) -> None:
    assert exchange(scene.ip("unknown_source"), scene.edge, GET % b"") == b""


def test_sip_over_tcp_without_a_content_length_gets_400(scene: Scene) -> None:
    """Kamailio would take the next message for a body, or the reverse (RFC 3261 18.3)."""
    ask = request("OPTIONS", scene.uri(), (scene.ip("unknown_source"), 5060), transport="TCP")
    headers = tuple((n, v) for n, v in ask.headers if n != "Content-Length")
    data = bytes(Message(ask.start_line, headers))
    assert exchange(scene.ip("unknown_source"), scene.edge, data).startswith(b"SIP/2.0 400")


def test_call_over_websocket_from_a_trunks_ip_is_refused(scene: Scene, stack: ExitStack) -> None:
    """Only phones use WebSocket: no address of a trunk admits it."""
    trunk = scene.trunk("sip:pbx@192.0.2.1", at="browser")
    assert trunk.at.address[0] == scene.ip("browser")
    phone = browser(scene, stack)
    invite = request("INVITE", scene.uri("+4420"), phone.address, transport="WS")
    assert phone.ask(invite, scene.edge).status == 403
