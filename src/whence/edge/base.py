"""The base of all handlers: a worker's state, the current message, and how a handler ends.

Kamailio 5.6 has two traps (measured). A handler that raises leaves its caller without an answer.
A handler that returns anything but an int breaks the *next* message of that worker. The decorators
`answers`, `survives` and `judges` prevent both. Header bytes that are not UTF-8 are normal traffic;
such a header counts as absent.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from whence.core.clock import ClockOffset
from whence.core.dialogs.arrival import MICROSECONDS, Arrival
from whence.core.identification import number_headers
from whence.core.identification.decision import Reason
from whence.core.identification.request import Request
from whence.core.identification.trunk import P_CALLED_PARTY_ID
from whence.core.sip.message import Message
from whence.core.sip.transport_address import IP, TransportAddress, canonical_ip
from whence.core.sip.uri import host_text
from whence.edge.decision_cache import CacheKey, DecisionCache
from whence.edge.decision_sender import DecisionSender
from whence.edge.ksr import Ksr
from whence.errors import StoreUnavailableError
from whence.ipc import decisions, headers
from whence.ipc.decisions import Sender
from whence.store.generation import GenerationReader
from whence.store.reader import DirectoryReader
from whence.store.schema import GENERATION_FILE
from whence.store.system_clock import boot_id, boottime

# What a handler returns to Kamailio's routing.
ANSWERED = 0  # the routing ends here
NO = -1
GO_ON = 1

_URI = re.compile(r"^[^<]*<([^>]*)>.*$", re.DOTALL)
"""A To with its URI in angle brackets."""

MESSAGE_IN_HEX = "$(mb{s.encode.hexa})"
LONGEST_IN_HEX = 32_000
"""Bytes. Kamailio converts no longer message, and logs an error."""

PHONES = "phones"
"""Table: ip, and ip:port, of phones that registered in the last two hours."""

NO_CALLS = frozenset({"ACK", "REGISTER"})
"""Requests that the list of calls does not have: ACK has no reply, and REGISTER has its own."""

OURS = (
    headers.TRUNK,
    headers.SOURCE,
    headers.MAC,
    headers.NEXT_HOP,
    headers.SOCKET,
    headers.TLS_REJECT_REASON,
    headers.SEEN_AT,
)
"""The headers that only Whence writes. The edge removes them from all other messages."""


class Worker:
    """One worker process of Kamailio: its connection to the directory, and the current message."""

    def __init__(self, ksr: Ksr, directory: Path) -> None:
        """`directory`: the file. A worker opens what it needs at its first request."""
        self.ksr = ksr
        self.directory = DirectoryReader(directory)
        self.decision_cache = DecisionCache(GenerationReader(directory.with_name(GENERATION_FILE)))
        self.decision_sender = DecisionSender(directory.with_name(decisions.SOCKET_FILE))
        self._message: Message | None = None
        self._number_headers: tuple[str, ...] = ()
        """The headers that some trunk has in `number_headers`, besides those of all trunks."""
        self._number_headers_of: bytes | None = None
        """The generation of the directory that has these headers."""
        self._offset: ClockOffset | None = None
        self._offset_of: bytes | None = None
        """The generation of the directory that has this offset."""

    def now(self) -> float:
        """Return the time by which addresses end, in seconds since the epoch.

        A step of the system clock does not change it until the addresses are corrected. The agent
        corrects them, or a worker of a drop-in. So no address admits calls longer than its
        registrar granted.
        """
        generation = self.decision_cache.generation()
        if generation is None or generation != self._offset_of:
            try:
                self._offset = ClockOffset.parse(self.directory.clock_offset())
            except StoreUnavailableError:
                return time.time()
            self._offset_of = generation
        if self._offset is None or self._offset.boot_id != boot_id():
            return time.time()
        return boottime() + self._offset.seconds

    @property
    def message(self) -> Message:
        """Return the current message, as the check of its form left it."""
        if self._message is None:
            self._message = self.read_message() or Message("")
        return self._message

    @message.setter
    def message(self, message: Message) -> None:
        self._message = message

    def forget_message(self) -> None:
        """Begin with another message, which is read when a handler needs it."""
        self._message = None

    def report(self, body: str, method: str, call_id: str, *, from_cache: bool) -> None:
        """Report a decision on the current request to the agent."""
        arrival, sender = self.arrival(), self.sender()
        self.decision_sender.send(body, method, call_id, arrival, sender, from_cache=from_cache)

    def arrival(self) -> Arrival:
        """Return the arrival of the current request, which names its call in reports."""
        get = self.ksr.pv.get
        at_us = int(get("$TV(s)") or 0) * MICROSECONDS + int(get("$TV(u)") or 0)
        return Arrival(at_us, os.getpid())

    def sender(self) -> Sender:
        """Return the From of the current request."""
        get = self.ksr.pv.get
        return Sender(text(lambda: get("$fu")) or "", text(lambda: get("$ft")) or "")

    def answer(self, status: int, phrase: str) -> int:
        """Answer the current request unless it is an ACK; return ANSWERED."""
        if text(self.ksr.kx.get_method) != "ACK":
            self.ksr.sl.send_reply(status, phrase)
        return ANSWERED

    def read_message(self) -> Message | None:
        """Read the current message, as characters or as bytes; None if it is too long."""
        try:
            return Message(self.ksr.kx.get_msgbuf())
        except UnicodeDecodeError:
            get = self.ksr.pv.get
            digits = get(MESSAGE_IN_HEX) if int(get("$ml") or 0) <= LONGEST_IN_HEX else None
            return Message(bytes.fromhex(str(digits))) if digits else None

    def without_ours(self, message: Message) -> Message | None:
        """Return the current message without OURS; None where it cannot be rewritten.

        Kamailio's own functions are no help: its parser stops at a header that it cannot read.
        """
        return self.rewritten(message) if headers.PREFIX in message.head else message

    def rewritten(self, message: Message) -> Message | None:
        """Rewrite the current message: without OURS, unfolded, without octets after the body.

        After a None the message must not be used: Kamailio 5.6 has half of it, and crashes.
        """
        new = message.rewritten(headers.PREFIX)
        if new is None or self.ksr.textopsx.msg_set_buffer(new) < 0:
            return None
        return Message(new)

    def remove_ours(self) -> None:
        """Remove OURS from the message that Kamailio sends on."""
        for header in OURS:
            self.ksr.hdr.remove(header)

    def report_refusal(
        self,
        reason: Reason,
        message: Message | None = None,
        source: TransportAddress | None = None,
        trunk_id: str = "",
    ) -> None:
        """Report to the agent that the edge refuses a request.

        `message`: None: the current one. `source`: None: that of the current one. `trunk_id`: the
        trunk that it was identified as.
        """
        message = message or self.read_message() or Message("")
        method, ruri = message.request_line
        if method in NO_CALLS:
            return
        source = source or self.source()
        call_id, to = (next(iter(message.as_written(name)), "") for name in ("call-id", "to"))
        body = decisions.refusal_body(
            reason,
            source,
            ruri,
            _URI.sub(r"\1", to),
            is_known=self.belongs(source.ip),
            trunk_id=trunk_id,
        )
        bounded = decisions.bounded_method(method)
        self.report(body, bounded, call_id, from_cache=False)

    def report_failure(self, reason: Reason) -> None:
        """Report a request that the edge answers with a 500 or 503, if that is possible."""
        with suppress(Exception):  # the answer is sent already
            self.report_refusal(reason)

    def belongs(self, ip: IP) -> bool:
        """Return whether a trunk's address or a registered phone has this ip.

        Return True if the directory cannot be read: the edge then blocks no source.
        """
        if self.ksr.htable.sht_get(PHONES, str(ip)) is not None:
            return True
        try:
            return self.directory.admits_ip(ip, self.now())
        except StoreUnavailableError:
            return True

    def source(self) -> TransportAddress:
        """Return the source of the current message."""
        return TransportAddress.parse(self.ksr.kx.get_srcaddr_sock())

    def received_on(self) -> TransportAddress:
        """Return our own socket on which the message at hand was received."""
        kx = self.ksr.kx
        ip = host_text(str(canonical_ip(kx.get_rcvip())))
        return TransportAddress.parse(f"{self.source().transport}:{ip}:{kx.get_rcvport()}")

    def cache_key(self, message: Message) -> CacheKey | None:
        """Return the parts of a request that identification uses; None without a valid R-URI."""
        ksr = self.ksr
        ruri = text(ksr.kx.get_ruri)
        if ruri is None:
            return None
        p_called_party_id, others = None, ""
        if P_CALLED_PARTY_ID in message.text:
            p_called_party_id = text(lambda: ksr.hdr.get("P-Called-Party-ID")) or ""
        if self._number_headers:
            others = self._other_headers(message.text)
        to = text(ksr.kx.get_turi)
        return CacheKey(ksr.kx.get_srcaddr_sock(), ruri, to, p_called_party_id, others)

    def has_new_number_headers(self, now: float) -> bool:
        """Read the number headers again if the directory has changed; return whether they differ.

        A cached decision needs no such check: its headers are those of the same generation.
        """
        self.decision_cache.is_current(now)
        seen = self.decision_cache.seen
        if seen is not None and seen == self._number_headers_of:
            return False
        names = self.directory.number_headers()
        changed = names != self._number_headers
        self._number_headers, self._number_headers_of = names, seen
        return changed

    def has_read(self, generation: bytes, number_headers: tuple[str, ...]) -> bool:
        """Return whether the last decision is of this generation, with these number headers."""
        is_of = self.decision_cache.seen == generation == self._number_headers_of
        return is_of and number_headers == self._number_headers

    def _other_headers(self, words: str) -> str:
        found = []
        for name in self._number_headers:
            value = self._value(name) if name in words else None
            if value is not None:
                found.append((name, value))
        return number_headers.text_of(found)

    def _value(self, name: str) -> str | None:
        if name in number_headers.SEVERAL:
            return text(lambda: self.ksr.pv.get(f"$(hdr({name})[*])"))
        return text(lambda: self.ksr.hdr.get(name))


class Handlers:
    """A part of the edge: some of the functions that Kamailio's routing calls."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.ksr = worker.ksr


H = TypeVar("H", bound=Handlers)
Handler = Callable[[H, object], int]
Arguments = ParamSpec("Arguments")
"""The message, and the argument of `python_exec` if it has one."""


def answers(
    handler: Callable[Concatenate[H, Arguments], int],
) -> Callable[Concatenate[H, Arguments], int]:
    """Make a handler of requests that always answers.

    An exception becomes a 500, or a 503 where the directory cannot be read, and one log line.
    """

    @wraps(handler)
    def answering(own: H, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        try:
            return handler(own, *args, **kwargs)
        except StoreUnavailableError as error:
            own.ksr.err(f"whence: {error}\n")
            own.worker.answer(503, "Service Unavailable")
            own.worker.report_failure(Reason.DIRECTORY_UNAVAILABLE)
        except Exception as error:  # noqa: BLE001 - after any bug the caller gets an answer
            own.ksr.err(f"whence: {handler.__name__}: {one_line(error)}\n")
            own.worker.answer(500, "Server Internal Error")
            own.worker.report_failure(Reason.INTERNAL_ERROR)
        return ANSWERED

    return answering


def survives(
    handler: Callable[Concatenate[H, Arguments], int],
) -> Callable[Concatenate[H, Arguments], int]:
    """Make a handler that lets the message pass, also after an exception."""

    @wraps(handler)
    def surviving(own: H, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        try:
            return handler(own, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a reply without a source header is ignored
            own.ksr.err(f"whence: {handler.__name__}: {one_line(error)}\n")
        return GO_ON

    return surviving


def judges(handler: Handler[H]) -> Handler[H]:
    """Make a handler that lets no message pass after an exception."""

    @wraps(handler)
    def judging(own: H, message: object) -> int:
        try:
            return handler(own, message)
        except Exception as error:  # noqa: BLE001 - a message that was not checked is dropped
            own.ksr.err(f"whence: {handler.__name__}: {one_line(error)}\n")
        return NO

    return judging


def text(read_value: Callable[[], str | int | None]) -> str | None:
    """Return a value of the current message; None where it is absent or not UTF-8."""
    try:
        value = read_value()
        return None if value is None else str(value)
    except UnicodeDecodeError:
        return None


def hides(message: Message) -> bool:
    """Return whether a header of OURS may be in the message, and Kamailio cannot remove it."""
    if headers.PREFIX not in message.text:
        return False
    return message.has_broken_line or smuggles(message.text)


def smuggles(words: str) -> bool:
    """Return whether a header of OURS begins where only a target may see the start of a line.

    Kamailio sees none after a lone CR, after another control character, or in a folded line.
    """
    # A regular expression would take quadratic time for a message of 60 000 tabs.
    for before in words.split(headers.PREFIX)[:-1]:
        line = before.rstrip(" ")
        last = line[-1:]
        if last and not " " <= last <= "~" and (last != "\n" or line != before):
            return True
    return False


def read(key: CacheKey) -> Request | None:
    """Return the request for identification; None where its R-URI is not a URI."""
    source, ruri, to, p_called_party_id, others = key
    return decisions.read_request(
        TransportAddress.parse(source), ruri, to, p_called_party_id, others
    )


def one_line(error: Exception) -> str:
    """Return an exception as one line for a log."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
