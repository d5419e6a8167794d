"""Calls through the edge, and the requests of their dialogs."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from testkit.sip import Endpoint, Headers, Message, place, reply, request
from tests.contract.scene import Scene


@dataclass(frozen=True)
class Call:
    """One dialog, with both ends."""

    caller: Endpoint
    phone: Endpoint
    sent: Message
    """The INVITE as the caller sent it."""
    arrived: Message
    """The INVITE as the phone got it."""
    answer: Message
    """The 200 as the caller got it."""

    @property
    def route(self) -> str:
        """Return the Route of a request in the dialog."""
        return self.answer["Record-Route"]

    def from_caller(
        self,
        method: str,
        route: str | None = None,
        call_id: str | None = None,
        headers: Headers = (),
    ) -> Message:
        """Make a request of the caller in the dialog. `route` None: that of RFC 3261 12.2.1."""
        return request(
            method,
            uri_of(self.answer["Contact"]),
            self.caller.address,
            from_uri=uri_of(self.sent["From"]),
            to_uri=uri_of(self.sent["To"]),
            from_tag=_tag(self.answer["From"]),
            to_tag=_tag(self.answer["To"]),
            call_id=call_id or self.sent.call_id,
            cseq=1 if method == "ACK" else 2,
            headers=[*_routes(self.route if route is None else route), *headers],
        )

    def from_phone(self, method: str, headers: Headers = ()) -> Message:
        """Make a request of the phone in the dialog."""
        return request(
            method,
            uri_of(self.arrived["Contact"]),
            self.phone.address,
            from_uri=uri_of(self.sent["To"]),
            to_uri=uri_of(self.sent["From"]),
            from_tag=_tag(self.answer["To"]),
            to_tag=_tag(self.answer["From"]),
            call_id=self.sent.call_id,
            headers=[("Route", self.arrived["Record-Route"]), *headers],
        )


def ring(scene: Scene, caller: Endpoint, phone: Endpoint, invite: Message | None = None) -> Message:
    """Call, and return the INVITE as it reached the phone, which answers 180."""
    invite = invite or scene.invite(caller)
    caller.send(invite, scene.edge)
    arrived = phone.expect(_of(invite, "INVITE"), what="the call at the phone")
    phone.send(reply(arrived, 180), scene.edge)
    caller.expect(_of(invite, status=180), what="the ringing at the caller")
    return arrived


def connect(
    scene: Scene,
    caller: Endpoint,
    phone: Endpoint,
    contact: str = "",
    contact_of_caller: str | None = None,
) -> Call:
    """Call, answer, acknowledge. *contact*: that of the phone; empty: its address.

    `contact_of_caller`: with `{}` for its place.
    """
    parts = {}
    if contact_of_caller is not None:
        parts["contact"] = contact_of_caller.format(f"{caller.address[0]}:{caller.address[1]}")
    invite = scene.invite(caller, **parts)
    arrived = ring(scene, caller, phone, invite)
    by = "" if phone.transport == "udp" else f";transport={phone.transport}"
    contact = contact or f"<sip:{place(phone.address)}{by}>"
    phone.send(reply(arrived, 200, headers=[("Contact", contact)]), scene.edge)
    answer = caller.expect(_of(invite, status=200), what="the answer at the caller")
    call = Call(caller, phone, invite, arrived, answer)
    caller.send(call.from_caller("ACK"), scene.edge)
    phone.expect(_of(invite, "ACK"), what="the ACK at the phone")
    return call


def refuse(scene: Scene, phone: Endpoint, arrived: Message, status: int) -> None:
    """Let the phone refuse a call."""
    refusal = reply(arrived, status)
    phone.send(refusal, scene.edge)
    phone.expect(lambda m: m.method == "ACK", what="the ACK of the refusal")


def _of(invite: Message, method: str = "INVITE", status: int = 0) -> Callable[[Message], bool]:
    """Return a filter for the messages of a call: other calls may repeat theirs meanwhile."""

    def is_it(message: Message) -> bool:
        if message.get("Call-ID") != invite.call_id or message.is_reply != bool(status):
            return False
        return message.method == method and message.status == status

    return is_it


def _routes(value: str) -> Headers:
    return [("Route", value)] if value else []


def uri_of(header: str) -> str:
    """Return the URI in a Contact, From or To."""
    found = re.search(r"<([^>]*)>", header)
    return found[1] if found else header


def _tag(header: str) -> str:
    return header.rpartition(";tag=")[2].partition(";")[0]


def cancel(invite: Message) -> Message:
    """Return the CANCEL of an INVITE (RFC 3261 9.1)."""
    number = invite["CSeq"].split()[0]
    fields = tuple(
        (name, f"{number} CANCEL" if name == "CSeq" else value)
        for name, value in invite.headers
        if name != "Contact"
    )
    return Message(invite.start_line.replace("INVITE", "CANCEL", 1), fields)


def is_method(method: str) -> Callable[[Message], bool]:
    return lambda message: message.method == method and not message.is_reply
