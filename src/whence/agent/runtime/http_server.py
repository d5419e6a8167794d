"""Serves the API with uvicorn, without its timer: an idle agent does not wake up for the API."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from email.utils import formatdate

import uvicorn

from whence.agent.runtime.process import AsgiApp, AsgiMessage


class _Server(uvicorn.Server):
    """Uvicorn that serves until `stopping`, without a look each 0.1 s.

    It has no signal handlers of its own: the agent handles signals for all its parts.
    """

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()

    async def main_loop(self) -> None:
        await self._stopping.wait()


async def serve(api: AsgiApp, bound: socket.socket, stopping: asyncio.Event) -> None:
    """Serve the API until `stopping` is set, and then finish the current requests."""
    # Uvicorn renews its Date in the timer that `_Server` does not have.
    config = uvicorn.Config(_dated(api), log_level="warning", lifespan="off", date_header=False)
    await _Server(config, stopping).serve(sockets=[bound])


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
