"""A call by hand: a raw caller at the provider, a raw phone, and the requests inside the call."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from testkit.sip import Endpoint, Headers, Message, reply, request
from testkit.whence import Whence
from tests.system.scene import ALICES_NUMBER, place, uri


@dataclass
class Dialog:
    """An answered call, seen from both ends."""

    whence: Whence
    caller: Endpoint
    phone: Endpoint
    invite: Message
    """As the caller sent it."""
    arrived: Message
    """As the phone got it."""
    answer: Message
    """The 200 as the caller got it."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(2))

    def from_caller(self, method: str, headers: Headers = (), cseq: int = 0) -> Message:
        """Make a request as RFC 3261 12.2.1.1 says: remote target, routes from the answer."""
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
        """Make a request from the other end: its routes are those of the INVITE, in order."""
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
        self, asked: Message, sender: Endpoint, receiver: Endpoint
    ) -> tuple[Message, Message]:
        """Send a request inside the call; it is answered with 200, and an INVITE acknowledged.

        Returns it as it arrived, and the answer as it came back.
        """
        sender.send(asked, self.whence.address)
        arrived = receiver.expect(is_request(asked.method), what=f"{asked.method} at the other end")
        receiver.send(reply(arrived, 200, headers=_contact(receiver)), self.whence.address)
        answer = sender.expect(is_final(asked), what=f"the answer to {asked.method}")
        assert answer.status == 200, answer
        if asked.method == "INVITE":
            make = self.from_caller if sender is self.caller else self.from_phone
            sender.send(make("ACK", cseq=int(asked["CSeq"].split()[0])), self.whence.address)
            receiver.expect(is_request("ACK"), what="the ACK at the other end")
        return arrived, answer


def connect(
    whence: Whence,
    caller: Endpoint,
    phone: Endpoint,
    headers: Headers = (),
    user: str = ALICES_NUMBER,
) -> Dialog:
    """Call, answer, acknowledge."""
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
    """Call, and let the phone ring. Returns the INVITE as it arrived there."""
    caller.send(invite, whence.address)
    arrived = phone.expect(is_request("INVITE"), what="the call at the phone")
    phone.send(reply(arrived, 180), whence.address)
    caller.expect(lambda m: m.status == 180, what="the ringing")
    return arrived


def is_request(method: str) -> Callable[[Message], bool]:
    """Say whether a message is a request of this method."""
    return lambda message: not message.is_reply and message.method == method


def is_final(asked: Message) -> Callable[[Message], bool]:
    """Say whether a message is the final answer to this request."""
    whose = (asked.call_id, asked["CSeq"])
    return lambda message: message.status >= 200 and (message.call_id, message["CSeq"]) == whose


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
