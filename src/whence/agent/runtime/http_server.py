"""Serves the API with uvicorn, within bounds, and without its timer.

An idle agent does not wake up for the API. The registrations need file descriptors. So the
connections of the API are bounded: in number, for each source, and in time without a request.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from email.utils import formatdate
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from whence.agent.runtime.process import AsgiApp, AsgiMessage
from whence.agent.runtime.tasks import Tasks
from whence.core.access import source_network
from whence.core.sip.transport_address import canonical_ip

log = logging.getLogger(__name__)

CONNECTIONS = 256
"""The most connections at once. Further ones wait until one ends."""

CONNECTIONS_OF_A_SOURCE = 64
"""The most connections of one ip at once, loopback and Unix sockets excepted."""

HANDSHAKE_S = 5.0
"""The longest time for a TLS handshake."""

REQUEST_S = 15.0
"""The longest time from the start of a connection, or an answer, to the end of the next header."""


class _Protocol(H11Protocol):
    """One connection. It is closed if a request does not come in time."""

    late: asyncio.TimerHandle | None = None
    ended: asyncio.Event

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Serve the connection."""
        super().connection_made(transport)
        self._expect_request()

    def on_response_complete(self) -> None:
        """Wait for the next request. A trickle of bytes ends the timer of uvicorn, and not ours."""
        super().on_response_complete()
        self._expect_request()

    def _expect_request(self) -> None:
        if self.late is not None:
            self.late.cancel()
        self.late = self.loop.call_later(REQUEST_S, self._close_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """End it."""
        super().connection_lost(exc)
        if self.late is not None:
            self.late.cancel()
        self.ended.set()

    def _close_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class _Server(uvicorn.Server):
    """Uvicorn that serves until `stopping`, without a look each 0.1 s.

    It has no signal handlers of its own: the agent handles signals for all its parts.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        bound: socket.socket,
        stopping: asyncio.Event,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(config)
        self._bound = bound
        self._stopping = stopping
        self._tls = tls
        self._tasks = Tasks("a connection of the API")
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._of_source: Counter[str] = Counter()

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        """Leave the signals to the agent."""
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Accept connections. Uvicorn itself bounds them only after their handshakes."""
        await self.lifespan.startup()
        self.servers = []
        self._bound.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(), name="accept")
        self.started = True

    async def main_loop(self) -> None:
        """Wait for the end, and then accept no further connection."""
        await self._stopping.wait()
        self._accepting.cancel()
        with suppress(asyncio.CancelledError):
            await self._accepting
        self._bound.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._free.acquire()
            try:
                connection, peer = await loop.sock_accept(self._bound)
            except OSError as error:  # no file descriptor is left, or the peer has gone
                log.warning("the API cannot accept a connection: %s", error.strerror)
                self._free.release()
                await asyncio.sleep(0.1)
                continue
            except BaseException:
                self._free.release()
                raise
            self._tasks.start(self._serve_one(connection, _source(peer)))

    async def _serve_one(self, connection: socket.socket, source: str) -> None:
        """Serve one connection to its end. It holds one place of those that are free."""
        self._of_source[source] += 1
        ended = asyncio.Event()
        try:
            if source and self._of_source[source] > CONNECTIONS_OF_A_SOURCE:
                connection.close()
                return
            loop = asyncio.get_running_loop()
            more: dict[str, Any] = (
                {} if self._tls is None else {"ssl_handshake_timeout": HANDSHAKE_S}
            )
            with suppress(OSError, TimeoutError):  # a faulty handshake
                await loop.connect_accepted_socket(
                    lambda: self._protocol(ended), connection, ssl=self._tls, **more
                )
                await ended.wait()
        finally:
            self._of_source[source] -= 1
            if not self._of_source[source]:
                del self._of_source[source]
            self._free.release()

    def _protocol(self, ended: asyncio.Event) -> asyncio.Protocol:
        protocol = _Protocol(self.config, self.server_state, self.lifespan.state)
        protocol.ended = ended
        return protocol


async def serve(
    api: AsgiApp,
    bound: socket.socket,
    stopping: asyncio.Event,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve the API until `stopping` is set, and then finish the current requests."""
    # Uvicorn renews its Date in the timer that `_Server` does not have. It would accept the
    # X-Forwarded-For of any local process, and a WebSocket would never free its place.
    config = uvicorn.Config(
        _dated(api),
        log_level="error",
        lifespan="off",
        date_header=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
    )
    await _Server(config, bound, stopping, tls).serve()


def _source(peer: Any) -> str:
    """Return what counts as one source of connections; empty for loopback and Unix sockets."""
    ip = str(peer[0]) if isinstance(peer, tuple) else ""
    return "" if not ip or canonical_ip(ip).is_loopback else source_network(ip)


def _dated(api: AsgiApp) -> AsgiApp:
    """Return the application with a Date in each answer (RFC 9110 6.6.1)."""

    async def dated(
        scope: AsgiMessage,
        receive: Callable[[], Awaitable[AsgiMessage]],
        send: Callable[[AsgiMessage], Awaitable[None]],
    ) -> None:
        async def send_dated(message: AsgiMessage) -> None:
            if message["type"] == "http.response.start":
                date = (b"date", formatdate(usegmt=True).encode())
                message["headers"] = [date, *message.get("headers", ())]
            await send(message)

        await api(scope, receive, send_dated)

    return dated
