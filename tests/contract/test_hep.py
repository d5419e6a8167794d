"""Copies of SIP messages for a capture server, as HEP version 3."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testkit.network import Network
from testkit.sip import Message
from testkit.wait import eventually
from tests.contract.call import connect
from tests.contract.scene import Scene
from tests.contract.world import World

SOURCE_IP, DESTINATION_IP, SOURCE_PORT, DESTINATION_PORT = 3, 4, 7, 8
PROTOCOL, PAYLOAD_TYPE, PAYLOAD = 2, 11, 15
UDP, SIP = 17, 1
"""The numbers of HEP3: chunk types, the IP protocol, the payload type."""


@dataclass(frozen=True)
class Copy:
    """One HEP3 packet."""

    chunks: dict[int, bytes]

    @classmethod
    def read(cls, data: bytes) -> "Copy":
        assert data[:4] == b"HEP3"
        assert struct.unpack(">H", data[4:6])[0] == len(data)
        chunks, at = {}, 6
        while at < len(data):
            _, kind, length = struct.unpack(">HHH", data[at : at + 6])
            chunks[kind] = data[at + 6 : at + length]
            at += length
        return cls(chunks)

    @property
    def text(self) -> str:
        return self.chunks[PAYLOAD].decode("utf-8", "surrogateescape")

    @property
    def message(self) -> Message:
        return Message.parse(self.chunks[PAYLOAD])

    def end(self, ip: int, port: int) -> tuple[str, int]:
        return socket.inet_ntoa(self.chunks[ip]), struct.unpack(">H", self.chunks[port])[0]


class CaptureServer:
    """A UDP socket that reads copies."""

    def __init__(self, ip: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ip, 0))
        self._socket.setblocking(False)
        self.copies: list[Copy] = []

    @property
    def place(self) -> str:
        ip, port = self._socket.getsockname()
        return f"udp:{ip}:{port}"

    def read(self) -> list[Copy]:
        while True:
            try:
                self.copies.append(Copy.read(self._socket.recv(65535)))
            except BlockingIOError:
                return self.copies

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def server() -> Iterator[CaptureServer]:
    with Network() as network:
        server = CaptureServer(network.ip("homer"))
        yield server
        server.close()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, server: CaptureServer) -> Iterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("hep")
    with World(folder, hep=server.place) as world, Scene(world) as scene:
        yield scene


def test_copies_have_all_messages_of_a_call(own: Scene, server: CaptureServer) -> None:
    trunk, phone = own.line()
    call = connect(own, trunk.at, phone)

    def received() -> list[Copy]:
        of_call = [one for one in server.read() if one.message.get("Call-ID") == call.sent.call_id]
        return of_call if sum(one.message.method == "ACK" for one in of_call) == 2 else []

    copies = eventually(received, what="the copies of the call")
    for copy in copies:
        assert (copy.chunks[PROTOCOL], copy.chunks[PAYLOAD_TYPE]) == (bytes([UDP]), bytes([SIP]))
    sent = {
        (
            copy.message.start_line.split(" ")[0 if not copy.message.is_reply else 1],
            copy.end(SOURCE_IP, SOURCE_PORT),
            copy.end(DESTINATION_IP, DESTINATION_PORT),
        )
        for copy in copies
    }
    for what, here, there in (
        ("INVITE", trunk.at.address, own.edge),
        ("INVITE", own.edge, phone.address),
        ("200", phone.address, own.edge),
        ("200", own.edge, trunk.at.address),
        ("ACK", own.edge, phone.address),
    ):
        assert (what, here, there) in sent


def test_copies_have_nothing_of_the_agent_socket(own: Scene, server: CaptureServer) -> None:
    own.await_agent_socket()
    trunk, phone = own.line(at="elsewhere")
    call = connect(own, trunk.at, phone)
    eventually(
        lambda: any(one.message.get("Call-ID") == call.sent.call_id for one in server.read()),
        what="a later copy",
    )
    for copy in server.read():
        ends = copy.end(SOURCE_IP, SOURCE_PORT), copy.end(DESTINATION_IP, DESTINATION_PORT)
        assert own.agent_socket not in ends
        assert "X-Whence-Mac" not in copy.text
