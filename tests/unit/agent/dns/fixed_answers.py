"""A name server in the test's own loop, with one answer for each type of record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

PORT = 5300


class _Server(asyncio.DatagramProtocol):
    def __init__(self, answers: Mapping[str, str], ttl_s: int) -> None:
        self._answers = answers
        self._ttl_s = ttl_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        (question,) = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        text = self._answers.get(kind, "NOERROR")
        try:
            answer.set_rcode(dns.rcode.from_text(text))
        except dns.rcode.UnknownRcode:
            answer.answer.append(dns.rrset.from_text(question.name, self._ttl_s, "IN", kind, text))
        self._transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def fixed_answers(
    ip: str, answers: Mapping[str, str], ttl_s: int
) -> AsyncIterator[tuple[str, int]]:
    """Answer every name alike; yield (ip, port).

    `answers`: type → the text of a record, or an error code. Other types have no records.
    """
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Server(answers, ttl_s), local_addr=(ip, PORT)
    )
    try:
        yield ip, PORT
    finally:
        transport.close()
