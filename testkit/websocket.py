"""A raw SIP endpoint over WebSocket, as a phone in a browser."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from testkit.sip import Address, Endpoint, Message
from testkit.wait import PATIENCE_S

SIP = "sip"
"""The subprotocol (RFC 7118 4.1)."""


class WebSocketEndpoint(Endpoint):
    """An endpoint that sends each message as one text frame. Its address is that in its Via.

    As a browser, it knows no address of its own: its Via and its Contact have a made-up name.
    """

    def __init__(
        self,
        ip: str,
        edge: Address,
        *,
        transport: Literal["ws", "wss"] = "ws",
        origin: str | None = None,
        path: str = "/",
        subprotocol: str = SIP,
    ) -> None:
        """Connect from *ip*. Raises `websockets.exceptions.InvalidStatus` for a refusal."""
        self.transport = transport
        self._stack = ExitStack()
        bound = socket.create_connection(edge, PATIENCE_S, (ip, 0))
        self.source: Address = bound.getsockname()[:2]
        self.address = (f"phone-{self.source[1]}.invalid", 0)
        context = None
        if transport == "wss":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            opened = connect(
                f"{transport}://{edge[0]}:{edge[1]}{path}",
                sock=bound,
                ssl=context,
                origin=origin,  # type: ignore[arg-type]
                subprotocols=[subprotocol],  # type: ignore[list-item]
                compression=None,
                proxy=None,
                open_timeout=PATIENCE_S,
            )
            self._web = self._stack.enter_context(opened)
        except BaseException:
            bound.close()
            raise

    @property
    def contact(self) -> str:
        """The Contact of a browser: its name, and ws over TLS, too (RFC 7118 8)."""
        return f"<sip:phone@{self.address[0]};transport=ws>"

    def send(self, what: Message | str | bytes, to: Address | None = None) -> None:
        """Send one message. *to* is not used: the connection has one other end."""
        del to
        self._web.send(str(what) if isinstance(what, Message) else what, text=True)

    def waiting(self) -> list[bytes]:
        """Return the messages that have arrived, without waiting for more."""
        found = []
        while (text := self._next(0.0)) is not None:
            found.append(text.encode())
        return found

    def expect(
        self,
        wanted: Callable[[Message], bool],
        within_s: float = PATIENCE_S,
        what: str = "the message",
    ) -> Message:
        seen: list[str] = []
        give_up_at = time.monotonic() + within_s
        while (left_s := give_up_at - time.monotonic()) > 0:
            text = self._next(left_s)
            if text is None:
                break
            message = Message.parse(text, self.source)
            if wanted(message):
                return message
            seen.append(message.start_line)
        raise AssertionError(f"{what} did not come within {within_s:g} s; received: {seen}")

    def _next(self, within_s: float) -> str | None:
        try:
            text = self._web.recv(within_s)
        except (TimeoutError, ConnectionClosed):
            return None
        return text if isinstance(text, str) else text.decode()

    def close(self) -> None:
        self._stack.close()
