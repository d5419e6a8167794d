"""A raw SIP endpoint over TCP or TLS, IPv4 or IPv6, with one connection."""

import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from testkit.certificates import Certificate
from testkit.sip import Address, Endpoint, Message, request
from testkit.wait import PATIENCE_S

Transport = Literal["tcp", "tls"]


class StreamEndpoint(Endpoint):
    """An endpoint whose first message opens its connection; all others use that connection."""

    def __init__(
        self,
        ip: str,
        transport: Transport = "tcp",
        port: int = 0,
        client_certificate: Certificate | None = None,
        bound: socket.socket | None = None,
    ) -> None:
        """Bind a socket, or use one that is already bound or connected."""
        self.transport: Transport = transport
        self._certificate = client_certificate
        self._socket = bound or socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
        self._connected = _is_connected(self._socket)
        self._read = b""
        try:
            if bound is None:
                self._socket.bind((ip, port))
        except OSError:
            self._socket.close()
            raise
        self.address: Address = self._socket.getsockname()[:2]

    def request(self, method: str, uri: str, **parts: str) -> Message:
        """Make a request with this endpoint and its transport in the Via."""
        via = self.transport.upper()
        return request(method, uri, self.address, transport=via, **parts)  # type: ignore[arg-type]

    def send(self, what: Message | str | bytes, to: Address) -> None:
        if not self._connected:
            self._connect(to)
        if isinstance(what, str):
            what = what.encode("utf-8", "surrogateescape")
        self._socket.sendall(bytes(what))

    def expect(
        self,
        wanted: Callable[[Message], bool],
        within_s: float = PATIENCE_S,
        what: str = "the message",
    ) -> Message:
        seen: list[str] = []
        give_up_at = time.monotonic() + within_s
        while True:
            while (message := self._next()) is not None:
                if wanted(message):
                    return message
                seen.append(message.start_line)
            self._socket.settimeout(max(0.001, give_up_at - time.monotonic()))
            try:
                data = self._socket.recv(65535)
            except TimeoutError:
                data = b""
            if not data:
                raise AssertionError(f"{what} did not come within {within_s:g} s; received: {seen}")
            self._read += data

    def rest(self, within_s: float = PATIENCE_S) -> list[Message]:
        """Shut down for writing; return the messages until the other end closes."""
        self._socket.settimeout(within_s)
        with suppress(ConnectionError, OSError):
            self._socket.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while data := self._socket.recv(65535):
                self._read += data
        return list(iter(self._next, None))

    def _connect(self, to: Address) -> None:
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(to)
        self._connected = True
        if self.transport == "tls":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            if self._certificate:
                context.load_cert_chain(self._certificate.certificate, self._certificate.key)
            self._socket = context.wrap_socket(self._socket)

    def _next(self) -> Message | None:
        """Remove one message, as long as its Content-Length, from the bytes that were read."""
        head, end, rest = self._read.lstrip(b"\r\n").partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^(?:content-length|l)\s*:\s*(\d+)", head)
        size = int(length[1]) if length else 0
        if not end or len(rest) < size:
            return None
        self._read = rest[size:]
        return Message.parse(head + end + rest[:size], self.address)


def _is_connected(one: socket.socket) -> bool:
    try:
        one.getpeername()
    except OSError:
        return False
    return True
