"""What all handlers share: how they end, and what they take from the message at hand.

Two rules of the house (measured on 5.6): a handler that raises leaves its caller without an answer,
and one that returns anything but an int breaks the *next* message of that worker. `answers` and
`survives` see to both. Headers whose bytes are not UTF-8 are normal traffic; they count as not
there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TypeVar

from whence.core.identification import number_headers
from whence.core.identification.request import Request
from whence.core.identification.trunk import P_CALLED_PARTY_ID
from whence.core.sip.message import Message
from whence.core.sip.transport_address import TransportAddress
from whence.edge.decision_cache import CacheKey, DecisionCache
from whence.edge.decision_sender import DecisionSender
from whence.edge.ksr import Ksr
from whence.errors import StoreUnavailableError
from whence.ipc import decisions
from whence.ipc import headers as stamp
from whence.store.generation import GenerationReader
from whence.store.reader import DirectoryReader
from whence.store.schema import GENERATION_FILE

# What a handler returns to Kamailio's routing.
ANSWERED = 0  # ends it: there is nothing more to do
NO = -1
GO_ON = 1

MESSAGE_IN_HEX = "$(mb{s.encode.hexa})"
LONGEST_IN_HEX = 32_000
"""Bytes: of more Kamailio makes no text, and writes that into its log."""

OURS = (stamp.TRUNK, stamp.SOURCE, stamp.KEY, stamp.NEXT_HOP, stamp.SOCKET, stamp.DISTRUST)
"""Headers that only Whence writes: whoever else does, they go no further."""

H = TypeVar("H", bound="Handlers")
Handler = Callable[[H, object], int]


def answers(handler: Handler[H]) -> Handler[H]:
    """Make a handler of requests that always answers: a bug is a 500 and one log line, and then
    Kamailio's routing has nothing more to do.
    """

    @wraps(handler)
    def answering(own: H, message: object) -> int:
        try:
            return handler(own, message)
        except StoreUnavailableError as error:
            own.ksr.err(f"whence: {error}\n")
            own.answer(503, "Service Unavailable")
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            own.ksr.err(f"whence: {handler.__name__}: {one_line(error)}\n")
            own.answer(500, "Server Internal Error")
        return ANSWERED

    return answering


def survives(handler: Handler[H]) -> Handler[H]:
    """Make a handler of replies that lets the reply pass whatever happens."""

    @wraps(handler)
    def surviving(own: H, message: object) -> int:
        try:
            return handler(own, message)
        except Exception as error:  # noqa: BLE001 - an unstamped reply teaches nobody anything
            own.ksr.err(f"whence: {handler.__name__}: {one_line(error)}\n")
        return GO_ON

    return surviving


def judges(handler: Handler[H]) -> Handler[H]:
    """Make a handler of replies that lets none pass where anything goes wrong."""

    @wraps(handler)
    def judging(own: H, message: object) -> int:
        try:
            return handler(own, message)
        except Exception as error:  # noqa: BLE001 - what was not judged goes no further
            own.ksr.err(f"whence: {handler.__name__}: {one_line(error)}\n")
        return NO

    return judging


class Handlers:
    """What Kamailio's routing calls in each of its worker processes."""

    def __init__(self, ksr: Ksr, directory: Path) -> None:
        self.ksr = ksr
        self._directory = DirectoryReader(directory)
        self._known = DecisionCache(GenerationReader(directory.with_name(GENERATION_FILE)))
        self._tell = DecisionSender(directory.with_name(decisions.SOCKET_FILE))
        self._headers: tuple[str, ...] = ()
        """Headers in which some trunk's number is looked for, besides those that all look at."""
        self._headers_of: bytes | None = None
        """The generation of the directory that they were read of."""

    def child_init(self, _rank: int) -> int:
        """Nothing is opened here: what a worker needs, it opens at its first request."""
        return 0

    def answer(self, status: int, phrase: str) -> int:
        """Answer the request at hand, if it is one that is answered; returns ANSWERED."""
        if self._text(self.ksr.kx.get_method) != "ACK":
            self.ksr.sl.send_reply(status, phrase)
        return ANSWERED

    def _message(self) -> Message | None:
        """Return the message at hand, with what only we may say taken off.

        None where it has a fault, is too long, or one of our headers hides in it: it goes no
        further.
        """
        message = self._read()
        if message is None or message.fault or hides(message):
            return None
        if stamp.PREFIX in message.head:
            self._strip()
        return message

    def _read(self) -> Message | None:
        """Read the message at hand, as characters or as bytes; None if it is too long."""
        try:
            return Message(self.ksr.kx.get_msgbuf())
        except UnicodeDecodeError:
            get = self.ksr.pv.get
            digits = get(MESSAGE_IN_HEX) if int(get("$ml") or 0) <= LONGEST_IN_HEX else None
            return Message(bytes.fromhex(str(digits))) if digits else None

    def _strip(self) -> None:
        """Take off what only we may say."""
        for header in OURS:
            self.ksr.hdr.remove(header)

    def _source(self) -> TransportAddress:
        return TransportAddress.parse(self.ksr.kx.get_srcaddr_sock())

    def _asked(self, message: Message) -> CacheKey | None:
        """Take from the request what identification looks at; None without a readable R-URI."""
        ksr, text = self.ksr, self._text
        ruri = text(ksr.kx.get_ruri)
        if ruri is None:
            return None
        p_called_party_id, others = None, ""
        if P_CALLED_PARTY_ID in message.text:
            p_called_party_id = text(lambda: ksr.hdr.get("P-Called-Party-ID")) or ""
        if self._headers:
            others = self._others(message.text)
        to = text(ksr.kx.get_turi)
        return CacheKey(ksr.kx.get_srcaddr_sock(), ruri, to, p_called_party_id, others)

    def _others(self, words: str) -> str:
        """Take the further headers that the request has."""
        found = []
        for name in self._headers:
            value = self._value(name) if name in words else None
            if value is not None:
                found.append((name, value))
        return number_headers.text_of(found)

    def _value(self, name: str) -> str | None:
        if name in number_headers.SEVERAL:
            return self._text(lambda: self.ksr.pv.get(f"$(hdr({name})[*])"))
        return self._text(lambda: self.ksr.hdr.get(name))

    def _has_other_headers(self, now: float) -> bool:
        """Read again which headers count, where the directory has moved; whether these are others.

        Not asked for a call that was decided before: its headers are those of the same directory.
        """
        self._known.stands(now)
        seen = self._known.seen
        if seen is not None and seen == self._headers_of:
            return False
        headers = self._directory.number_headers()
        changed = headers != self._headers
        self._headers, self._headers_of = headers, seen
        return changed

    @staticmethod
    def _text(read: Callable[[], str | int | None]) -> str | None:
        try:
            value = read()
            return None if value is None else str(value)
        except UnicodeDecodeError:
            return None


def hides(message: Message) -> bool:
    """Return whether one of our headers may be in the message where Kamailio cannot take it off."""
    if stamp.PREFIX not in message.text:
        return False
    return message.has_broken_line or smuggles(message.text)


def smuggles(words: str) -> bool:
    """Whether one of our headers stands at the begin of what is no line to Kamailio, but may be one
    to the target: after a CR alone, say, or another control character, or in a continued line.
    """
    # No regular expression: a stranger's sixty thousand tabs must not cost their square.
    for before in words.split(stamp.PREFIX)[:-1]:
        line = before.rstrip(" ")
        last = line[-1:]
        if last and not " " <= last <= "~" and (last != "\n" or line != before):
            return True
    return False


def read(asked: CacheKey) -> Request | None:
    """Make of a request's own words what identification takes; None where its R-URI is no URI."""
    source, ruri, to, p_called_party_id, others = asked
    return decisions.read_request(
        TransportAddress.parse(source), ruri, to, p_called_party_id, others
    )


def one_line(error: Exception) -> str:
    """Say what went wrong, for a log."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
