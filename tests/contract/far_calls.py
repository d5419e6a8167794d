"""Calls whose parties are reached elsewhere than where they send from.

A Contact leads there, or proxies.
"""

from __future__ import annotations

from dataclasses import dataclass

from testkit.sip import Endpoint, Headers, Message, place, reply, request
from tests.contract.call import is_method, uri_of
from tests.contract.scene import Scene


@dataclass(frozen=True)
class Form:
    """How a party is reached. `{self}`, `{contact}`, `{first}` and `{second}` are places.

    `proxies`: those on the path to it, in this order, as they write themselves.
    """

    contact: str = "<sip:a@{self}>"
    proxies: tuple[str, ...] = ()

    def headers(self, places: dict[str, str]) -> list[tuple[str, str]]:
        """Return the headers of a message of this party. An answer has the proxies turned."""
        return [
            *(("Record-Route", route) for route in self.routes(places)),
            ("Contact", self.contact.format(**places)),
        ]

    def routes(self, places: dict[str, str]) -> list[str]:
        """Return the Routes of a request that has passed the edge on its way to this party."""
        return [proxy.format(**places) for proxy in self.proxies]


NEAR = Form()
FORMS = {
    "contact": Form("<sip:a@{contact}>"),
    "contact with parameters": Form("<sip:+44-20@{contact};transport=udp;x=y>;expires=60"),
    "proxy": Form("<sip:a@{contact}>", ("<sip:{first};lr>",)),
    "proxy at its own place": Form("<sip:a@{contact}>", ("<sip:{self};lr;ftag=a.b>",)),
    "two proxies": Form("<sip:a@{contact}>", ("<sip:{first};lr=on>", "<sip:{second};r2=on;lr>")),
    "a proxy by name behind": Form("<sip:a@pbx.Example>", ("<sip:{first};lr>", "<sip:B.c;lr>")),
}
"""The forms that Kamailio itself handles."""


@dataclass(frozen=True)
class Party:
    """A party of a call, and the machines at which it may be reached."""

    at: Endpoint
    contact: Endpoint
    first: Endpoint
    second: Endpoint

    @classmethod
    def of(cls, scene: Scene, at: Endpoint) -> Party:
        """Make a party that sends from `at`."""
        return cls(at, *(scene.endpoint(scene.name("machine"), 5080) for _ in range(3)))

    @property
    def places(self) -> dict[str, str]:
        """Return the places by name."""
        ends = {"contact": self.contact, "first": self.first, "second": self.second}
        return {"self": place(self.at.address)} | {n: place(e.address) for n, e in ends.items()}

    def machines(self) -> tuple[Endpoint, ...]:
        """Return all of its machines."""
        return self.at, self.contact, self.first, self.second

    def hop(self, form: Form) -> Endpoint:
        """Return the machine to which requests for the party are sent."""
        if not form.proxies:
            return self.contact if "{contact}" in form.contact else self.at
        return self.at if "{self}" in form.proxies[0] else self.first


@dataclass(frozen=True)
class FarCall:
    """An answered call. `arrived`: the INVITE at the callee; `answer`: the 200 at the caller."""

    caller: Party
    callee: Party
    forms: tuple[Form, Form]
    sent: Message
    arrived: Message
    answer: Message

    def from_caller(self, method: str, cseq: int = 2) -> Message:
        """Make a request of the caller in the dialog. It has passed the caller's proxies."""
        routes = self.answer.all("Record-Route")[::-1]
        while "whence=" not in routes[0]:
            del routes[0]
        ends = (self.answer["From"], self.answer["To"])
        number = 1 if method == "ACK" else cseq
        return self._request(method, self.answer["Contact"], self.caller, ends, routes, number)

    def from_callee(self, method: str, cseq: int = 2) -> Message:
        """Make a request of the callee in the dialog."""
        routes = self.arrived.all("Record-Route")
        ends = (self.answer["To"], self.answer["From"])
        return self._request(method, self.arrived["Contact"], self.callee, ends, routes, cseq)

    def _request(
        self,
        method: str,
        contact: str,
        sender: Party,
        ends: tuple[str, str],
        routes: list[str],
        cseq: int,
    ) -> Message:
        headers: Headers = [("Route", route) for route in routes]
        made = request(
            method,
            uri_of(contact),
            sender.at.address,
            call_id=self.sent.call_id,
            cseq=cseq,
            headers=headers,
        )
        own = {"From": ends[0], "To": ends[1]}
        return Message(made.start_line, tuple((n, own.get(n, v)) for n, v in made.headers))

    def hop(self, sender: Party) -> Endpoint:
        """Return the machine to which the sender's requests are sent."""
        if sender is self.caller:
            return self.callee.hop(self.forms[1])
        return self.caller.hop(self.forms[0])


def invite_of(scene: Scene, caller: Party, form: Form, user: str = "+4420") -> Message:
    """Make the INVITE of a caller of this form. A proxy has put its Via before the caller's."""
    made = scene.invite(caller.at, user)
    further = ("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKbehind")
    vias = [made.headers[0], *([further] if form.proxies else [])]
    rest = [(n, v) for n, v in made.headers[1:] if n != "Contact"]
    return Message(made.start_line, (*vias, *form.headers(caller.places), *rest))


def call(
    scene: Scene, caller: Party, callee: Party, forms: tuple[Form, Form] = (NEAR, NEAR)
) -> FarCall:
    """Call, answer, acknowledge."""
    invite = invite_of(scene, caller, forms[0])
    caller.at.send(invite, scene.edge)
    arrived = callee.at.expect(lambda m: m.call_id == invite.call_id)
    answer = answered(scene, caller, callee, forms[1], arrived)
    made = FarCall(caller, callee, forms, invite, arrived, answer)
    caller.at.send(made.from_caller("ACK"), scene.edge)
    made.hop(caller).expect(is_method("ACK"))
    return made


def answered(scene: Scene, caller: Party, callee: Party, form: Form, arrived: Message) -> Message:
    """Let the callee answer, and return the answer as the caller gets it."""
    made = reply(arrived, 200)
    at = [name for name, _ in made.headers].index("Record-Route")
    *routes, contact = form.headers(callee.places)
    headers = (*made.headers[:at], *routes[::-1], *made.headers[at:-1], contact, made.headers[-1])
    callee.at.send(Message(made.start_line, headers), scene.edge)
    return caller.at.expect(lambda m: m.call_id == arrived.call_id and m.status == 200)
