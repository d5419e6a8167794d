"""Requests that are often alike, and that differ in what a decision rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from testkit.sip import Address
from tests.contract.equivalence.nodes import SENDERS, place, token_of
from tests.contract.torture.mutation import CONTROLS, WHENCE_HEADERS, mutated

TRUNKS = ("one", "two", "solo", "extra", "short")
OWN = {"shared": ("+4431", "+4432"), "solo": ("+44319",), "extra": ("+4420",), "short": ("+4433",)}
"""Sender → the numbers of its trunks."""

NUMBERS = ("+4431", "+4432", "+44319", "+4420", "+4433")
ODD_USERS = (
    "",
    "a|b",
    "A",
    "a",
    "%2B4431",
    "+44-31",
    "+4431;line=z",
    "4431",
    "0044 31",
    "x\\",
    "x%00",
    "null",
    "<null>",
    "é",
    "\udcff",
    "a" * 300,
)
ODD_TO = (
    "sip:a|b@x",
    "sip:a b@x",
    "0 sip:a@x",
    "7 sip:a@x",
    "- sip:a@x",
    "sip:x@x sip:y@y",
    "tel:+4431",
    "sips:+4431@x",
    "SIP:+4431@X",
    "sip:+4432@edge.example;user=phone?x=y",
    "urn:service:sos",
    "sip:\udce9@x",
    "sip:" + "a" * 600 + "@x",
)
ODD_CALLED = (
    "",
    "<sip:+44319@x>",
    "sip:y@y <sip:+4432@y>",
    "<null>",
    "$null",
    '"a" <sip:+4431@x>;p="b|c"',
    "<sip:+4432@x>, <sip:+4431@x>",
    "\udce9 <sip:\udcff@x>",
    "sip:+4432@x" + " " * 50,
)
NUMBER_HEADERS = ("X-Dialled", "Diversion", "x-dialled", "DIVERSION")
METHODS = ("OPTIONS", "MESSAGE", "SUBSCRIBE", "BYE", "ACK", "CANCEL", "REGISTER", "PUBLISH", "FOO")
RECENT = 12
"""How many earlier requests are sent again."""

BODY = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nX-Whence-Trunk: a body's\r\n"


Recent = Sequence[tuple[str, str]]
"""Earlier requests, as sender and text, with their Call-ID and branch as `{id}`."""


NEAR = "Contact: <sip:tester@{own}>\r\n"


def paths(at: Mapping[str, Address], edge: str) -> list[str]:
    """Return headers that say how a party is reached at `{own}`, by other places, or not at all."""
    proxy, outer, unknown = (place(at[name]) for name in ("proxy", "outer", "unknown"))
    behind = f"Contact: <sip:x@{unknown}>\r\n"
    return [
        *(f"Contact: <sip:tester@{host}>\r\n" for host in (proxy, at["outer"][0], *ODD_PLACES)),
        f"Contact: <sip:tester@{edge}>\r\n",
        f"Contact: <sip:tester@{edge}:5099>\r\n",
        f"Contact: <sip:{proxy};transport=udp;x=y>;expires=60\r\n",
        f"Contact: <sip:{proxy};transport=tcp>\r\n",
        f"Contact: <sip:{proxy};maddr=192.0.2.1>\r\n",
        f"Record-Route: <sip:{proxy};lr>\r\n{behind}",
        f"Record-Route: <sip:{proxy};lr>\r\nContact: <sip:a@pbx.Example>\r\n",
        f"Record-Route: <sip:{{own}};lr=on;ftag=a.b>\r\n{behind}",
        f"Record-Route: <sip:{proxy};r2=on;lr>\r\nRecord-Route: <sip:{outer};r2=on;lr>\r\n{behind}",
        f"Record-Route: <sip:{proxy};lr>,<sip:Outer.example:5070;lr>\r\n{behind}",
        f"Record-Route: <sip:{proxy};lr>, <sip:{outer};lr>\r\n{behind}",
        f"Record-Route: <sip:{proxy}>\r\n{behind}",
        f"Record-Route: <sip:a@{proxy};lr>\r\n{behind}",
        f'Record-Route: "a" <sip:{proxy};lr>\r\n{behind}',
        f"Record-Route: <sip:{edge}:5060;lr>\r\n{behind}",
        f"Record-Route: <sip:127.0.0.1:5070;lr>\r\n{behind}",
        f"Record-Route: <sip:{proxy};lr;whence=00>\r\n{behind}",
        f"{NEAR}Contact: <sip:tester@{proxy}>\r\n",
        "",
    ]


ODD_PLACES = ("127.0.0.1:5070", "0.0.0.0", "224.0.0.1", "198.018.0.9", "pbx.example", "{own}0")


@dataclass(frozen=True)
class Shot:
    """One message of one machine."""

    sender: str
    data: bytes


class Calls:
    """Draws the initial requests of a story."""

    def __init__(
        self,
        dice: Random,
        edge: Address,
        at: Mapping[str, Address],
        name: str,
        recent: Recent = (),
    ) -> None:
        """`at`: the address of each machine. `name` is in each Call-ID and branch."""
        self._dice = dice
        self._edge = place(edge)
        self._paths = paths(at, edge[0])
        self._at = at
        self._name = name
        self._made = 0
        self.recent = list(recent)

    def draw(self) -> Shot:
        """Return one request: new, like an earlier one, or a mutation."""
        dice = self._dice
        kind = dice.random()
        if kind < 0.8 and self.recent:
            sender, text = dice.choice(self.recent)
        else:
            sender, text = self._new()
            self.recent = [*self.recent, (sender, text)][-RECENT:]
        if kind > 0.92:
            sender = dice.choice(SENDERS)  # the same from elsewhere
        self._made += 1
        data = text.replace("{id}", f"{self._name}-{self._made}").encode("utf-8", "surrogateescape")
        if dice.random() < 0.2:
            data = self._changed(data)
        return Shot(sender, data)

    def _new(self) -> tuple[str, str]:
        dice = self._dice
        sender = dice.choices(SENDERS, [30, 20, 20, 10, 10, 10])[0]
        method = "INVITE" if dice.random() < 0.85 else dice.choice(METHODS)
        host = dice.choices([self._edge, "edge.example", "other.example"], [80, 15, 5])[0]
        uri = f"sip:{self._user(sender)}@{host}".replace("sip:@", "sip:")
        to = self._rarely(ODD_TO, dice.choice([uri, uri, f"sip:{self._number(sender)}@x"]))
        called = ""
        if dice.random() < 0.25:
            value = self._rarely(ODD_CALLED, f"<sip:{self._number(sender)}@x>")
            called = f"{dice.choice(['P-Called-Party-ID', 'p-called-party-id'])}: {value}\r\n"
            called *= dice.choice([1, 1, 1, 2])
        other = ""
        if dice.random() < 0.15:
            name = dice.choice(NUMBER_HEADERS)
            other = f"{name}: <sip:{self._number(sender)}@x>\r\n" * dice.choice([1, 1, 2])
        forged = ""
        if dice.random() < 0.1:
            name = dice.choice(WHENCE_HEADERS).decode()
            name = dice.choice([name, name.lower(), name.upper()])
            forged = f"{name}{dice.choice(['', ' '])}: forged\r\n"
        fill = ""
        if dice.random() < 0.04:
            fill = f"X-Fill: {'a' * dice.choice([3000, 6900, 7000, 7100, 7300, 7600, 9000])}\r\n"
        route = ""
        if dice.random() < 0.04:
            routes = [f"<sip:{self._edge};lr>", f"<sip:{self._edge};lr;whence=00>", "<sip:x@x;lr>"]
            route = f"Route: {dice.choice(routes)}\r\n"
        tag = ";tag=zz" if dice.random() < 0.04 else ""
        here = place(self._at[sender])
        hops = dice.choices(["70", "1", "0", "255", "x", ""], [90, 2, 2, 2, 2, 2])[0]
        body = dice.choices(["", BODY], [85, 15])[0]
        parts = [
            f"Via: SIP/2.0/UDP {here}{dice.choice([';rport', ''])};branch=z9hG4bK-{{id}}\r\n",
            f"Max-Forwards: {hops}\r\n" if hops else "",
            f"From: <sip:{self._rarely(ODD_USERS, 'tester')}@invalid>;tag=f-{{id}}\r\n",
            f"{dice.choices(['To', 't'], [9, 1])[0]}: <{to}>{tag}\r\n",
            "Call-ID: {id}\r\n",
            f"CSeq: 1 {method}\r\n",
            dice.choice(self._paths).format(own=here)
            if dice.random() < 0.4
            else NEAR.format(own=here),
            called,
            other,
            forged,
            fill,
            route,
            f"Content-Length: {len(body)}\r\n",
        ]
        return sender, f"{method} {uri} SIP/2.0\r\n{''.join(parts)}\r\n{body}"

    def _user(self, sender: str) -> str:
        dice = self._dice
        own = {"shared": "one", "guest": "solo"}.get(sender, sender)
        trunk = own if own in TRUNKS and dice.random() < 0.8 else dice.choice(TRUNKS)
        names = [self._number(sender), token_of(trunk), f"acct-{trunk}", "x"]
        usual = dice.choices(names, [60, 15, 15, 10])[0]
        return self._rarely(ODD_USERS, usual)

    def _number(self, sender: str) -> str:
        own = OWN.get(sender, NUMBERS)
        return self._dice.choice(own if self._dice.random() < 0.85 else NUMBERS)

    def _rarely(self, odd: tuple[str, ...], usual: str, share: float = 0.08) -> str:
        return self._dice.choice(odd) if self._dice.random() < share else usual

    def _changed(self, data: bytes) -> bytes:
        """Change some octets, or insert one that another parser reads in its own way."""
        dice = self._dice
        if dice.random() < 0.6:
            return mutated(data, dice)
        at = dice.randrange(len(data))
        return data[:at] + dice.choice([*CONTROLS, b"|", b"\0", b"\0\0"]) + data[at:]
