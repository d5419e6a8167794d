"""A fake edge: the other end of the agent socket."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from whence.core.sip.transport_address import TransportAddress
from whence.ipc import headers as ipc_headers

KEY = "11" * 32
AGENT_PORT = 5062
REGISTRAR = "udp:192.0.2.1:5060"


@dataclass
class ReceivedRequest:
    """A request that the edge received."""

    data: bytes
    headers: dict[str, str]
    sender: tuple[str, int]


class Edge:
    """The other end of the agent socket: it receives requests, and the test answers them."""

    def __init__(self, ip: str) -> None:
        self.agent_socket = TransportAddress.parse(f"udp:{ip}:{AGENT_PORT}")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((ip, AGENT_PORT))

    def close(self) -> None:
        self._socket.close()

    async def receive(self) -> ReceivedRequest:
        data, sender = await asyncio.get_running_loop().sock_recvfrom(self._socket, 65_536)
        lines = data.decode().split("\r\n")
        pairs = (line.partition(": ") for line in lines[1:] if line)
        return ReceivedRequest(data, {name: value for name, _, value in pairs}, sender)

    def answer(
        self,
        received: ReceivedRequest,
        status: str,
        *,
        source: str | None = REGISTRAR,
        key: str = KEY,
        mac: str | None = None,
        **changed: str,
    ) -> None:
        """Answer, with a valid MAC if `source` is given; `changed` replaces headers (call_id=…)."""
        names = {"via": "Via", "call_id": "Call-ID", "cseq": "CSeq"}
        headers = {name: changed.get(word, received.headers[name]) for word, name in names.items()}
        lines = [f"SIP/2.0 {status}", *(f"{name}: {value}" for name, value in headers.items())]
        if source is not None:
            valid = ipc_headers.reply_mac(
                key, headers["Call-ID"], headers["CSeq"].split()[0], int(status[:3]), source
            )
            lines += [f"X-Whence-Source: {source}", f"X-Whence-Mac: {mac or valid}"]
        self.send("\r\n".join([*lines, "", ""]).encode(), received.sender)

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        self._socket.sendto(data, to)
