"""A small DNS server that gives any answer to each question, also an error code or TTL 0."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

A, SRV, NAPTR = 1, 33, 35
SERVFAIL, NXDOMAIN = 2, 3


@dataclass(frozen=True)
class Answer:
    """The answer to one question: an error code, or records with one TTL."""

    records: Sequence[bytes] = ()
    code: int = 0
    ttl_s: int = 300


def a(*ips: str, ttl_s: int = 300) -> Answer:
    """Answer with A records."""
    return Answer([socket.inet_aton(ip) for ip in ips], ttl_s=ttl_s)


def srv(*servers: tuple[int, int, str]) -> Answer:
    """Answer with SRV records. `servers`: (priority, port, host)."""
    return Answer([struct.pack("!HHH", p, 10, port) + _name(host) for p, port, host in servers])


class AnsweringServer:
    """Answers DNS questions over UDP. A name without an answer does not exist."""

    def __init__(self, ip: str, answers: Mapping[tuple[str, int], Answer], port: int = 53) -> None:
        """Start it. `answers`: (name, type) → answer."""
        self.ip = ip
        self._answers = answers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ip, port))
        self.asked: list[tuple[str, int]] = []
        """The questions so far, in order."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):  # the socket is closed
            while True:
                query, sender = self._socket.recvfrom(4096)
                if not query:
                    return
                self._socket.sendto(self._answer(query), sender)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii").lower())
            at += 1 + query[at]
        question = query[12 : at + 5]
        (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
        name = ".".join(labels)
        self.asked.append((name, kind))
        exists = any(name == known for known, _ in self._answers)
        answer = self._answers.get((name, kind), Answer(code=0 if exists else NXDOMAIN))
        head = query[:2] + struct.pack("!HHHHH", 0x8580 | answer.code, 1, len(answer.records), 0, 0)
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, answer.ttl_s, len(data)) + data
            for data in answer.records
        ]
        return head + question + b"".join(records)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())  # ends the thread
        self._thread.join()
        self._socket.close()


def _name(text: str) -> bytes:
    return b"".join(bytes([len(p)]) + p.encode("ascii") for p in text.split(".")) + b"\0"
