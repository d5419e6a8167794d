"""A story: many requests to one node, the answers to them, and the requests in their dialogs.

The story on each node draws from dice of the same seed, so both nodes get the same messages.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from random import Random

from testkit.sip import Endpoint, Message, acknowledgement, reply
from tests.contract.call import cancel
from tests.contract.equivalence.calls import Calls, Recent, Shot, paths
from tests.contract.equivalence.nodes import ELSEWHERE, Node, place
from tests.contract.torture.mutation import mutated

EACH = 30
"""Initial requests of one story."""

AT_ONCE = 15

IN_DIALOG = ("BYE", "BYE", "INFO", "UPDATE", "INVITE", "OPTIONS", "ACK", "REFER")

MARK = "<sip:the.route;lr;whence=00112233445566778899aabbccddeeff>"
"""The Route of a request while it is mutated: the two nodes' cookies differ."""

Seen = dict[str, frozenset[bytes]]
"""Machine → the messages that it received in one phase."""

_BRANCH = re.compile(rb"z9hG4bK[0-9a-f]{2,5}\.[0-9a-f.]+(?=[;\s,]|$)")
_TAG = re.compile(rb"tag=(?:[0-9a-f]{32}[-.][0-9a-f]{4,}|[0-9a-f]{16})(?![0-9a-f])")
_NONCE = re.compile(rb'nonce="[^"]*"')
_COOKIE = re.compile(rb";whence=[0-9a-z]{20,}")
_ANY_COOKIE = re.compile(rb"(?i)whence=[^;>\s]*")


def plain(data: bytes) -> bytes:
    """Return a message without what Kamailio draws by chance: branches, tags, nonces, cookies."""
    data = _BRANCH.sub(b"BRANCH", _TAG.sub(b"tag=OURS", data))
    data = data.replace(b";lr;r2=on;whence=", b";r2=on;lr;whence=")  # Kamailio's own order
    return _ANY_COOKIE.sub(b"whence=COOKIE", _NONCE.sub(b"nonce", data))


def plain_text(text: str) -> str:
    """Return a text of a report without cookies."""
    return plain(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


class Story:
    """One seed's messages at one node."""

    def __init__(self, node: Node, seed: int, recent: Recent = ()) -> None:
        self._node = node
        self._dice = Random(seed)
        self._name = f"s{seed}"
        self.recent = recent
        self.phases: list[Seen] = []
        self.sent: list[Shot] = []
        self._dialogs: list[tuple[Shot, Message, Message, str]] = []
        """Request, its 2xx at the caller, the request as the target received it, the target."""
        self._arrived: dict[str, tuple[str, Message]] = {}
        """Call-ID → the target at which a request arrived first, and the request."""

    def run(self) -> list[Seen]:
        """Send all messages; return what each machine received in each phase."""
        node = self._node
        at = {name: one.address for name, one in node.machines.items()}
        calls = Calls(self._dice, node.edge, at, self._name, self.recent)
        shots = [calls.draw() for _ in range(EACH)]
        self.recent = calls.recent
        for begin in range(0, EACH, AT_ONCE):
            some = shots[begin : begin + AT_ONCE]
            for shot in some:
                self._send(shot)
            self._phase()
            self._answer_all()
            self._phase()
            self._acknowledge(some)
        self._phase()
        self._answer_all()
        self._phase()
        for dialog in self._dialogs:
            self._in_dialog(*dialog)
        self._phase()
        self._answer_all()
        self._phase()
        return self.phases

    @property
    def far(self) -> int:
        """How many dialogs have a party that is reached elsewhere, and were begun by Kamailio."""
        texts = [f"{answer}{arrived}" for _, answer, arrived, _ in self._dialogs]
        return sum(re.search("whence=[bc][0-9a-f]+w", text) is not None for text in texts)

    def _answer_all(self) -> None:
        """Answer all requests of the last phase."""
        for name, machine in self._node.machines.items():
            for data in self._last[name]:
                self._answer(name, machine, data)

    def _send(self, shot: Shot) -> None:
        self._node.machines[shot.sender].send(shot.data, self._node.edge)
        self.sent.append(shot)

    def _phase(self) -> None:
        """Wait until the edge has finished, and note what each machine received."""
        node = self._node
        node.await_edge()
        machines = node.machines.items()
        self._last = {name: list(dict.fromkeys(one.waiting())) for name, one in machines}
        self.phases.append(
            {name: frozenset(map(plain, all_)) for name, all_ in self._last.items() if all_}
        )

    def _answer(self, name: str, target: Endpoint, data: bytes) -> None:
        """Let the target answer a request, as its Call-ID says."""
        if data.startswith(b"SIP/2.0"):
            return
        with suppress(KeyError, IndexError, ValueError):
            message = Message.parse(data)
            if message.method == "ACK":
                return
            self._arrived.setdefault(message.call_id, (name, message))
            kind = hashlib.sha256(message.call_id.encode("utf-8", "replace")).digest()[0] % 8
            is_first = message.method == "INVITE" and ";tag=" not in message["To"]
            status = (200, 200, 200, 486, 180, 603, 503, 302)[kind] if is_first else 200
            contact = f"<sip:pbx@{place(target.address)}>"
            if kind == 2:
                contact = f"<sip:pbx@{target.address[0]}:{ELSEWHERE}>"
            answer = reply(message, status, headers=[("Contact", contact)])
            if status == 200 and is_first:
                answer = self._reached_elsewhere(answer, target)
            edge = message.source or self._node.edge
            target.send(answer, edge)
            if message.method == "CANCEL":
                target.send(reply(self._arrived[message.call_id][1], 487), edge)

    def _reached_elsewhere(self, answer: Message, target: Endpoint) -> Message:
        """Return an answer with other headers about how its sender is reached, for some calls."""
        dice = Random(f"{self._name} elsewhere {answer.call_id}")
        if dice.random() < 0.6:
            return answer
        at = {name: one.address for name, one in self._node.machines.items()}
        here, edge = place(target.address), self._node.edge[0]
        lines = dice.choice(paths(at, edge)).format(own=here).splitlines()
        fields = [tuple(line.split(": ", 1)) for line in lines]
        routes = [(n, v) for n, v in fields if n == "Record-Route"]
        contacts = [(n, v) for n, v in fields if n == "Contact"]
        others = [(n, v) for n, v in answer.headers if n != "Contact"]
        return Message(answer.start_line, (*routes[::-1], *contacts, *others))

    def _acknowledge(self, shots: Iterable[Shot]) -> None:
        """Let the callers acknowledge the final answers to INVITEs."""
        by_branch = {}
        for shot in shots:
            with suppress(KeyError, IndexError):
                message = Message.parse(shot.data)
                by_branch[message.call_id, shot.sender] = shot, message
        for sender in self._node.senders:
            for data in self._last[sender]:
                with suppress(KeyError, IndexError, ValueError):
                    answer = Message.parse(data)
                    shot, message = by_branch[answer.call_id, sender]
                    if message.method != "INVITE" or answer.method != "INVITE":
                        continue
                    if answer.status == 180:
                        self._send(Shot(sender, bytes(cancel(message))))
                    elif answer.status >= 300:
                        ack = acknowledgement(message, answer)
                        self._node.senders[sender].send(ack, self._node.edge)
                    elif answer.status >= 200 and answer.call_id in self._arrived:
                        target, arrived = self._arrived[answer.call_id]
                        if "Contact" in arrived and "Contact" in answer:
                            self._dialogs.append((shot, answer, arrived, target))

    # --- requests in a dialog

    def _in_dialog(self, shot: Shot, answer: Message, arrived: Message, target: str) -> None:
        """Send the ACK, and some requests of either party and of others, right and wrong."""
        dice = Random(f"{self._name} {answer.call_id}")
        node = self._node
        recorded = answer.all("Record-Route")
        own = [number for number, one in enumerate(recorded) if "whence=" in one] or [-1]
        # A request of the caller has passed its own proxies, which follow ours in the answer.
        from_caller = "\r\n".join(f"Route: {one}" for one in recorded[: own[-1] + 1][::-1])
        from_target = "\r\n".join(f"Route: {one}" for one in arrived.all("Record-Route"))
        others = [
            one
            for _, other, *_ in self._dialogs
            for one in other.all("Record-Route")
            if other.call_id != answer.call_id
        ]
        methods = ["ACK"] if dice.random() < 0.9 else []
        methods += dice.choices(IN_DIALOG, k=dice.choice([1, 1, 2, 3]))
        for number, method in enumerate(methods):
            of_target = method != "ACK" and dice.random() < 0.3
            usual = from_target if of_target else from_caller
            way = dice.random()
            if way < 0.1:
                route = self._spoilt(usual, dice)
            elif way < 0.15 and others:
                route = f"Route: {dice.choice(others)}"
            elif way < 0.18:
                route = ""
            else:
                route = usual
            sender = target if of_target else shot.sender
            if dice.random() < 0.08:
                # Not the other party: the cookie of a dialog of the simple form is of both ways.
                sender = dice.choice([name for name in node.senders if name != shot.sender])
            here = place(node.machines[sender].address)
            uri = _uri(arrived["Contact"] if of_target else answer["Contact"])
            if dice.random() < 0.06:
                uri = dice.choice([f"sip:x@{node.edge[0]}", f"sip:x@{place(node.phone.address)}"])
            ends = (answer["To"], answer["From"]) if of_target else (answer["From"], answer["To"])
            branch = f"z9hG4bK-{answer.call_id}-{number}-{dice.randrange(2**32):x}"
            lines = [
                f"{method} {uri} SIP/2.0",
                f"Via: SIP/2.0/UDP {here};rport;branch={branch}",
                "Max-Forwards: 70",
                *([f"Route: {MARK}"] if route else []),
                f"From: {ends[0]}",
                f"To: {ends[1]}",
                f"Call-ID: {answer.call_id}",
                f"CSeq: {1 if method == 'ACK' else 2 + number} {method}",
                *([f"Contact: <sip:again@{here}>"] if method == "INVITE" else []),
                *(["X-Whence-Trunk: forged"] if dice.random() < 0.05 else []),
                "Content-Length: 0",
            ]
            data = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
            if dice.random() < 0.1:
                data = mutated(data, dice)
            value = route.removeprefix("Route: ").encode("utf-8", "surrogateescape")
            data = data.replace(MARK.encode(), value)
            self._send(Shot(sender, data))

    @staticmethod
    def _spoilt(route: str, dice: Random) -> str:
        """Change a Route a little. The two nodes' cookies have not the same form."""
        found = _COOKIE.search(route.encode("utf-8", "surrogateescape"))
        if found is None:
            return "Route: <sip:x@x;lr>"
        cookie = found[0].decode().removeprefix(";whence=")
        at = dice.choice([0, 1, 5, 11, -1, -2, -10, -20, -24])
        other = "1" if cookie[at] == "0" else "0"
        last = "" if at == -1 else cookie[at + 1 :]
        spoilt = dice.choice(
            [
                cookie[:at] + other + last,
                cookie[:at] + other + last,
                cookie[:-1],
                cookie[1:],
                cookie + "0",
                cookie + ">",
                cookie + ";x=y",
                cookie + "|",
                cookie.upper() + "A",
                "",
                f'"{cookie}"',
            ]
        )
        before, _, behind = route.partition(cookie)
        name = dice.choice([before, before, before, before.replace(";lr", ";LR"), before + "x="])
        return f"{name}{spoilt}{behind}"


def _uri(header: str) -> str:
    found = re.search(r"<([^>]*)>", header)
    return found[1] if found else header
