"""Twenty thousand mutated messages, from a trunk, its target and an unknown source.

A story is a hundred messages of one kind. After each story the checks of the arena must hold. A
failure shows the seed of its story; WHENCE_SEED=seed repeats that story.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import pytest

from testkit.parsers import fields, strict
from testkit.sip import Endpoint, Message, place, reply, request
from tests.contract.call import Call, connect
from tests.contract.torture.arena import Arena, Sender, finals, leaked_header_faults, once_more
from tests.contract.torture.messages import MESSAGES
from tests.contract.torture.mutation import mutated

CASES = 20_000
EACH = 100
"""Messages of one story."""
AT_ONCE = 10
"""Messages that are sent before anybody waits: sockets hold no more of the long ones."""

METHODS = ("INVITE", "OPTIONS", "MESSAGE", "REGISTER", "BYE", "ACK", "CANCEL", "SUBSCRIBE")
IN_DIALOG = ("INFO", "BYE", "ACK", "INVITE", "UPDATE", "REFER", "MESSAGE", "OPTIONS")
STATUSES = (100, 180, 183, 200, 202, 302, 401, 404, 486, 503, 600)
TIMEOUT = b"SIP/2.0 408 Request Timeout\r\n"
"""The answer to a relayed request that got no reply for half a minute."""
BODY = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nX-Whence-Trunk: a body's\r\n"


class Story:
    """The messages of one seed."""

    def __init__(self, arena: Arena, seed: int, seen: set[bytes], counts: Counter[str]) -> None:
        self.arena, self.dice, self.counts = arena, Random(seed), counts
        self._seen = seen
        """What has arrived before: Kamailio sends again what nobody answered."""
        self.faults: list[str] = []

    def run(self) -> None:
        """Send a hundred messages, and assert the checks of the arena."""
        arena = self.arena
        kind = self.dice.choices(
            [self.of_the_trunk, self.of_an_unknown_source, self.in_a_dialog, self.of_replies],
            [35, 30, 20, 15],
        )[0]
        kind()
        parties = (arena.provider.ip, arena.phone.address[0])
        faults = arena.faults(EACH, *parties, arena.unknown_source.ip)
        assert not self.faults + faults

    # --- the kinds

    def of_the_trunk(self) -> None:
        """Send initial requests: those that reach the target have the right headers of ours."""
        arena = self.arena
        source = f"udp:{arena.provider.ip}:{arena.provider.udp.address[1]}"
        for _ in range(EACH // AT_ONCE):
            for _ in range(AT_ONCE):
                self._send(arena.provider.udp, self._beginning(arena.provider))
            arena.scene.await_edge()
            for data in self._new(arena.pick_up()):
                self.counts["relayed"] += 1
                self.faults += arena.source_header_faults(data, source)
            arena.scene.await_edge()
            self._answers(arena.provider)

    def of_an_unknown_source(self) -> None:
        """Send any requests, also those of a dialog: none may arrive anywhere."""
        arena = self.arena
        call = connect(arena.scene, arena.provider.udp, arena.phone)
        for _ in range(EACH // AT_ONCE):
            for _ in range(AT_ONCE):
                kind = self.dice.randrange(4)
                data = self._beginning(arena.unknown_source) if kind < 2 else self._within(call)
                self._send(arena.unknown_source.udp, self._reply(call) if kind == 3 else data)
            arena.scene.await_edge()
            for data in self._new(arena.pick_up()):
                self.faults.append(f"from an unknown source to the target: {data!r}")
            for data in self._new(arena.provider.came()):
                if not data.startswith(b"SIP/2.0"):
                    self.faults.append(f"from an unknown source to the trunk: {data!r}")
            self._answers(arena.unknown_source)

    def in_a_dialog(self) -> None:
        """Send requests of a dialog: only those that left it have headers of ours."""
        arena = self.arena
        source = f"udp:{arena.provider.ip}:{arena.provider.udp.address[1]}"
        for _ in range(EACH // AT_ONCE):
            call = connect(arena.scene, arena.provider.udp, arena.phone)
            for _ in range(AT_ONCE):
                if self.dice.random() < 0.7:
                    self._send(arena.provider.udp, self._within(call))
                else:
                    self._send(arena.phone, self._within(call, of_the_target=True))
            arena.scene.await_edge()
            for data in self._new(arena.pick_up()):
                self.counts["in a dialog"] += 1
                if data.startswith(b"SIP/2.0"):
                    continue  # an answer to the sender's own request
                if leaked_header_faults(data) or not has_to_tag(data):
                    self.faults += arena.source_header_faults(data, source)
            for data in self._new(arena.provider.came()):
                if not data.startswith(b"SIP/2.0"):
                    self.faults += leaked_header_faults(data)
                    arena.accept(arena.provider.udp, data)
            arena.scene.await_edge()
            self._answers(arena.provider)

    def of_replies(self) -> None:
        """Send replies of the target: the trunk gets no headers of ours."""
        arena = self.arena
        for _ in range(EACH // AT_ONCE):
            for _ in range(AT_ONCE):
                ask = request("MESSAGE", arena.scene.uri("+4420"), arena.provider.udp.address)
                arena.provider.udp.send(ask, arena.scene.edge)
            arena.scene.await_edge()
            asked = [Message.parse(data) for data in self._new(arena.phone.waiting())]
            for one in asked:
                answer = reply(one, self.dice.choice(STATUSES), headers=self._contact())
                arena.phone.send(mutated(bytes(answer), self.dice), arena.scene.edge)
            arena.scene.await_edge()
            for one in asked:
                arena.phone.send(reply(one, 200), arena.scene.edge)
            arena.scene.await_edge()
            arena.phone.waiting()
            for data in self._answers(arena.provider):
                self.faults += leaked_header_faults(data)

    # --- the messages

    def _beginning(self, sender: Sender) -> bytes:
        """Return a torture message, or a valid initial request."""
        if self.dice.random() < 0.4:
            return once_more(self.dice.choice(MESSAGES).data)
        uri = self.arena.scene.uri(self.dice.choice(["+4420", "", "acct1"]))
        method = self.dice.choice([*METHODS, *["INVITE", "MESSAGE"] * 4])
        body = self.dice.choice(["", BODY])
        return bytes(request(method, uri, sender.udp.address, body=body))

    def _within(self, call: Call, *, of_the_target: bool = False) -> bytes:
        """Return a request of this call, from its caller or its target."""
        make = call.from_phone if of_the_target else call.from_caller
        return bytes(make(self.dice.choice(IN_DIALOG)))

    def _reply(self, call: Call) -> bytes:
        """Return a reply whose Vias name the edge and another requester."""
        status, arena = self.dice.choice(STATUSES), self.arena
        made = reply(call.arrived, status, headers=self._contact())
        below = self.dice.choice(
            [place(arena.phone.address), place(arena.provider.udp.address), "name.example.com"]
        )
        vias = [
            ("Via", f"SIP/2.0/UDP {place(arena.scene.edge)};branch={_branch(self.dice)}"),
            ("Via", f"SIP/2.0/UDP {below};branch={_branch(self.dice)}"),
        ]
        others = [field for field in made.headers if field[0] != "Via"]
        return bytes(Message(made.start_line, (*vias, *others)))

    def _contact(self) -> list[tuple[str, str]]:
        return [("Contact", f"<sip:{self.arena.phone.address[0]}>")]

    # --- their results

    def _send(self, sender: Endpoint, data: bytes) -> None:
        sender.send(mutated(data, self.dice), self.arena.scene.edge)
        self.counts["sent"] += 1

    def _new(self, arrived: list[bytes]) -> list[bytes]:
        """Return messages that are new, and not Kamailio's late answers of an earlier story."""
        new = [data for data in arrived if data not in self._seen]
        self._seen.update(new)
        return [data for data in new if not data.startswith(TIMEOUT)]

    def _answers(self, sender: Sender) -> list[bytes]:
        """Return the answers."""
        came = self._new(sender.came())
        self.counts["answered"] += len(finals(came))
        return came


def _branch(dice: Random) -> str:
    return f"z9hG4bK{dice.randrange(2**64):x}"


def has_to_tag(data: bytes) -> bool:
    """Return whether the message has a To tag."""
    return any("tag" in value for name in ("To", "t") for value in fields(strict, data, name))


@pytest.mark.slow
def test_mutations_leave_the_edge_unharmed(arena: Arena) -> None:
    first = int(os.environ.get("WHENCE_SEED", Random().randrange(2**40)))
    stories = 1 if "WHENCE_SEED" in os.environ else CASES // EACH
    seen, counts = set[bytes](), Counter[str]()
    for seed in range(first, first + stories):
        try:
            Story(arena, seed, seen, counts).run()
        except BaseException as error:
            error.add_note(f"the story's seed: WHENCE_SEED={seed}")
            raise
    if stories > 1:  # neither all nor none of the messages pass
        assert counts["relayed"] > CASES // 100, counts
        assert counts["in a dialog"] > CASES // 200, counts
        assert counts["answered"] > CASES // 20, counts
