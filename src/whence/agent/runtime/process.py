"""The agent as a process: the socket of the API, start and end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from whence.agent.runtime import sighup
from whence.errors import OperatorError, UntrustedError
from whence.trust import paths

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from whence.agent.config.models import MonitoringConfig


def api_socket(agent: MonitoringConfig) -> socket.socket:
    """Bind the API's socket.

    Raises: OperatorError where its address cannot be used.
    """
    if agent.api_socket is not None:
        return _unix_socket(agent.api_socket)
    host, port = agent.api_place
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(64)
    except OSError as error:
        bound.close()
        raise _unusable(agent.api_listen, error.strerror) from None
    return bound


def _unix_socket(path: Path) -> socket.socket:
    """Bind a Unix socket, which the user and the group of this process may connect to."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        with paths.directory(path.parent):
            _remove_unused(path)
            bound.bind(str(path))
            path.chmod(0o660)
            bound.listen(64)
    except (OSError, UntrustedError) as error:
        bound.close()
        why = error.strerror if isinstance(error, OSError) else error
        raise _unusable(str(path), str(why)) from None
    return bound


def _remove_unused(path: Path) -> None:
    """Remove the socket of a process that ended. Raises: OSError where one listens there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "there is another file")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _unusable(place: str, why: str | None) -> OperatorError:
    return OperatorError(
        f"the API's address {place} cannot be used: {why}; stop what listens there, or name "
        "another one as agent api_listen"
    )


AsgiMessage = MutableMapping[str, Any]


class AsgiApp(Protocol):
    """An HTTP application that uvicorn can serve (ASGI 3.0)."""

    async def __call__(
        self,
        scope: AsgiMessage,
        receive: Callable[[], Awaitable[AsgiMessage]],
        send: Callable[[AsgiMessage], Awaitable[None]],
        /,
    ) -> None:
        """Answer one connection or request."""


LoadApi = Callable[[], Callable[[], AsgiApp]]
"""Imports what the API needs, in any thread, and returns what builds it in the event loop."""

Serve = Callable[[AsgiApp, socket.socket, asyncio.Event, ssl.SSLContext | None], Awaitable[None]]


class ApiTls:
    """The certificate of the API. `renew` reads it again."""

    def __init__(self, certificate: str, key: str) -> None:
        """Read it. Raises: OSError, which includes that it is wrong."""
        self._certificate, self._key = certificate, key
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate, key)

    def renew(self) -> None:
        """Read the certificate again, for new connections. A wrong one is logged, and not used."""
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self._certificate, self._key
            )
            self.context.load_cert_chain(self._certificate, self._key)
        except OSError as error:
            log.error("the API keeps its former certificate: %s", error)  # noqa: TRY400


API_AFTER_S = 10.0
"""The latest load of the API after the start, in seconds."""


class ApiServer:
    """Serves the API on a socket that listens already. `run` it.

    The imports of the API take half a second of CPU time, and the registrations come first. So it
    loads the API at the first connection. A connection waits until then. Without one, it loads the
    API after `API_AFTER_S`, before an upgrade replaces the packages on the disk.
    """

    def __init__(
        self, load: LoadApi, bound: socket.socket, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls`: with the certificate of the API; None: it has none."""
        self._load = load
        self._bound = bound
        self._tls = tls
        self._wanted, self._stopping = asyncio.Event(), asyncio.Event()

    async def run(self, after_s: float = API_AFTER_S) -> None:
        """Serve until `stop`."""
        await self._first_connection(after_s)
        if self._stopping.is_set():
            return
        serve, build = await asyncio.to_thread(self._import)
        await serve(build(), self._bound, self._stopping, self._tls)

    def stop(self) -> None:
        """End `run`, after the answers to current requests."""
        self._stopping.set()
        self._wanted.set()

    def _import(self) -> tuple[Serve, Callable[[], AsgiApp]]:
        from whence.agent.runtime.http_server import serve  # noqa: PLC0415 - slow

        return serve, self._load()

    async def _first_connection(self, after_s: float) -> None:
        """Return at the first connection, after `after_s`, or at `stop`."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._bound.fileno(), self._wanted.set)
        try:
            async with asyncio.timeout(after_s):
                await self._wanted.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(self._bound.fileno())


async def run_until_signal(
    load_api: LoadApi,
    bound: socket.socket,
    parts: Mapping[str, Coroutine[Any, Any, None]],
    on_sighup: Callable[[], None],
    last: Callable[[], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Run each of the named `parts`, and serve the API, until SIGINT or SIGTERM.

    A SIGHUP calls `on_sighup`. At the end, the parts are cancelled. Then `last` runs, while the API
    still answers.
    """
    server = ApiServer(load_api, bound, tls)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    sighup.handle(loop, on_sighup)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(part, name=name) for name, part in parts.items()]
        serving = group.create_task(server.run(), name="api")
        await stop.wait()
        for task in running:
            task.cancel()
        await last()
        server.stop()
        await serving
