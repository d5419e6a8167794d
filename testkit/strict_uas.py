"""A strict SIP server over UDP: it finds each fault of a CSeq, tag, branch or digest.

It refuses a merged request with 482 (RFC 3261 8.2.2.2), and a CSeq that does not grow with 500
(12.2.2). An ACK or CANCEL must have the CSeq of its INVITE. None of it uses the product's code.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, Queue
from types import TracebackType
from typing import Self

from testkit.digest import Realm
from testkit.sip import Address, Headers, Message, place, reply, request
from testkit.wait import PATIENCE_S, eventually

SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


@dataclass
class Dialog:
    """A call that the server has accepted."""

    invite: Message
    tag: str
    remote_cseq: int
    cseq: int = 500
    """The CSeq of the server's own last request."""


@dataclass
class _Invite:
    """An INVITE, as the server remembers it."""

    message: Message
    sender: Address
    status: int = 0
    """Of the final answer; 0: none yet."""


@dataclass
class Behaviour:
    """What the server answers to an initial INVITE."""

    status: int = 200
    """0: nothing at all."""
    rings: bool = True
    headers: Headers = ()
    ringing_headers: Headers = ()
    waits: bool = False
    """Whether it sends the final answer only at `answer_now`."""


Custom = Callable[[Message, Address], bool]
"""Answers a request itself, and returns whether it did."""


@dataclass
class _State:
    invites: dict[tuple[str, str, int], _Invite] = field(default_factory=dict)
    branches: dict[str, int] = field(default_factory=dict)
    answered: dict[tuple[str, str], Message] = field(default_factory=dict)
    dialogs: dict[str, Dialog] = field(default_factory=dict)


class StrictUas:
    """A provider's server. `faults` has each violation of RFC 3261 that it saw."""

    def __init__(
        self, ip: str, port: int = 5060, *, realms: Collection[Realm] = (), edge: Address
    ) -> None:
        """Start it. `realms`: who challenges. `edge`: where its own requests go."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ip, port))
        self.address: Address = self._socket.getsockname()[:2]
        self.edge = edge
        self.realms = list(realms)
        self.behaviour = Behaviour()
        self.custom: Custom | None = None
        self.joins_vias = False
        """Whether its answers have all Vias in one header."""
        self.leads_to = ""
        """Its Contact; empty: its own address."""
        self.faults: list[str] = []
        self.seen: list[Message] = []
        """All requests, without retransmissions, in their order."""
        self.datagrams: list[bytes] = []
        """All datagrams, requests and replies."""
        self._state = _State()
        self._replies: Queue[Message] = Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def contact(self) -> str:
        return self.leads_to or f"<sip:gateway@{place(self.address)}>"

    def knows(self, dialog: Dialog) -> None:
        """Let it accept requests in a dialog of another server."""
        self._state.dialogs[dialog.invite.call_id + dialog.tag] = dialog

    def requests(self, method: str) -> list[Message]:
        """Return the requests of this method so far."""
        return [message for message in list(self.seen) if message.method == method]

    def expect(self, method: str, count: int = 1) -> Message:
        """Wait for the request of this method, and return the last one."""
        eventually(lambda: len(self.requests(method)) >= count, what=f"{count} {method}")
        return self.requests(method)[-1]

    def dialog(self) -> Dialog:
        """Wait for a call that the server has accepted, and return the last one."""
        eventually(lambda: bool(self._state.dialogs), what="an answered call")
        return list(self._state.dialogs.values())[-1]

    def answer_now(self, status: int = 200, headers: Headers = ()) -> Message:
        """Send the final answer to the last INVITE, and return it."""
        invite = list(self._state.invites.values())[-1]
        return self._final(invite, status, headers)

    def made_answer(self, status: int = 200) -> Message:
        """Make the final answer to the last INVITE, and send nothing."""
        message = list(self._state.invites.values())[-1].message
        return reply(message, status, headers=[("Contact", self.contact)], to_tag=_tag_of(message))

    def acknowledge(self) -> None:
        """Acknowledge the 200 to the server's own last INVITE."""
        self._socket.sendto(bytes(self.request_in(self.dialog(), "ACK")), self.edge)

    def repeat(self, answer: Message) -> None:
        """Send an answer again."""
        self._socket.sendto(bytes(answer), self.edge)

    def calls(self, uri: str) -> Message:
        """Send an INVITE, and return it."""
        sent = request("INVITE", uri, self.address, contact=self.contact, body=SDP)
        self._socket.sendto(bytes(sent), self.edge)
        return sent

    def answered(self, invite: Message) -> Dialog:
        """Wait for the 200 to an INVITE of the server, acknowledge it, and return the dialog."""
        answer = self.final(invite, is_initial=True)
        # As if the peer had sent the INVITE: each field is that of the server's own requests.
        fields = {"From": answer["To"], "To": answer["From"], "Contact": answer["Contact"]}
        own = [("Record-Route", value) for value in reversed(answer.all("Record-Route"))]
        seen = Message("INVITE", (*fields.items(), ("Call-ID", answer.call_id), *own))
        dialog = Dialog(seen, _tag(answer["From"]), 0, cseq=1)
        self._state.dialogs[answer.call_id + dialog.tag] = dialog
        self._socket.sendto(bytes(self.request_in(dialog, "ACK")), self.edge)
        return dialog

    def ask(self, method: str, headers: Headers = (), body: str = "") -> Message:
        """Send a request in the last dialog, and return its final answer."""
        return self.ask_in(self.dialog(), method, headers, body)

    def ask_in(self, dialog: Dialog, method: str, headers: Headers = (), body: str = "") -> Message:
        """Send a request in a dialog, and return its final answer, which it acknowledges."""
        sent = self.send_in(dialog, method, headers, body)
        answer = self.final(sent)
        if method == "INVITE":
            ack = self.request_in(dialog, "ACK")
            self._socket.sendto(bytes(ack), self.edge)
        return answer

    def send_in(
        self, dialog: Dialog, method: str, headers: Headers = (), body: str = ""
    ) -> Message:
        """Send a request in a dialog, and return it."""
        dialog.cseq += 1
        sent = self.request_in(dialog, method, headers, body)
        self._socket.sendto(bytes(sent), self.edge)
        return sent

    def request_in(
        self, dialog: Dialog, method: str, headers: Headers = (), body: str = ""
    ) -> Message:
        """Make a request in a dialog (RFC 3261 12.2.1.1)."""
        invite = dialog.invite
        routes = [("Route", value) for value in invite.all("Record-Route")]
        contact = [("Contact", self.contact)] if method in ("UPDATE",) else []
        return request(
            method,
            _uri(invite["Contact"]),
            self.address,
            from_uri=_uri(invite["To"]),
            to_uri=_uri(invite["From"]),
            from_tag=dialog.tag,
            to_tag=_tag(invite["From"]),
            call_id=invite.call_id,
            cseq=dialog.cseq,
            contact=self.contact if method == "INVITE" else None,
            headers=[*routes, *contact, *headers],
            body=body,
        )

    def final(self, sent: Message, *, is_initial: bool = False) -> Message:
        """Return the final answer to a request that was sent, and check its headers."""
        while True:
            try:
                answer = self._replies.get(timeout=PATIENCE_S)
            except Empty:
                raise AssertionError(f"no final answer to {sent.start_line}") from None
            if answer["CSeq"] == sent["CSeq"] and answer.status >= 200:
                break
        for name in ("From",) if is_initial else ("From", "To"):
            if answer[name] != sent[name]:
                self.faults.append(f"{sent.method}: {name} {answer[name]}, sent {sent[name]}")
        return answer

    def _run(self) -> None:
        with suppress(OSError):  # the socket is closed
            while True:
                data, sender = self._socket.recvfrom(65535)
                if not data:
                    return
                if not data.strip():
                    continue
                self.datagrams.append(data)
                message = Message.parse(data, sender)
                if message.is_reply:
                    self._replies.put(message)
                else:
                    self._request(message, sender)

    def _request(self, message: Message, sender: Address) -> None:
        if message.method == "ACK":
            self._acknowledged(message)
            return
        branch = _branch(message)
        if message.method == "INVITE" and self._state.branches.get(branch) == _cseq(message):
            known = self._state.invites[_key(message)]
            if not known.status:
                return  # a retransmission; the first answer is on its way
        before = self._state.answered.get((branch, message.method))
        if before is not None:
            self._socket.sendto(bytes(before), sender)
            return
        self.seen.append(message)
        if self.custom is not None and self.custom(message, sender):
            return
        if message.method == "CANCEL":
            self._cancel(message, sender)
        elif self._is_in_order(message, sender) and self._is_authorized(message, sender):
            self._accept(message, sender)

    def _is_in_order(self, message: Message, sender: Address) -> bool:
        number, key = _cseq(message), _key(message)
        to_tag = _tag(message["To"])
        if message.method == "INVITE":
            self._state.branches[_branch(message)] = number
            if not to_tag and key in self._state.invites:
                self._fault(f"INVITE {number} in two transactions: merged request")
                self.reply(message, 482, sender)
                return False
            self._state.invites[key] = _Invite(message, sender)
        if not to_tag:
            return True
        dialog = self._state.dialogs.get(message.call_id + to_tag)
        if dialog is None:
            self._fault(f"{message.method} of no dialog")
            self.reply(message, 481, sender)
            return False
        if number <= dialog.remote_cseq:
            self._fault(f"{message.method} with CSeq {number} after {dialog.remote_cseq}")
            self.reply(message, 500, sender)
            return False
        dialog.remote_cseq = number
        return True

    def _is_authorized(self, message: Message, sender: Address) -> bool:
        for realm in self.realms:
            if message.method in realm.methods:
                challenges, fault = realm.check(message)
                if fault:
                    self._fault(fault)
                if challenges:
                    self.reply(message, realm.status, sender, challenges)
                    return False
        return True

    def _accept(self, message: Message, sender: Address) -> None:
        if message.method == "REGISTER":
            granted = [("Contact", value) for value in message.all("Contact")]
            self.reply(message, 200, sender, [*granted, ("Expires", "600")])
            return
        if message.method != "INVITE":
            contact = [("Contact", self.contact)] if message.method == "UPDATE" else []
            self.reply(message, 200, sender, contact)
            return
        invite = self._state.invites[_key(message)]
        if _tag(message["To"]):
            self._final(invite, 200)
            return
        behaviour = self.behaviour
        if behaviour.status == 0:
            return
        if behaviour.rings and behaviour.status in (200, 486):
            own = ("Contact", self.contact)
            self._state.dialogs[message.call_id + _tag_of(message)] = Dialog(
                message, _tag_of(message), _cseq(message)
            )
            self.reply(message, 180, sender, [own, *behaviour.ringing_headers])
        if not behaviour.waits:
            self._final(invite, behaviour.status, behaviour.headers)

    def _final(self, invite: _Invite, status: int, headers: Headers = ()) -> Message:
        message = invite.message
        tag = _tag(message["To"]) or _tag_of(message)
        if status < 300:
            headers = [("Contact", self.contact), *headers]
            self._state.dialogs.setdefault(
                message.call_id + tag, Dialog(message, tag, _cseq(message))
            )
        return self.reply(message, status, invite.sender, headers)

    def _cancel(self, message: Message, sender: Address) -> None:
        invite = self._state.invites.get(_key(message))
        if invite is None or self._state.branches.get(_branch(message)) != _cseq(message):
            self._fault(f"CANCEL {_cseq(message)} of no INVITE")
            self.reply(message, 481, sender)
            return
        self.reply(message, 200, sender)
        if not invite.status:
            self._final(invite, 487)

    def _acknowledged(self, message: Message) -> None:
        self.seen.append(message)
        number, invite = _cseq(message), self._state.invites.get(_key(message))
        if invite is None:
            self._fault(f"ACK {number} of no INVITE")
            return
        known = self._state.branches.get(_branch(message))
        if known is not None and known != number:
            self._fault(f"ACK {number} of a refusal of INVITE {known}")
        if known is None and invite.status >= 300:
            self._fault(f"ACK {number} of a 2xx, but INVITE {number} was refused")

    def reply(self, message: Message, status: int, to: Address, headers: Headers = ()) -> Message:
        """Send an answer to a request, and repeat it for retransmissions."""
        sent = reply(message, status, headers=headers, to_tag=_tag_of(message))
        if self.joins_vias:
            joined = ("Via", ", ".join(sent.all("Via")))
            others = [field for field in sent.headers if field[0] != "Via"]
            sent = Message(sent.start_line, (joined, *others), sent.body)
        if status >= 200:
            self._state.answered[_branch(message), message.method] = sent
            invite = self._state.invites.get(_key(message))
            if message.method == "INVITE" and invite is not None:
                invite.status = status
        self._socket.sendto(bytes(sent), to)
        return sent

    def _fault(self, what: str) -> None:
        self.faults.append(f"{place(self.address)}: {what}")

    def close(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.address)  # ends the thread
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _cseq(message: Message) -> int:
    return int(message["CSeq"].split()[0])


def _key(message: Message) -> tuple[str, str, int]:
    return message.call_id, _tag(message["From"]), _cseq(message)


def _branch(message: Message) -> str:
    found = re.search(r"branch=([^;,\s]+)", message["Via"])
    return found[1] if found else ""


def _tag(value: str) -> str:
    return value.rpartition(";tag=")[2].partition(";")[0] if ";tag=" in value else ""


def _tag_of(message: Message) -> str:
    """Return the server's tag in its answers to a request; each branch has its own."""
    return f"uas{_branch(message)[-8:]}" if message.method else secrets.token_hex(4)


def _uri(value: str) -> str:
    found = re.search(r"<([^>]*)>", value)
    return found[1] if found else value
