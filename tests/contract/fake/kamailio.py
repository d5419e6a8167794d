"""A fake Kamailio that executes what its handlers tell it: feed it bytes, get what it would send.

It has what the edge's contract is about, simply: transactions, stateless forwarding of replies
that match none, Record-Route, a location table, digest. It has no timers: nothing is sent again
by itself. That it promises no more than the real one keeps is what the contract suite is for.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.contract.fake.location import Auth, Contact, Location
from tests.contract.fake.message import (
    BrokenMessageError,
    Sip,
    Uri,
    header_tag,
    via_address,
    via_param,
)
from tests.rig.sip import Address

Handler = Callable[[object], object]


@dataclass(frozen=True)
class Sent:
    """One datagram that Kamailio sends."""

    data: bytes
    to: Address
    socket: Address


@dataclass
class Branch:
    """One way on which a request was sent."""

    id: bytes
    request: Sip
    to: Address
    status: int = 0
    reply: Sip | None = None


@dataclass
class Transaction:
    """A request that was relayed, and what came of it."""

    request: Sip
    on_reply: str
    on_failure: str
    socket: Address
    branches: list[Branch] = field(default_factory=list)
    final: int = 0
    last_reply: Sip | None = None


@dataclass
class Work:
    """The message at hand, and what the handler has told to change."""

    message: Sip
    ruri: bytes = b""
    next_hop: bytes = b""
    socket: Address = ("", 0)
    removed: list[bytes] = field(default_factory=list)
    appended: list[tuple[bytes, bytes]] = field(default_factory=list)
    in_reply: list[tuple[bytes, bytes]] = field(default_factory=list)
    on_reply: str = ""
    on_failure: str = ""
    failed: tuple[Transaction, Sip] | None = None
    rr_params: str = ""
    record_route: bool = False
    routes_taken: int = 0
    rport: bool = False
    more: list[Contact] = field(default_factory=list)

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return the fields that are sent on."""
        fields = [*self.message.without(self.removed), *self.appended]
        routes = [f for f in fields if f[0].lower() == b"route"][: self.routes_taken]
        return [f for f in fields if f not in routes]


class FakeKamailio:
    """Kamailio with one worker and these sockets; `load` gives it its handlers."""

    def __init__(self, sockets: list[Address], aliases: list[str], definition: str) -> None:
        self.sockets = sockets
        self.aliases = aliases
        self.definition = definition
        self.location, self.auth = Location(), Auth()
        self.log: list[str] = []
        self.work = Work(Sip(b"", []))
        self._handlers: object = None
        self._error_pending = False
        self._tag = secrets.token_hex(8)
        self._served: dict[tuple[bytes, bytes, bytes], Transaction] = {}
        self._asked: dict[bytes, tuple[Transaction, Branch]] = {}
        self._sent: list[Sent] = []

    def load(self, handlers: object) -> None:
        """Take the object that has the handlers, as `mod_init` returns it."""
        self._handlers = handlers

    def handler(self, name: str) -> Handler | None:
        found: Handler | None = getattr(self._handlers, name, None)
        return found

    def receive(self, data: bytes, source: Address, socket: Address) -> list[Sent]:
        """Deal with one datagram; return what is sent because of it."""
        self._sent = []
        try:
            message = Sip.parse(data)
        except BrokenMessageError as error:
            self.log.append(f"core: {error}")
            return []
        message.received, message.socket = source, socket
        if message.is_reply:
            self._reply(message)
        elif not (message.method == b"ACK" and self._is_ours(header_tag(message[b"to"]))):
            self._see_via(message)
            self.work = Work(message, ruri=message.ruri, socket=socket)
            self._run("ksr_request_route")
        return self._sent

    def _run(self, name: str) -> None:
        """Call a handler as app_python3 does, with its trap."""
        handler = self.handler(name)
        if handler is None or self._error_pending:
            self._error_pending = False
            self.log.append(f"SystemError: {name} returned a result with an exception set")
            return
        try:
            result = handler(object())
        except Exception as error:
            self.log.append(f"{name}: {error!r}")
            return
        self._error_pending = not isinstance(result, int)

    def _is_ours(self, tag: bytes) -> bool:
        return tag.startswith(self._tag.encode())

    def is_myself(self, uri: bytes) -> bool:
        """Whether a URI's host and port are a socket or alias of ours."""
        found = Uri.parse(uri)
        return found is not None and (found.host in self.aliases or found.address in self.sockets)

    # Requests.

    def key(self, request: Sip) -> tuple[bytes, bytes, bytes]:
        """Return what tells server transactions apart (RFC 3261 17.2.3)."""
        method = b"INVITE" if request.method in (b"ACK", b"CANCEL") else request.method
        via = request[b"via"].partition(b";")[0]
        return request.branch, via, method

    def transaction(self) -> Transaction | None:
        """Return the transaction to which the message at hand belongs."""
        return self._served.get(self.key(self.work.message))

    def check_trans(self) -> int:
        """tm.t_check_trans"""
        found, method = self.transaction(), self.work.message.method
        if found is None:
            return -1
        if method == b"CANCEL":
            return 1
        if method != b"ACK" and found.last_reply is not None:
            self._send_reply(found, found.last_reply)
        return 0

    def relay(self) -> int:
        """tm.t_relay"""
        request = self.work.message
        if request.method == b"CANCEL":
            return self._relay_cancel()
        if request.method != b"ACK" and self.transaction() is not None:
            return self.check_trans()  # a retransmission, also where nobody asked whether it is
        ways = self._ways()
        if not ways:
            return -1
        if request.method == b"ACK":
            self._send(self._outgoing(*ways[0]), ways[0][1], self.work.socket)
            return 1
        transaction = Transaction(
            request, self.work.on_reply, self.work.on_failure, self.work.socket
        )
        self._served[self.key(request)] = transaction
        if request.method == b"INVITE":
            self._send_reply(transaction, self.reply_to(request, 100, "Trying", tag=False))
        for uri, to in ways:
            sent = self._outgoing(uri, to)
            branch = Branch(sent.branch, sent, to)
            transaction.branches.append(branch)
            self._asked[branch.id] = (transaction, branch)
            self._send(sent, to, self.work.socket)
        return 1

    def _ways(self) -> list[tuple[bytes, Address]]:
        """Return (Request-URI, address) of each branch; only addresses are resolved here."""
        first = Uri.parse(self.work.next_hop or self.work.ruri)
        if first is None or not first.host.replace(".", "").isdigit() or not first.address[1]:
            return []
        more = [(contact.uri, contact.received) for contact in self.work.more]
        return [(self.work.ruri, first.address), *more]

    def _outgoing(self, uri: bytes, to: Address) -> Sip:
        request, work = self.work.message, self.work
        fields = work.fields()
        hops = int(request.first(b"max-forwards") or 71) - 1
        fields = [f for f in fields if f[0].lower() != b"max-forwards"]
        branch = f"z9hG4bK{secrets.token_hex(8)}"
        host = _host(work.socket)
        top = [(b"Via", f"SIP/2.0/UDP {host};branch={branch}".encode())]
        if work.record_route:
            route = f"<sip:{host};lr=on{work.rr_params}>".encode()
            top.insert(0, (b"Record-Route", route))
        start = b" ".join([request.method, uri, b"SIP/2.0"])
        fields = [*top, *fields, (b"Max-Forwards", b"%d" % hops)]
        return Sip(start, fields, request.body, to)

    def _relay_cancel(self) -> int:
        found, cancel = self.transaction(), self.work.message
        if found is None:
            return -1
        self._send(self.reply_to(cancel, 200, "canceling"), self.back(cancel), cancel.socket)
        for branch in found.branches:
            if branch.status < 200:
                self._send(_follow_up(b"CANCEL", branch.request), branch.to, found.socket)
        return 1

    # Replies.

    def send_reply(self, status: int, reason: str) -> int:
        """sl.send_reply"""
        request = self.work.message
        if request.method == b"ACK":
            return -1
        reply = self.reply_to(request, status, reason, self.work.in_reply)
        self._send(reply, self.back(request), request.socket)
        return 1

    def reply_to(
        self,
        request: Sip,
        status: int,
        reason: str,
        headers: list[tuple[bytes, bytes]] | None = None,
        *,
        tag: bool = True,
    ) -> Sip:
        """Make a reply of our own (RFC 3261 8.2.6)."""
        to = request[b"to"]
        if tag and not header_tag(to):
            to += f";tag={self._tag}.{secrets.token_hex(4)}".encode()
        names = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
        fields = [(n, to if n == b"To" else v) for n in names for v in request.all(n)[: _MOST[n]]]
        start = f"SIP/2.0 {status} {reason}".encode()
        return Sip(start, [*fields, *(headers or []), (b"Content-Length", b"0")])

    def _reply(self, reply: Sip) -> None:
        transaction, branch = self._asked.get(reply.branch, (None, None))
        if transaction is not None and reply.cseq[1] != transaction.request.method:
            return None  # to a CANCEL of ours
        self.work = Work(reply, socket=reply.socket)
        if transaction is None or branch is None:
            return self._forward_reply()
        request = transaction.request
        if transaction.on_reply:
            self._run(transaction.on_reply)
        onward = Sip(reply.start, _without_top_via(self.work.fields()), reply.body)
        known, branch.status, branch.reply = branch.status, reply.status, onward
        is_invite = request.method == b"INVITE"
        if is_invite and reply.status >= 300:
            self._send(_follow_up(b"ACK", branch.request, reply), branch.to, transaction.socket)
        if reply.status == 100 or (known >= 200 and not (is_invite and reply.status < 300)):
            return None
        if reply.status < 200:
            return self._send_reply(transaction, onward)
        if reply.status < 300:
            return self._finish(transaction, onward)
        if not transaction.final and all(b.status >= 300 for b in transaction.branches):
            best = min(transaction.branches, key=lambda b: b.status)
            return self._fail(transaction, best.reply or onward)
        return None

    def _fail(self, transaction: Transaction, best: Sip) -> None:
        """Let the failure route answer; what it leaves unanswered is answered with the best."""
        if transaction.on_failure:
            self.work = Work(transaction.request, failed=(transaction, best))
            self._run(transaction.on_failure)
        if not transaction.final:
            self._finish(transaction, best)

    def failed(self) -> tuple[Transaction, Sip]:
        """Return what a failure route is about."""
        if self.work.failed is None:
            raise NotImplementedError("there is no failure at hand")
        return self.work.failed

    def answer_failed(self, status: int, reason: str) -> int:
        """tm.t_reply"""
        transaction, _ = self.failed()
        self._finish(transaction, self.reply_to(transaction.request, status, reason))
        return 1

    def _finish(self, transaction: Transaction, reply: Sip) -> None:
        transaction.final = reply.status
        self._send_reply(transaction, reply)

    def _forward_reply(self) -> None:
        """Nobody here asked for it: it goes where its second Via says, and nothing is looked at."""
        fields = _without_top_via(self.work.message.fields)
        onward = Sip(self.work.message.start, fields, self.work.message.body)
        via = onward.first(b"via")
        to = via_address(via) if via else None
        if to is not None:
            self._send(onward, to, self.work.socket)

    def _send_reply(self, transaction: Transaction, reply: Sip) -> None:
        transaction.last_reply = reply
        self._send(reply, self.back(transaction.request), transaction.request.socket)

    # The wire.

    @staticmethod
    def _see_via(request: Sip) -> None:
        """Write into the top Via where the request came from (RFC 3261 18.2.1, RFC 3581)."""
        at = next(i for i, (n, _) in enumerate(request.fields) if n.lower() in (b"via", b"v"))
        name, via = request.fields[at]
        ip, port = request.received
        if via_param(via, b"rport") is not None:
            via = via.replace(b";rport", b";rport=%d" % port, 1)
        request.fields[at] = (name, via + b";received=" + ip.encode())

    def back(self, request: Sip) -> Address:
        """Return where the replies to a request go."""
        if self.work.rport or via_param(request[b"via"], b"rport") is not None:
            return request.received
        return via_address(request[b"via"]) or request.received

    def _send(self, message: Sip, to: Address, socket: Address) -> None:
        self._sent.append(Sent(bytes(message), to, socket))


_MOST = {b"Via": 500, b"From": 1, b"To": 1, b"Call-ID": 1, b"CSeq": 1}


def _follow_up(method: bytes, request: Sip, answer: Sip | None = None) -> Sip:
    """Make the CANCEL of a request of ours, or the ACK of its refusal."""
    names = (b"From", b"Call-ID")
    fields = [(b"Via", request[b"via"]), *((n, request[n]) for n in names)]
    fields.append((b"To", (answer or request)[b"to"]))
    fields.append((b"CSeq", b"%d %b" % (request.cseq[0], method)))
    fields += [(b"Max-Forwards", b"70"), (b"Content-Length", b"0")]
    return Sip(method + request.start.removeprefix(request.method), fields)


def _without_top_via(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    at = next(i for i, (name, _) in enumerate(fields) if name.lower() in (b"via", b"v"))
    return [*fields[:at], *fields[at + 1 :]]


def _host(socket: Address) -> str:
    return socket[0] if socket[1] == 5060 else f"{socket[0]}:{socket[1]}"
