"""A trunk over TLS: only the server with its certificate gets a digest."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from testkit.certificates import Certificate
from testkit.sip import Message, reply
from tests.contract.outbound.scene import NUMBER, OutScene
from tests.contract.world import World

NAME = "sip.provider.example"


class TlsServer:
    """Challenges each INVITE without credentials, and refuses each other one with 486."""

    def __init__(self, ip: str, certificate: Certificate, *, status: int = 407) -> None:
        """`status`: of the answer to an INVITE without credentials."""
        self.status = status
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.certificate, certificate.key)
        self.listener = socket.create_server((ip, 5061))
        self.invites: list[Message] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                connection, _ = self.listener.accept()
                with (
                    suppress(OSError),
                    self.context.wrap_socket(connection, server_side=True) as stream,
                ):
                    self._serve(stream)

    def _serve(self, stream: ssl.SSLSocket) -> None:
        waiting = b""
        while data := stream.recv(65535):
            waiting += data
            while b"\r\n\r\n" in waiting:
                head, _, rest = waiting.partition(b"\r\n\r\n")
                length = int(Message.parse(head + b"\r\n\r\n").get("Content-Length") or 0)
                if len(rest) < length:
                    break
                waiting = rest[length:]
                self._answer(stream, Message.parse(head + b"\r\n\r\n"))

    def _answer(self, stream: ssl.SSLSocket, message: Message) -> None:
        if message.method != "INVITE":
            return
        self.invites.append(message)
        challenge = ("Proxy-Authenticate", 'Digest realm="provider", nonce="abc", qop="auth"')
        if "Proxy-Authorization" in message:
            stream.sendall(bytes(reply(message, 486)))
        else:
            stream.sendall(bytes(reply(message, self.status, headers=[challenge])))

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture(scope="module")
def tls_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("tls")
    with World(folder, calls_out=True, streams=True, country="44") as world:
        yield world


@pytest.fixture
def scene(tls_world: World) -> Iterator[OutScene]:
    with OutScene(tls_world) as scene:
        yield scene


@pytest.mark.parametrize(("name", "status", "digests"), [(NAME, 486, 1), ("other.example", 408, 0)])
def test_tls_trunk_needs_certificate_for_digest(
    scene: OutScene, name: str, status: int, digests: int
) -> None:
    assert scene.world.authority is not None
    trunk = scene.out_trunk(registrar=f"sip:{NAME};transport=tls")
    server = TlsServer(trunk.server.address[0], scene.world.authority.certificate(f"DNS:{name}"))
    try:
        scene.register(trunk.id, trunk.server, transport="tls", port=5061)
        assert scene.caller([trunk]).refused(NUMBER).status == status
        assert sum("Proxy-Authorization" in one for one in server.invites) == digests
        assert server.invites
    finally:
        server.close()


@pytest.mark.parametrize(("name", "status"), [(NAME, 603), ("other.example", 408)])
def test_tls_answer_needs_certificate_of_trunk(scene: OutScene, name: str, status: int) -> None:
    assert scene.world.authority is not None
    trunk = scene.out_trunk(registrar=f"sip:{NAME};transport=tls")
    certificate = scene.world.authority.certificate(f"DNS:{name}")
    server = TlsServer(trunk.server.address[0], certificate, status=603)
    try:
        scene.register(trunk.id, trunk.server, transport="tls", port=5061)
        assert scene.caller([trunk]).refused(NUMBER).status == status
        assert server.invites
    finally:
        server.close()
