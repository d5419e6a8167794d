"""The webhook gets each alarm, also after failures. No other server gets it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from testkit.certificates import Authority
from testkit.network import Network
from testkit.wait import PATIENCE_S
from tests.unit.store.disk import broken
from whence.agent.monitoring import webhook
from whence.agent.monitoring.alarms import RaisedAlarm
from whence.agent.monitoring.webhook import Webhook
from whence.core.monitoring.alarms import Alarm, AlarmKind
from whence.store.directory import FILE, Directory

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
TOKEN = "s3cr3t-token"


def raised(id_: int) -> RaisedAlarm:
    alarm = Alarm(AlarmKind.REGISTRATION_EXPIRED, "acme", "it expired", 2)
    return RaisedAlarm(id_, 1_000_000.0, alarm, 1_000_000.0, lasting=True)


class Receiver:
    """An HTTP server with a list of answers. It repeats the last one."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers) or [OK]
        self.heads: list[str] = []
        self.bodies: list[Any] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
                length = int(head.lower().partition("content-length:")[2].split()[0])
                self.bodies.append(json.loads(await reader.readexactly(length)))
                self.heads.append(head)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                writer.write(answer)
                await writer.drain()
        writer.close()

    @property
    def ids(self) -> list[int]:
        return [body["id"] for body in self.bodies]


@asynccontextmanager
async def listening(
    receiver: Receiver, ip: str, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    server = await asyncio.start_server(receiver.serve, ip, 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    receiver.url = f"{'https' if context else 'http'}://{ip}:{port}/hook?key=hidden"
    async with server:
        yield


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(hook: Webhook) -> AsyncIterator[None]:
    task = asyncio.create_task(hook.run())
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def ip() -> Iterator[str]:
    with Network() as network:
        yield network.ip("receiver")


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def running_story() -> None:
        await story()

    asyncio.run(running_story())


def answer(status: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode()


def test_webhook_posts_each_alarm_as_json_in_order(ip: str) -> None:
    async def story() -> None:
        receiver = Receiver()
        async with listening(receiver, ip):
            hook = Webhook(receiver.url)
            async with running(hook):
                for number in (1, 2, 3):
                    hook.raised(raised(number))
                await until(lambda: hook.delivered == 3)
        assert receiver.ids == [1, 2, 3]
        assert receiver.bodies[0] == {
            "id": 1,
            "at": "1970-01-12T13:46:40Z",
            "status": "firing",
            "lasting": True,
            "kind": "registration_expired",
            "trunk": "acme",
            "message": "it expired",
            "left_out": 2,
            "raised_at": "1970-01-12T13:46:40Z",
            "cleared_at": None,
            "cleared_message": None,
        }
        assert receiver.heads[0].startswith("POST /hook?key=hidden HTTP/1.1\r\n")
        assert "authorization" not in receiver.heads[0].lower()

    run(story)


@pytest.mark.parametrize("failure", ["500 No", "503 No", "429 Wait", "408 Late"])
def test_webhook_retries_a_failed_alarm_before_the_next(
    ip: str, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        receiver = Receiver(answer(failure), answer(failure), answer(failure), OK)
        async with listening(receiver, ip):
            hook = Webhook(receiver.url, first_wait_s=0.01)
            async with running(hook):
                hook.raised(raised(1))
                hook.raised(raised(2))
                await until(lambda: hook.delivered == 2)
        assert receiver.ids == [1, 1, 1, 1, 2]
        assert (hook.dropped, hook.waiting) == (0, 0)
        assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1

    run(story)


def test_webhook_waits_for_a_receiver_that_starts_later(ip: str) -> None:
    async def story() -> None:
        receiver = Receiver()
        async with listening(receiver, ip):
            url = receiver.url
        hook = Webhook(url, first_wait_s=0.01)
        async with running(hook):
            hook.raised(raised(1))
            await until(lambda: hook._failing)
            port = int(url.rpartition(":")[2].partition("/")[0])
            server = await asyncio.start_server(receiver.serve, ip, port)
            async with server:
                await until(lambda: hook.delivered == 1)
        assert receiver.ids == [1]

    run(story)


def test_webhook_retries_with_exponential_backoff(ip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def record(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    async def story() -> None:
        receiver = Receiver(*[answer("500 No")] * 12, OK, answer("500 No"), OK)
        async with listening(receiver, ip):
            hook = Webhook(receiver.url)
            hook.raised(raised(1))
            hook.raised(raised(2))
            monkeypatch.setattr(asyncio, "sleep", record)
            task = asyncio.create_task(hook.run())
            while hook.delivered < 2:
                await sleep(0.005)
            monkeypatch.undo()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    run(story)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 1]


@pytest.mark.parametrize("refusal", ["400 No", "401 No", "404 No", "410 Gone"])
def test_webhook_drops_and_logs_a_refused_alarm(
    ip: str, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        receiver = Receiver(answer(refusal), OK)
        async with listening(receiver, ip):
            hook = Webhook(receiver.url)
            async with running(hook):
                hook.raised(raised(1))
                hook.raised(raised(2))
                await until(lambda: hook.delivered == 1)
        assert receiver.ids == [1, 2]
        assert hook.dropped == 1
        assert f"alarm 1 refused with {refusal[:3]}" in caplog.text
        assert "hidden" not in caplog.text, "the path of a webhook is often a secret"

    run(story)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 There", "308 There"])
def test_webhook_follows_no_redirection(
    ip: str, status: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)

    async def story() -> None:
        elsewhere = Receiver()
        async with listening(elsewhere, ip):
            receiver = Receiver(answer(status, f"Location: {elsewhere.url}"))
            async with listening(receiver, ip):
                hook = Webhook(receiver.url, str(token))
                async with running(hook):
                    hook.raised(raised(1))
                    await until(lambda: hook.dropped == 1)
        assert elsewhere.heads == []
        assert "redirections are not followed" in caplog.text

    run(story)


def test_webhook_sends_the_token_and_logs_it_nowhere(
    ip: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")

    async def story() -> None:
        receiver = Receiver(answer("500 No"), OK)
        async with listening(receiver, ip):
            hook = Webhook(receiver.url, str(token), first_wait_s=0.01)
            async with running(hook):
                hook.raised(raised(1))
                await until(lambda: hook.delivered == 1)
                token.write_text("another")
                hook.raised(raised(2))
                await until(lambda: hook.delivered == 2)
                token.write_text(f"{TOKEN}\nand more")
                hook.raised(raised(3))
                await until(lambda: hook._failing)
                token.write_text("another")
                await until(lambda: hook.delivered == 3)
                token.unlink()
                hook.raised(raised(4))
                await until(lambda: hook._failing)
        sent = [
            line.partition(": ")[2]
            for head in receiver.heads
            for line in head.splitlines()
            if line.lower().startswith("authorization")
        ]
        assert sent == [f"Bearer {TOKEN}", f"Bearer {TOKEN}", "Bearer another", "Bearer another"]

    run(story)
    assert TOKEN not in caplog.text


def test_webhook_with_a_full_queue_drops_the_oldest(
    ip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "QUEUE_LIMIT", 10)

    async def story() -> None:
        receiver = Receiver(answer("500 No"))
        async with listening(receiver, ip):
            hook = Webhook(receiver.url, first_wait_s=0.01)
            async with running(hook):
                for number in range(25):
                    hook.raised(raised(number))
                await until(lambda: len(receiver.ids) > 2)
                assert (hook.waiting, hook.dropped) == (10, 15)
                receiver.answers = [OK]
                receiver.bodies.clear()
                await until(lambda: hook.delivered == 10)
        assert receiver.ids[-10:] == list(range(15, 25))

    run(story)


@pytest.mark.parametrize(
    "noise", [b"", b"HTTP/1.1 200 ", b"HTTP/1.1 100 Continue\r\n\r\n", b"x" * 200_000, b"\x00\xff"]
)
def test_webhook_after_an_invalid_answer_retries(
    ip: str, noise: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "ANSWER_S", 0.2)

    async def story() -> None:
        receiver = Receiver(noise, OK)
        async with listening(receiver, ip):
            hook = Webhook(receiver.url, first_wait_s=0.01)
            async with running(hook):
                hook.raised(raised(1))
                await until(lambda: hook.delivered == 1)
        assert receiver.ids[-1] == 1

    run(story)


def test_webhook_reads_no_endless_answer(ip: str) -> None:
    async def story() -> None:
        endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n"
        receiver = Receiver(endless)
        async with listening(receiver, ip):
            hook = Webhook(receiver.url)
            async with running(hook):
                hook.raised(raised(1))
                hook.raised(raised(2))
                await until(lambda: hook.delivered == 2)

    run(story)


def test_webhook_over_tls_verifies_the_certificate(
    ip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority("authority", tmp_path)
    made = authority.certificate(f"IP:{ip}")
    other = authority.certificate("IP:192.0.2.1")

    async def posts(certificate: Any, *, trusted: bool) -> Receiver:
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        else:
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        receiver = Receiver()
        async with listening(receiver, ip, context):
            hook = Webhook(receiver.url, first_wait_s=0.01)
            async with running(hook):
                hook.raised(raised(1))
                await until(lambda: hook._failing or hook.delivered == 1)
        return receiver

    async def story() -> None:
        assert (await posts(made, trusted=True)).ids == [1]
        assert (await posts(made, trusted=False)).heads == []
        assert (await posts(other, trusted=True)).heads == []

    run(story)


def test_webhook_ignores_a_proxy_of_the_environment(
    ip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        proxy, receiver = Receiver(), Receiver()
        async with listening(proxy, ip), listening(receiver, ip):
            monkeypatch.setenv("HTTP_PROXY", proxy.url.partition("/hook")[0])
            hook = Webhook(receiver.url)
            async with running(hook):
                hook.raised(raised(1))
                await until(lambda: hook.delivered == 1)
        assert proxy.heads == []

    run(story)


def test_webhook_after_a_restart_posts_what_waited(ip: str, tmp_path: Path) -> None:
    async def story() -> None:
        receiver = Receiver(answer("500 No"))
        async with listening(receiver, ip):
            with closing(Directory(tmp_path / FILE)) as directory:
                hook = Webhook(receiver.url, first_wait_s=0.01)
                hook.restore(directory)
                async with running(hook):
                    hook.raised(raised(1))
                    hook.raised(raised(2))
                    await until(lambda: bool(receiver.ids))
            receiver.answers = [OK]
            receiver.bodies.clear()
            with closing(Directory(tmp_path / FILE)) as directory:
                hook = Webhook(receiver.url)
                hook.restore(directory)
                async with running(hook):
                    hook.raised(raised(3))
                    await until(lambda: hook.delivered == 3)
                    await until(lambda: directory.waiting_posts() == [])
        assert receiver.ids == [1, 2, 3]
        assert receiver.bodies[0]["kind"] == "registration_expired"

    run(story)


def test_webhook_with_an_unwritable_directory_posts_from_memory(ip: str, tmp_path: Path) -> None:
    async def story() -> None:
        receiver = Receiver()
        with closing(Directory(tmp_path / FILE)) as directory:
            async with listening(receiver, ip):
                hook = Webhook(receiver.url)
                hook.restore(directory)
                with broken(directory.path, "INSERT ON webhook_post"):
                    async with running(hook):
                        hook.raised(raised(1))
                        await until(lambda: hook.delivered == 1)

    run(story)
