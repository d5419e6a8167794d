"""The form of messages. The edge accepts only those that all parsers read alike."""

from __future__ import annotations

from whence.core.identification.decision import Reason
from whence.core.sip.message import Fault, Message
from whence.edge.base import ANSWERED, GO_ON, NO, Handlers, Worker, answers, hides, judges
from whence.edge.dialog_table import DialogTable
from whence.edge.guard import GuardHandlers
from whence.edge.plain import is_plain_reply, is_plain_request
from whence.errors import StoreUnavailableError

PLAIN = 2
"""`ksr_reply` returns it for one that `is_plain_reply`, GO_ON for another well-formed one."""

FRAMED_BY_LENGTH = frozenset({"tcp", "tls"})
"""The transports over which a request needs a Content-Length (RFC 3261 18.3). Kamailio demands it
itself, unless the edge listens for WebSockets."""

KEY, HAS_KEY = "$var(dialog_key)", "$var(has_dialog_key)"
"""The key of Kamailio's cookies, which each of its processes gets before its first request."""


class MessageHandlers(Handlers):
    """Checks each message, and makes it the worker's current message."""

    def __init__(self, worker: Worker, guard: GuardHandlers) -> None:
        super().__init__(worker)
        self._guard = guard
        self._gave_key = False

    @judges
    def ksr_look(self, _message: object) -> int:
        """Return whether Kamailio itself can check the form of a request: it `is_plain_request`."""
        self.worker.forget_message()
        if not self._gave_key:
            self._give_key()
        try:
            raw = self.ksr.kx.get_msgbuf()
        except UnicodeDecodeError:
            return NO
        return GO_ON if is_plain_request(raw) else NO

    def _give_key(self) -> None:
        """Give this process of Kamailio the key of its cookies; without it, it writes none."""
        try:
            key = DialogTable(self.worker).native_key()
        except StoreUnavailableError:
            return
        self.ksr.pv.sets(KEY, key)
        self.ksr.pv.seti(HAS_KEY, 1)
        self._gave_key = True

    @answers
    def ksr_well_formed(self, _message: object) -> int:
        """Return whether a request is well formed: all parsers read its headers alike.

        The edge removes headers that only it may write, and unfolds the others. It discards
        octets after the body (RFC 3261 7.3.1, 18.3).
        """
        ksr, worker, guard = self.ksr, self.worker, self._guard
        message = worker.read_message()
        if message is None or message.fault or hides(message):
            return self._refuse(Reason.MALFORMED, message, 400, "Bad Request")
        fault = message.request_fault()
        if fault is not None:  # Kamailio does not answer a request that it cannot parse
            if fault is Fault.SCHEME:
                reason, refusal = Reason.UNSUPPORTED_SCHEME, (416, "Unsupported URI Scheme")
            else:
                reason, refusal = Reason.MALFORMED, (400, "Bad Request")
            guard.send_refusal(message, *refusal, *guard.ends())
            guard.refuse_unreadable(reason, worker.source(), message)
            return ANSWERED
        if not message.all("content-length") and ksr.kx.get_proto() in FRAMED_BY_LENGTH:
            return self._refuse(Reason.MALFORMED, message, 400, "Bad Request")
        extensions = message.extensions_asked_of_proxies
        if extensions is not None:  # the edge supports none
            if extensions:
                ksr.hdr.append_to_reply(f"Unsupported: {', '.join(extensions)}\r\n")
            return self._refuse(Reason.UNSUPPORTED_EXTENSION, message, 420, "Bad Extension")
        extra = message.has_extra_octets and ksr.kx.get_proto() == "udp"
        rewritten = (
            worker.rewritten(message)
            if message.is_folded or extra
            else worker.without_ours(message)
        )
        if rewritten is None:
            guard.send_refusal(message, 400, "Bad Request", *guard.ends())
            guard.refuse_unreadable(Reason.MALFORMED, worker.source(), message)
            return ANSWERED
        worker.message = rewritten
        return GO_ON

    def _refuse(self, reason: Reason, message: Message | None, status: int, phrase: str) -> int:
        """Answer a request that is not well formed, and report it."""
        self._guard.refuse_unreadable(reason, self.worker.source(), message)
        return self.worker.answer(status, phrase)

    @judges
    def ksr_reply(self, _message: object) -> int:
        """Return whether a reply is well formed; remove headers that only the edge may write."""
        self.worker.forget_message()
        try:
            if is_plain_reply(self.ksr.kx.get_msgbuf()):
                return PLAIN
        except UnicodeDecodeError:
            pass
        message = read_reply(self.worker)
        if message is None:
            return NO
        self.worker.message = message
        return GO_ON


def read_reply(worker: Worker) -> Message | None:
    """Read the current reply, without our headers; None where it is not well formed."""
    message = worker.read_message()
    if message is None or message.fault or hides(message):
        return None
    return worker.without_ours(message)
