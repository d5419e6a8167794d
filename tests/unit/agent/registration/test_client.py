"""Test the client of the agent socket with a real UDP socket as the edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from testkit.network import Network
from tests.unit.agent.registration.edge import KEY, REGISTRAR, Edge
from whence.agent.registration.client import KamailioClient, Tls
from whence.core.registration.events import Answered, Send, Unanswered
from whence.core.registration.keepalive import KeepAliveTarget
from whence.core.registration.model import Account
from whence.core.registration.reason import NO_ANSWER, RegistrationReason, Why
from whence.core.sip.digest import Credentials
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.ipc import headers as ipc_headers

OUR_SOCKET = TransportAddress.parse("udp:198.51.100.1:5060")

ACCOUNT = Account(
    "sip:acct1@provider.example",
    Uri("sip", "token1", "198.51.100.1", 5060),
    Credentials("acct1", Secret("hunter2")),
    3600,
)
OVER_TLS = TransportAddress.parse("tls:192.0.2.1:5061")
SEND = Send(7, TransportAddress.parse("udp:192.0.2.1:5060"), 3600)

STORY_S = 60.0
"""The limit of one test; each waits for datagrams, never for a time."""


TARGET = KeepAliveTarget(ACCOUNT, TransportAddress.parse("udp:192.0.2.1:5060"), OUR_SOCKET)


@pytest.fixture(scope="module")
def ip() -> Iterator[str]:
    with Network() as network:
        yield network.ip("edge")


@asynccontextmanager
async def started(
    ip: str, answer_s: float, tls: Tls | None = None
) -> AsyncIterator[tuple[KamailioClient, Edge]]:
    edge = Edge(ip)
    try:
        kamailio = await KamailioClient.connect(edge.agent_socket, KEY, answer_s, tls)
        try:
            yield kamailio, edge
        finally:
            kamailio.close()
    finally:
        edge.close()


Story = Callable[[KamailioClient, Edge], Awaitable[None]]


def run(ip: str, story: Story, answer_s: float = 36.0, tls: Tls | None = None) -> None:
    async def running() -> None:
        async with asyncio.timeout(STORY_S), started(ip, answer_s, tls) as (kamailio, edge):
            await story(kamailio, edge)
        await asyncio.sleep(0)  # the transport closes in the next turn of the loop

    asyncio.run(running())


def asking(kamailio: KamailioClient, send: Send = SEND) -> asyncio.Task[Answered | Unanswered]:
    return asyncio.create_task(kamailio.register(ACCOUNT, send, "call-1", OUR_SOCKET))


def test_register_has_next_hop_socket_and_mac(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio)
        received = await edge.receive()
        assert received.data.startswith(b"REGISTER sip:provider.example SIP/2.0\r\n")
        assert received.headers["X-Whence-Next-Hop"] == "sip:192.0.2.1:5060"
        assert received.headers["X-Whence-Socket"] == str(OUR_SOCKET)
        assert received.headers["X-Whence-Mac"] == ipc_headers.request_mac(
            KEY, "REGISTER", "call-1", "7", "sip:192.0.2.1:5060", str(OUR_SOCKET)
        )
        assert KEY not in received.data.decode()
        edge.answer(received, "200 OK")
        await answer

    run(ip, story)


@pytest.mark.parametrize(
    ("hop", "written"),
    [
        (TransportAddress.parse("tcp:192.0.2.1:5070"), "sip:192.0.2.1:5070;transport=tcp"),
        (TransportAddress.parse("udp:[2001:db8::1]:5060"), "sip:[2001:db8::1]:5060"),
    ],
)
def test_next_hop_is_written_as_a_uri(ip: str, hop: TransportAddress, written: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio, Send(7, hop, 3600))
        received = await edge.receive()
        assert received.headers["X-Whence-Next-Hop"] == written
        edge.answer(received, "200 OK")
        await answer

    run(ip, story)


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "503 Busy"])
def test_answer_with_mac_is_accepted_with_its_source(ip: str, status: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio)
        edge.answer(await edge.receive(), status)
        answered = await answer
        assert isinstance(answered, Answered)
        assert (answered.reply.status, answered.reply.cseq) == (int(status[:3]), 7)
        assert answered.source == TransportAddress.parse(REGISTRAR)
        assert kamailio.rejected == 0

    run(ip, story)


def test_answer_without_valid_mac_is_rejected(ip: str) -> None:
    """A forged 200 of an unknown source must grant nothing, even if Kamailio relays it."""

    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio)
        received = await edge.receive()
        edge.answer(received, "200 OK", source=None)
        edge.answer(received, "200 OK", mac="0" * 32)
        edge.answer(received, "401 Unauthorized", mac="0" * 32)
        edge.answer(received, "200 OK", key="22" * 32)
        edge.answer(received, "200 OK", mac="x")
        edge.answer(received, "200 OK", source="udp:192.0.2.2:5060")
        answered = await answer
        assert isinstance(answered, Answered)
        assert answered.source == TransportAddress.parse("udp:192.0.2.2:5060")
        assert kamailio.rejected == 5

    run(ip, story)


def test_mac_is_valid_for_its_own_status_only(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio)
        received = await edge.receive()
        mac_of_403 = ipc_headers.reply_mac(KEY, "call-1", "7", 403, REGISTRAR)
        edge.answer(received, "200 OK", mac=mac_of_403)
        edge.answer(received, "403 Forbidden", mac=mac_of_403)
        answered = await answer
        assert isinstance(answered, Answered) and answered.reply.status == 403
        assert kamailio.rejected == 1

    run(ip, story)


def test_answer_to_another_request_is_rejected(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio)
        received = await edge.receive()
        edge.answer(received, "200 OK", via=received.headers["Via"] + "x")
        assert kamailio.rejected == 0, "another branch is late, not forged"
        edge.answer(received, "200 OK", call_id="call-2")
        edge.answer(received, "200 OK", cseq="8 REGISTER")
        edge.answer(received, "200 OK", cseq="7 OPTIONS")
        edge.send(b"SIP/2.0 nonsense\r\n\r\n", received.sender)
        edge.send(received.data, received.sender)  # a request instead of a reply
        edge.answer(received, "200 OK")
        assert isinstance(await answer, Answered)
        assert kamailio.rejected == 5

    run(ip, story)


def test_provisional_answer_is_skipped(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio)
        received = await edge.receive()
        edge.answer(received, "100 Trying", source=None)
        edge.answer(received, "200 OK")
        assert isinstance(await answer, Answered)
        assert kamailio.rejected == 0

    run(ip, story)


def test_request_is_retransmitted_until_answered(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio)
        first, second = await edge.receive(), await edge.receive()
        assert first.data == second.data
        edge.answer(second, "200 OK")
        assert isinstance(await answer, Answered)
        edge.answer(second, "200 OK")  # a late duplicate is ignored
        assert await kamailio_answers_now(kamailio, edge)
        assert kamailio.rejected == 0

    run(ip, story)


def test_timeout_of_kamailio_is_unanswered(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio)
        edge.answer(await edge.receive(), "408 Request Timeout", source=None)
        assert await answer == Unanswered(NO_ANSWER)

    run(ip, story)


def test_send_failure_of_kamailio_is_not_sent(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio)
        edge.answer(await edge.receive(), "478 Unresolvable destination", source=None)
        assert await answer == Unanswered(
            Why(RegistrationReason.NOT_SENT, "not sent: 478 Unresolvable destination")
        )

    run(ip, story)


CLOSED = Why(RegistrationReason.TLS_CLOSED, "closed")


@dataclass
class ServerOverTls:
    """A server at the other end of the agent's own TLS connections."""

    answers: bytes | Why
    """Its answer; `VIA` in it is the Via of the request."""
    received: list[bytes] = field(default_factory=list)

    async def fault(
        self, next_hop: TransportAddress, name: str, socket: TransportAddress
    ) -> Why | None:
        del next_hop, name, socket
        return None

    async def ask(
        self,
        request: bytes,
        next_hop: TransportAddress,
        name: str,
        socket: TransportAddress,
        within_s: float,
    ) -> bytes | Why:
        del next_hop, name, socket, within_s
        self.received.append(request)
        if isinstance(self.answers, Why):
            return self.answers
        via = next(line for line in request.split(b"\r\n") if line.startswith(b"Via: "))
        return self.answers.replace(b"VIA", via + b";received=198.51.100.7")


def credentials_over_closed_tls(
    ip: str, server: ServerOverTls
) -> tuple[Answered | Unanswered, bytes]:
    """Register with credentials, where Kamailio has no open connection; also return the request."""
    outcomes: list[Answered | Unanswered] = []

    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        send = Send(7, OVER_TLS, 3600, (("Authorization", "Digest x"),))
        answer = asking(kamailio, send)
        edge.answer(await edge.receive(), "500 I'm terribly sorry", source=None)
        outcomes.append(await answer)

    run(ip, story, tls=server)
    return outcomes[0], server.received[0]


def test_credentials_over_closed_tls_are_sent_directly(ip: str) -> None:
    granted = (
        b"SIP/2.0 200 OK\r\nVIA\r\nCall-ID: call-1\r\nCSeq: 7 REGISTER\r\n"
        b"X-Whence-Source: tls:203.0.113.9:5061\r\nX-Whence-Seen-At: 203.0.113.9:1\r\n\r\n"
    )
    answered, request = credentials_over_closed_tls(ip, ServerOverTls(granted))
    assert isinstance(answered, Answered)
    assert (answered.reply.status, answered.source) == (200, OVER_TLS)
    assert answered.seen_at is not None
    assert answered.seen_at.ip_text == "198.51.100.7"
    head = request.decode()
    assert "\r\nAuthorization: Digest x\r\n" in head
    assert "\r\nVia: SIP/2.0/TLS 198.51.100.1:5060;rport;branch=z9hG4bK" in head
    assert "x-whence" not in head.lower()


def test_credentials_over_closed_tls_have_their_reason(ip: str) -> None:
    unanswered, _ = credentials_over_closed_tls(ip, ServerOverTls(CLOSED))
    assert unanswered == Unanswered(CLOSED)


@pytest.mark.parametrize(
    "answers",
    [
        b"SIP/2.0 200 OK\r\nVIA\r\nCall-ID: call-1\r\nCSeq: 6 REGISTER\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVIA\r\nCall-ID: call-2\r\nCSeq: 7 REGISTER\r\n\r\n",
        b"SIP/2.0 200 OK\r\nCall-ID: call-1\r\nCSeq: 7 REGISTER\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVIA\r\n\r\n",
    ],
    ids=["another CSeq", "another Call-ID", "no branch", "no CSeq"],
)
def test_direct_answer_to_another_request_is_rejected(ip: str, answers: bytes) -> None:
    unanswered, _ = credentials_over_closed_tls(ip, ServerOverTls(answers))
    assert isinstance(unanswered, Unanswered)
    assert unanswered.why.reason is RegistrationReason.ANSWER_NOT_ACCEPTED


def test_unanswered_after_rejected_answer_has_its_reason(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        answer = asking(kamailio)
        edge.answer(await edge.receive(), "200 OK", source=None)
        assert await answer == Unanswered(
            Why(
                RegistrationReason.ANSWER_NOT_ACCEPTED,
                "every answer was rejected: a 200 without the edge's MAC",
            )
        )

    run(ip, story, answer_s=2)


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
def test_keep_alive_has_mac_and_accepts_any_status(ip: str, status: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        asking = asyncio.create_task(kamailio.keep_alive(TARGET, 4))
        received = await edge.receive()
        assert received.data.startswith(b"OPTIONS sip:provider.example SIP/2.0\r\n")
        assert received.headers["X-Whence-Mac"] == ipc_headers.request_mac(
            KEY,
            "OPTIONS",
            received.headers["Call-ID"],
            "1",
            "sip:192.0.2.1:5060",
            str(OUR_SOCKET),
        )
        edge.answer(received, status)
        reply = await asking
        assert reply is not None and reply.status == int(status[:3])

    run(ip, story)


def test_keep_alive_timeout_of_kamailio_is_no_answer(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        asking = asyncio.create_task(kamailio.keep_alive(TARGET, 4))
        edge.answer(await edge.receive(), "408 Request Timeout", source=None)
        assert await asking is None
        unanswered = asyncio.create_task(kamailio.keep_alive(TARGET, 0.1))
        await edge.receive()
        assert await unanswered is None

    run(ip, story)


def test_timeout_of_the_client_is_unanswered(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        unanswered = await asking(kamailio)
        assert isinstance(unanswered, Unanswered)
        assert unanswered.why.reason is RegistrationReason.NO_ANSWER_FROM_KAMAILIO
        received = await edge.receive()
        edge.answer(received, "200 OK")  # late
        assert await kamailio_answers_now(kamailio, edge)
        assert kamailio.rejected == 0

    run(ip, story, answer_s=0.1)


def test_requests_at_once_get_their_own_answers(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        one = asking(kamailio)
        first = await edge.receive()
        two = asyncio.create_task(kamailio.register(ACCOUNT, SEND, "call-2", OUR_SOCKET))
        second = await edge.receive()
        edge.answer(second, "403 Forbidden")
        edge.answer(first, "200 OK")
        statuses = []
        for answer in (one, two):
            answered = await answer
            assert isinstance(answered, Answered)
            statuses.append(answered.reply.status)
        assert statuses == [200, 403]

    run(ip, story)


def test_answers_at_once_are_all_received(ip: str) -> None:
    """A busy agent reads the answers of a cold start late, and must lose none."""

    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        call_ids = [f"call-{number}" for number in range(150)]
        answers, received = [], {}
        for call_id in call_ids:
            register = kamailio.register(ACCOUNT, SEND, call_id, OUR_SOCKET)
            answers.append(asyncio.create_task(register))
            while call_id not in received:
                request = await edge.receive()
                received[request.headers["Call-ID"]] = request
        # In one turn of the loop, so the agent reads none of them yet.
        for request in received.values():
            edge.answer(request, "200 " + "long" * 250)
        assert all(isinstance(answer, Answered) for answer in await asyncio.gather(*answers))

    run(ip, story, answer_s=5.0)


async def kamailio_answers_now(kamailio: KamailioClient, edge: Edge) -> bool:
    """Return the result of `lives`, which the edge answers; skip earlier requests."""
    lives = asyncio.create_task(kamailio.lives(STORY_S))
    while not lives.done():
        receiving = asyncio.create_task(edge.receive())
        await asyncio.wait({receiving, lives}, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            receiving.cancel()
            break
        received = receiving.result()
        if received.data.startswith(b"OPTIONS"):
            edge.answer(received, "200 OK", source=None)
            break
    return await lives


def test_lives_sends_options_with_mac(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        lives = asyncio.create_task(kamailio.lives(STORY_S))
        received = await edge.receive()
        assert received.data.startswith(f"OPTIONS sip:{ip}:5062 SIP/2.0\r\n".encode())
        assert received.headers["X-Whence-Mac"] == ipc_headers.request_mac(
            KEY, "OPTIONS", received.headers["Call-ID"], "1", "", ""
        )
        edge.answer(received, "200 OK", source=None)
        assert await lives

    run(ip, story)


def test_lives_is_false_after_a_403(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        lives = asyncio.create_task(kamailio.lives(STORY_S))
        edge.answer(await edge.receive(), "403 Forbidden", source=None)
        assert not await lives

    run(ip, story)


def test_lives_is_false_without_an_answer(ip: str) -> None:
    async def story(kamailio: KamailioClient, edge: Edge) -> None:
        edge.close()
        assert not await kamailio.lives(0.1)

    run(ip, story)
