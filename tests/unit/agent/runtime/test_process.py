"""The API's server: it loads late, answers early connections, and wakes no idle agent."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from testkit.certificates import Authority
from testkit.network import Network
from testkit.wait import PATIENCE_S
from whence.agent.config.models import MonitoringConfig
from whence.agent.runtime import http_server
from whence.agent.runtime.process import (
    ApiServer,
    ApiTls,
    AsgiApp,
    AsgiMessage,
    api_socket,
)
from whence.errors import OperatorError


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with Network() as network, socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the agent does
        listening.bind((network.ip("api"), 8088))
        listening.listen(8)
        yield listening


class Loader:
    """Loads an API that answers each request with 200."""

    def __init__(self) -> None:
        self.loads = 0

    def __call__(self) -> Callable[[], AsgiApp]:
        self.loads += 1
        return lambda: self._answer

    async def _answer(
        self, scope: AsgiMessage, receive: Callable[..., object], send: Callable[..., object]
    ) -> None:
        await send({"type": "http.response.start", "status": 200})  # type: ignore[misc]
        await send({"type": "http.response.body", "body": b"here"})  # type: ignore[misc]


async def get(bound: socket.socket) -> httpx.Response:
    """GET from a thread: the client sets no timer in the loop of the server."""
    host, port = bound.getsockname()
    url = f"http://{host}:{port}/"
    return await asyncio.to_thread(httpx.get, url, trust_env=False, timeout=PATIENCE_S)


def test_api_server_loads_at_the_first_connection(bound: socket.socket) -> None:
    load = Loader()

    async def story() -> None:
        server = ApiServer(load, bound)
        running = asyncio.create_task(server.run(after_s=3600))
        await asyncio.sleep(0)
        assert load.loads == 0
        async with asyncio.timeout(PATIENCE_S):
            assert (await get(bound)).text == "here"
            assert (await get(bound)).text == "here"
            server.stop()
            await running

    asyncio.run(story())
    assert load.loads == 1


def test_api_server_answers_what_came_before_it_ran(bound: socket.socket) -> None:
    async def story() -> None:
        server = ApiServer(Loader(), bound)
        early = asyncio.create_task(get(bound))
        await asyncio.sleep(0)
        running = asyncio.create_task(server.run(after_s=3600))
        async with asyncio.timeout(PATIENCE_S):
            assert (await early).text == "here"
            server.stop()
            await running

    asyncio.run(story())


def test_api_server_loads_without_a_connection_later(bound: socket.socket) -> None:
    load = Loader()

    async def story() -> None:
        server = ApiServer(load, bound)
        running = asyncio.create_task(server.run(after_s=0.01))
        async with asyncio.timeout(PATIENCE_S):
            while not load.loads:
                await asyncio.sleep(0.01)
            server.stop()
            await running

    asyncio.run(story())


def test_api_server_stopped_before_loads_nothing(bound: socket.socket) -> None:
    load = Loader()

    async def story() -> None:
        server = ApiServer(load, bound)
        running = asyncio.create_task(server.run(after_s=3600))
        await asyncio.sleep(0)
        server.stop()
        async with asyncio.timeout(PATIENCE_S):
            await running

    asyncio.run(story())
    assert load.loads == 0


def test_answer_has_the_date_of_its_second(bound: socket.socket) -> None:
    """The second answer comes when the clock has gone on, and has its own Date."""

    async def story() -> list[tuple[float, httpx.Response, float]]:
        server = ApiServer(Loader(), bound)
        running = asyncio.create_task(server.run())
        answers = []
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(2):
                before = time.time()
                answers.append((before, await get(bound), time.time()))
                while time.time() < int(before) + 1:
                    await asyncio.sleep(0.01)
            server.stop()
            await running
        return answers

    for before, answer, after in asyncio.run(story()):
        assert answer.headers.get_list("date") == [answer.headers["date"]]
        assert int(before) <= parsedate_to_datetime(answer.headers["date"]).timestamp() <= after


class TimerLoop(asyncio.SelectorEventLoop):
    """An event loop that notes for how many seconds each timer is set."""

    def __init__(self) -> None:
        super().__init__()
        self.delays_s: list[float] = []

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self.delays_s.append(when - self.time())
        return super().call_at(when, callback, *args, context=context)


def test_idle_api_server_sets_no_short_timer(bound: socket.socket) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TimerLoop)
        server = ApiServer(Loader(), bound)
        running = asyncio.create_task(server.run())
        async with asyncio.timeout(PATIENCE_S):
            assert (await get(bound)).text == "here"
            assert min(loop.delays_s) > 1  # timeouts of connections only
            server.stop()
            await running

    with asyncio.Runner(loop_factory=TimerLoop) as runner:
        runner.run(story())


# TLS, Unix sockets and bounds.


def test_api_server_with_tls_renews_its_certificate(bound: socket.socket, tmp_path: Path) -> None:
    host, port = bound.getsockname()
    authority = Authority("ca", tmp_path)
    first, second = (authority.certificate(f"IP:{host}", common_name=name) for name in "ab")
    tls = ApiTls(str(first.certificate), str(first.key))
    trusted = ssl.create_default_context(cafile=authority.file)

    def common_name() -> object:
        with (
            socket.create_connection((host, port), PATIENCE_S) as plain,
            trusted.wrap_socket(plain, server_hostname=host) as secured,
        ):
            return secured.getpeercert()["subject"]  # type: ignore[index]

    async def story() -> None:
        server = ApiServer(Loader(), bound, tls.context)
        running = asyncio.create_task(server.run())
        async with asyncio.timeout(PATIENCE_S):
            assert "'a'" in str(await asyncio.to_thread(common_name))
            first.certificate.write_bytes(b"broken")
            tls.renew()
            assert "'a'" in str(await asyncio.to_thread(common_name))
            first.certificate.write_bytes(second.certificate.read_bytes())
            first.key.write_bytes(second.key.read_bytes())
            tls.renew()
            assert "'b'" in str(await asyncio.to_thread(common_name))
            server.stop()
            await running

    asyncio.run(story())


def test_api_server_answers_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    own = MonitoringConfig(api_listen=f"unix:{path}")
    api_socket(own).close()  # as of a killed agent

    async def story() -> None:
        listening = api_socket(own)
        assert path.stat().st_mode & 0o777 == 0o660
        with pytest.raises(OperatorError, match="in use"):
            api_socket(own)
        server = ApiServer(Loader(), listening)
        running = asyncio.create_task(server.run())
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with (
            asyncio.timeout(PATIENCE_S),
            httpx.AsyncClient(transport=transport, trust_env=False) as client,
        ):
            assert (await client.get("http://localhost/")).text == "here"
        server.stop()
        await running

    asyncio.run(story())


def test_api_socket_replaces_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("mine")
    with pytest.raises(OperatorError):
        api_socket(MonitoringConfig(api_listen=f"unix:{path}"))
    assert path.read_text() == "mine"


def test_api_server_closes_connections_without_a_request(
    bound: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_S", 0.05)
    monkeypatch.setattr(http_server, "CONNECTIONS", 4)
    address = bound.getsockname()

    async def story() -> None:
        server = ApiServer(Loader(), bound)
        running = asyncio.create_task(server.run())
        async with asyncio.timeout(PATIENCE_S):
            idle = [await asyncio.open_connection(*address) for _ in range(8)]
            assert (await get(bound)).text == "here"  # once idle ones have ended
            for reader, writer in idle:
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
            server.stop()
            await running

    asyncio.run(story())


def test_api_server_closes_a_slow_second_request(
    bound: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first request without a token must not buy a connection for ever."""
    monkeypatch.setattr(http_server, "REQUEST_S", 0.05)
    address = bound.getsockname()

    async def story() -> None:
        server = ApiServer(Loader(), bound)
        running = asyncio.create_task(server.run())
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            with suppress(ConnectionError):
                while not reader.at_eof():  # a header that never ends
                    writer.write(b"G")
                    await writer.drain()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1000), 0.01)
            writer.close()
            server.stop()
            await running

    asyncio.run(story())


def test_api_server_takes_the_client_from_no_header(
    bound: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local process must not choose the address that is locked and recorded."""
    seen: list[Any] = []

    async def api(scope: AsgiMessage, _: Any, send: Any) -> None:
        seen.append((scope["client"][0], scope["scheme"], scope["type"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})

    async def story() -> None:
        server = ApiServer(lambda: lambda: api, bound)
        running = asyncio.create_task(server.run())
        host, port = bound.getsockname()
        forged = {
            "x-forwarded-for": "198.51.100.1",
            "x-forwarded-proto": "https",
            "connection": "upgrade",
            "upgrade": "websocket",
        }
        async with asyncio.timeout(PATIENCE_S):
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(f"http://{host}:{port}/", headers=forged)
            server.stop()
            await running
        ((client_ip, *others),) = seen
        assert client_ip.startswith("127.")
        assert others == ["http", "http"]

    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    asyncio.run(story())
