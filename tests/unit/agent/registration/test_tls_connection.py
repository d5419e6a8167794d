"""Test the agent's own TLS connections against real TLS servers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testkit.certificates import Authority, Certificate
from testkit.network import Network
from whence.agent.registration.tls_connection import TlsConnections
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.transport_address import TransportAddress

NAME = "one.example"
REQUEST = b"REGISTER sip:one.example SIP/2.0\r\nAuthorization: Digest\r\n\r\n"
FINAL = b"SIP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@dataclass
class Scene:
    """An address of a server and one of ours, and the CA that the agent accepts."""

    ip: str
    own: str
    authority: Authority
    ours: Certificate

    def ask(self, certificate: Certificate, answer: bytes) -> tuple[bytes | Why, bytes]:
        """Ask a server with this certificate; return the result, and what the server received."""
        return asyncio.run(self._ask(certificate, answer))

    async def _ask(self, certificate: Certificate, answer: bytes) -> tuple[bytes | Why, bytes]:
        received = bytearray()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while not received.endswith(b"\r\n\r\n") and (data := await reader.read(65535)):
                received.extend(data)
            writer.write(answer)
            writer.close()

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.certificate, certificate.key)
        server = await asyncio.start_server(serve, self.ip, 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            tls = TlsConnections(
                str(self.ours.certificate), str(self.ours.key), str(self.authority.file)
            )
            next_hop = TransportAddress.parse(f"tls:{self.ip}:{port}")
            own = TransportAddress.parse(f"tls:{self.own}:5061")
            result = await tls.ask(REQUEST, next_hop, NAME, own, 30)
        return result, bytes(received)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    authority = Authority("authority", tmp_path_factory.mktemp("certificates"))
    with Network() as network:
        ours = authority.certificate("DNS:edge.example")
        yield Scene(network.ip("provider"), network.ip("edge"), authority, ours)


@pytest.mark.parametrize(
    "before",
    [b"", b"\r\n", b"\r\n\r\n", b"SIP/2.0 100 Trying\r\nl: 2\r\n\r\nab"],
    ids=["nothing", "a line end", "a keep-alive", "a provisional answer"],
)
def test_ask_returns_the_final_answer(scene: Scene, before: bytes) -> None:
    right = scene.authority.certificate(f"DNS:{NAME}")
    assert scene.ask(right, before + FINAL) == (FINAL, REQUEST)


@pytest.mark.parametrize(
    "answer",
    [b"", b"SIP/2.0 200 OK\r\n", FINAL[:-1], b"no SIP\r\n\r\n", b"x" * 100_000],
    ids=["nothing", "half a header", "half a body", "another protocol", "a long line"],
)
def test_ask_without_a_whole_answer_returns_closed(scene: Scene, answer: bytes) -> None:
    why, _ = scene.ask(scene.authority.certificate(f"DNS:{NAME}"), answer)
    assert isinstance(why, Why)
    assert why.reason is RegistrationReason.TLS_CLOSED


@pytest.mark.parametrize("names", [["DNS:other.example"], ["DNS:*.example"], ["IP:127.0.0.1"]])
def test_ask_at_another_name_sends_nothing(scene: Scene, names: list[str]) -> None:
    why, received = scene.ask(scene.authority.certificate(*names, common_name=NAME), FINAL)
    assert isinstance(why, Why)
    assert why.reason is RegistrationReason.CERTIFICATE_FOR_ANOTHER_NAME
    assert received == b""


def test_ask_at_another_ca_sends_nothing(scene: Scene, tmp_path: Path) -> None:
    unknown = Authority("unknown", tmp_path).certificate(f"DNS:{NAME}")
    why, received = scene.ask(unknown, FINAL)
    assert isinstance(why, Why)
    assert why.reason is RegistrationReason.CERTIFICATE_UNSIGNED
    assert received == b""


@pytest.mark.parametrize(
    ("names", "common_name"),
    [(["URI:sip:one.example"], "x"), ([], NAME), (["DNS:x.example", f"DNS:{NAME}"], "x")],
)
def test_ask_at_each_form_of_the_name_sends(
    scene: Scene, names: list[str], common_name: str
) -> None:
    certificate = scene.authority.certificate(*names, common_name=common_name)
    assert scene.ask(certificate, FINAL)[0] == FINAL
