"""A call between two raw SIP endpoints, and the requests inside it."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from testkit.sip import Endpoint, Headers, Message, reply, request
from testkit.whence import Whence
from tests.system.scene import ALICES_NUMBER, place, uri


@dataclass
class Dialog:
    """An answered call with both of its ends: the provider's caller, and the phone."""

    whence: Whence
    caller: Endpoint
    phone: Endpoint
    invite: Message
    """The INVITE as the caller sent it."""
    arrived: Message
    """The INVITE as the phone received it."""
    answer: Message
    """The 200 as the caller received it."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(2))

    def from_caller(self, method: str, headers: Headers = (), cseq: int = 0) -> Message:
        """Make the caller's next request (RFC 3261 12.2.1.1): remote target, routes of the 200."""
        return request(
            method,
            _address(self.answer["Contact"]),
            self.caller.address,
            from_uri=_address(self.invite["From"]),
            to_uri=_address(self.invite["To"]),
            from_tag=_tag(self.answer["From"]),
            to_tag=_tag(self.answer["To"]),
            call_id=self.invite.call_id,
            cseq=cseq or next(self._numbers),
            headers=[*_routes(reversed(self.answer.all("Record-Route"))), *headers],
        )

    def from_phone(self, method: str, headers: Headers = (), cseq: int = 0) -> Message:
        """Make the phone's next request: its routes are those of the INVITE, in their order."""
        return request(
            method,
            _address(self.arrived["Contact"]),
            self.phone.address,
            from_uri=_address(self.invite["To"]),
            to_uri=_address(self.invite["From"]),
            from_tag=_tag(self.answer["To"]),
            to_tag=_tag(self.answer["From"]),
            call_id=self.invite.call_id,
            cseq=cseq or next(self._numbers),
            headers=[*_routes(self.arrived.all("Record-Route")), *headers],
        )

    def pass_on(
        self, sent: Message, sender: Endpoint, receiver: Endpoint
    ) -> tuple[Message, Message]:
        """Send a request inside the call, answer it with 200, and acknowledge an INVITE.

        Return the request as the receiver got it, and the answer as the sender got it.
        """
        sender.send(sent, self.whence.address)
        arrived = receiver.expect(is_request(sent.method), what=f"{sent.method} at the other end")
        receiver.send(reply(arrived, 200, headers=_contact(receiver)), self.whence.address)
        answer = sender.expect(is_final(sent), what=f"the answer to {sent.method}")
        assert answer.status == 200, answer
        if sent.method == "INVITE":
            make = self.from_caller if sender is self.caller else self.from_phone
            sender.send(make("ACK", cseq=int(sent["CSeq"].split()[0])), self.whence.address)
            receiver.expect(is_request("ACK"), what="the ACK at the other end")
        return arrived, answer


def connect(
    whence: Whence,
    caller: Endpoint,
    phone: Endpoint,
    headers: Headers = (),
    user: str = ALICES_NUMBER,
) -> Dialog:
    """Make a call, let the phone answer it, and acknowledge the answer."""
    invite = request("INVITE", uri(whence, user), caller.address, headers=headers)
    arrived = ring(whence, caller, phone, invite)
    phone.send(reply(arrived, 200, headers=_contact(phone)), whence.address)
    answer = caller.expect(is_final(invite), what="the answer")
    assert answer.status == 200, answer
    dialog = Dialog(whence, caller, phone, invite, arrived, answer)
    caller.send(dialog.from_caller("ACK", cseq=1), whence.address)
    phone.expect(is_request("ACK"), what="the ACK at the phone")
    return dialog


def ring(whence: Whence, caller: Endpoint, phone: Endpoint, invite: Message) -> Message:
    """Make a call, let the phone ring, and return the INVITE as the phone received it."""
    caller.send(invite, whence.address)
    arrived = phone.expect(is_request("INVITE"), what="the call at the phone")
    phone.send(reply(arrived, 180), whence.address)
    caller.expect(lambda m: m.status == 180, what="the ringing")
    return arrived


def is_request(method: str) -> Callable[[Message], bool]:
    """Return a test for requests of this method."""
    return lambda message: not message.is_reply and message.method == method


def is_final(sent: Message) -> Callable[[Message], bool]:
    """Return a test for the final answer to this request."""
    key = (sent.call_id, sent["CSeq"])
    return lambda message: message.status >= 200 and (message.call_id, message["CSeq"]) == key


def _contact(endpoint: Endpoint) -> Headers:
    return [("Contact", f"<sip:{place(endpoint.address)}>")]


def _routes(values: Iterable[str]) -> list[tuple[str, str]]:
    return [("Route", value) for value in values]


def _address(header: str) -> str:
    found = re.search(r"<([^>]*)>", header)
    assert found, header
    return found[1]


def _tag(header: str) -> str:
    found = re.search(r";tag=([^;>]+)", header)
    assert found, header
    return found[1]
