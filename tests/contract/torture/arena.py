"""A trunk, its phone and an unknown source around one edge, and checks that always hold."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from testkit.namespace import Namespace, Sniffer
from testkit.network import SIP_PORT
from testkit.parsers import READERS, WHOLE, prefixed
from testkit.sip import Endpoint, Message, reply
from testkit.stream import StreamEndpoint
from testkit.wait import PATIENCE_S
from tests.contract.call import connect
from tests.contract.scene import Scene
from tests.contract.world import Caller, World
from whence.core.protection.kamailio_log import LogFilter
from whence.ipc import headers

ANSWER_PORTS = (5050, 5061, 5070)
"""Other ports for answers: those of the Vias in the RFC's messages."""


@dataclass(frozen=True)
class Became:
    """The result of one message."""

    source: str
    """The source of the message."""
    arrived: list[bytes]
    """The messages that the target received."""
    answers: list[Message]
    """The final answers to its sender."""

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers]


class Sender:
    """A sender with one address over UDP and TCP, which records all that it receives."""

    def __init__(self, scene: Scene, namespace: Namespace, machine: str) -> None:
        self.udp: Endpoint = scene.endpoint(machine, SIP_PORT)
        self.ip = self.udp.address[0]
        self._others = [scene.endpoint(machine, port) for port in ANSWER_PORTS]
        self._namespace = namespace

    def came(self) -> list[bytes]:
        """Return the datagrams that arrived at any of its ports."""
        return [data for one in (self.udp, *self._others) for data in one.waiting()]

    def connection(self) -> StreamEndpoint:
        """Return a connection that is not open yet."""
        return StreamEndpoint(self.ip, bound=self._namespace.socket("tcp", self.ip))


class Arena:
    """One Kamailio for many messages; it lives in a namespace of its own."""

    def __init__(self, world: World, scene: Scene, namespace: Namespace) -> None:
        self.scene, self._world, self._namespace = scene, world, namespace
        user = scene.user()
        self.phone = scene.phone(user)
        self.provider = Sender(scene, namespace, "provider")
        self.unknown_source = Sender(scene, namespace, "unknown_source")
        self.trunk: Caller = scene.trunk(user, at=self.provider.udp, networks=[self.provider.ip])
        self._fences = set(scene.fences)
        phones = self.phone.address[0]
        self._tests = {self.provider.ip, self.unknown_source.ip, phones, *self._fences}
        """Addresses from which the tests send: what any other sends is the edge's."""
        self._sniffer = Sniffer(namespace)
        self._refused = namespace.refused
        self._pids = sorted(world.process.descendants())
        self._log = world.process.log_file.open("rb")
        self._shows = shown_lines()

    def listener(self, machine: str) -> socket.socket:
        """Return a target that waits for connections."""
        bound = self._namespace.socket("tcp", self.scene.ip(machine))
        bound.settimeout(PATIENCE_S)
        bound.listen()
        return bound

    # --- sending

    def by_udp(self, sender: Sender, data: bytes) -> Became:
        """Send a datagram, let the target answer, and return the result."""
        sender.udp.send(data, self.scene.edge)
        self.scene.await_edge()
        arrived = self.pick_up()
        self.scene.await_edge()
        return Became(f"udp:{sender.ip}:{SIP_PORT}", arrived, finals(sender.came()))

    def by_tcp(self, sender: Sender, data: bytes, *, framed: bool, awaited: bool) -> Became:
        """Send a message over a new connection, let the target answer, and return the result.

        *framed*: a second request on the connection gets an answer. *awaited*: without it, the
        caller waits for an answer first.
        """
        with sender.connection() as connection:
            connection.send(data, self.scene.edge)
            answers: list[Message] = []
            if framed:
                answers += self._up_to_a_fence(connection)
            else:
                if awaited:
                    answers.append(connection.expect(is_final, what="an answer over TCP"))
                with sender.connection() as another:
                    self._up_to_a_fence(another)
            arrived = self.pick_up()
            if arrived and not answers:
                answers.append(connection.expect(is_final, what="the target's answer over TCP"))
            self.scene.await_edge()
            answers += [message for message in connection.rest() if is_final(message)]
            return Became(f"tcp:{sender.ip}:{connection.address[1]}", arrived, answers)

    def pick_up(self) -> list[bytes]:
        """Let the target answer, and return the messages that it received."""
        arrived = self.phone.waiting()
        for data in arrived:
            self.accept(self.phone, data)
        return arrived

    def accept(self, who: Endpoint, data: bytes) -> None:
        """Answer a request with 200, if it can be read."""
        try:
            message = Message.parse(data)
            answer = reply(message, 200, headers=[("Contact", f"<sip:{who.address[0]}>")])
        except (KeyError, IndexError):
            return
        if not message.is_reply and message.method != "ACK":
            who.send(answer, self.scene.edge)

    def _up_to_a_fence(self, connection: StreamEndpoint) -> list[Message]:
        """Send a harmless request on this connection; return the final answers before its own."""
        return [one for one in self.scene.came_before_fence(connection) if is_final(one)]

    # --- what must hold

    def begin(self) -> None:
        """Discard messages and log lines of earlier tests."""
        self.scene.await_edge()
        for endpoint in (self.provider, self.unknown_source):
            endpoint.came()
        self.phone.waiting()
        self._sniffer.seen()
        self._refused = self._namespace.refused
        self._said()

    def faults(self, messages: int, *to: str) -> list[str]:
        """Return the faults after so many messages.

        The edge must have sent to no address but *to*. No process may have changed. The log may
        have at most one line for each message. A normal call must pass.
        """
        faults = self._strays(*to)
        if sorted(self._world.process.descendants()) != self._pids:
            faults.append("a process has changed")
        try:
            self.call()
        except AssertionError as error:
            faults.append(f"a normal call does not pass: {error}")
        faults += self._strays(*to, self.provider.ip, self.phone.address[0])
        lines = self._said()
        if len(lines) > messages:
            faults.append(f"{len(lines)} lines in the log for {messages} messages: {lines[:3]}")
        return faults

    def call(self) -> None:
        """Make a normal call: INVITE, 200, ACK, BYE, 200."""
        call = connect(self.scene, self.provider.udp, self.phone)
        self.provider.udp.send(call.from_caller("BYE"), self.scene.edge)
        bye = self.phone.expect(
            lambda m: m.start_line.startswith("BYE ") and m.get("Call-ID") == call.sent.call_id,
            what="the BYE at the phone",
        )
        self.phone.send(reply(bye, 200), self.scene.edge)
        self.provider.udp.expect(
            lambda m: m.get("Call-ID") == call.sent.call_id and m.get("CSeq") == "2 BYE",
            what="the end of the call",
        )

    def source_header_faults(self, data: bytes, source: str) -> list[str]:
        """Return which readers do not see the right trunk and source exactly once."""
        right = sorted([(headers.TRUNK.lower(), self.trunk.id), (headers.SOURCE.lower(), source)])
        return _source_header_faults(data, right)

    def _said(self) -> list[str]:
        """Return the log lines since the last call that Whence shows."""
        lines = self._log.read().splitlines()
        return [line.decode("utf-8", "replace") for line in lines if self._shows(line)]

    def _strays(self, *to: str) -> list[str]:
        """Return the messages to other addresses since the last call."""
        others = {sent for sent in self._sniffer.seen() if sent.source[0] not in self._tests}
        astray = {sent for sent in others if sent.to[0] not in {*to, *self._fences}}
        before, self._refused = self._refused, self._namespace.refused
        faults = [f"the edge sent to {sent.protocol}:{sent.to}" for sent in astray]
        if self._refused != before:
            faults.append("the edge wanted to send out of its network, or to resolve a name")
        return faults

    def close(self) -> None:
        self._log.close()
        self._sniffer.close()


def leaked_header_faults(data: bytes) -> list[str]:
    """Return which readers see an X-Whence header."""
    return _source_header_faults(data, [])


def _source_header_faults(data: bytes, right: list[tuple[str, str]]) -> list[str]:
    faults = []
    for name, reader in READERS.items():
        seen = sorted((n.lower(), value) for n, value in prefixed(reader, data, headers.PREFIX))
        due = right if name in WHOLE else [one for one in right if one in seen]
        if seen != due:
            faults.append(f"the reader {name!r} sees {seen}, not {due}, in {data!r}")
    return faults


def shown_lines() -> Callable[[bytes], bool]:
    """Return a filter for the lines of Kamailio that `whence run` shows."""
    shown = LogFilter().shown
    return lambda line: shown(line, time.monotonic()) is not None


def is_final(message: Message) -> bool:
    """Return whether the start line is that of a final answer."""
    try:
        return message.status >= 200
    except (IndexError, ValueError):
        return False


def finals(datagrams: list[bytes]) -> list[Message]:
    """Return the final answers of a list."""
    return [message for message in map(Message.parse, datagrams) if is_final(message)]


_BRANCH = re.compile(rb"(branch\s*=\s*z9hG4bK[^\s;,]+)")
_CALL_ID = re.compile(rb"(?im)^((?:call-id|i)\s*:\s*[^\r\n]+)")
_again = count(1)


def once_more(data: bytes) -> bytes:
    """Change the branch, so that the copy is a new transaction and not a retransmission."""
    suffix = b"-%d" % next(_again)
    return _CALL_ID.sub(rb"\1" + suffix, _BRANCH.sub(rb"\1" + suffix, data))
