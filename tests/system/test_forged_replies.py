"""An address is learned from the answer to our own REGISTER, and from nothing else.

The unknown source here knows more than others do: the true Call-ID, CSeq, Contact, token, the ports
of edge and agent, and the right moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Address, Endpoint, Headers, Message, reply
from testkit.whence import Table, Whence
from tests.system.ports import ports_of
from tests.system.registrar import number
from tests.system.scene import ALICE, ALICES_NUMBER, place, try_to_call, uri


@dataclass
class Scene:
    """A registrar that answers by hand, and so as late as it likes; and an unknown source."""

    whence: Whence
    registrar: Endpoint
    unknown_source: Endpoint
    registered: Message
    """The first REGISTER, which was granted."""
    asked: int
    """The CSeq of the last REGISTER: what comes again of it, or of those before, is no new one."""

    def trunk(self) -> Table:
        return next(table for table in self.whence.trunks if table["id"] == "alices-trunk")

    def next_register(self) -> Message:
        """Make Whence register, now: an operator changes the password."""
        self.whence.edit(trunks=[{**self.trunk(), "password": f"{self.trunk()['password']}'"}])
        self.whence.reload()
        register = self.registrar.expect(
            lambda message: is_register(message) and number(message) > self.asked,
            what="a new REGISTER",
        )
        self.asked = number(register)
        return register

    def grant(self, asked: Message, *more: tuple[str, str]) -> None:
        """Answer as a registrar does."""
        self.registrar.send(granting(asked, *more), self.whence.address)

    def send_as_unknown_source(self, forged: Message, *to: Address) -> None:
        """Send to each of these, and wait until the edge and the agent have read it."""
        for address in to:
            self.unknown_source.send(forged, address)
        assert try_to_call(self.unknown_source, self.whence) == 403
        assert self.whence.health() == 200

    def learned(self) -> dict[str, float]:
        """Return ip → until when, of all addresses but those that the file names."""
        found = self.whence.get("/v1/addresses")
        return {one["ip"]: one["expires_at"] for one in found if one["origin"] != "pinned"}


def is_register(message: Message) -> bool:
    return message.method == "REGISTER" and not message.is_reply


def granting(asked: Message, *more: tuple[str, str]) -> Message:
    return reply(asked, 200, "OK", headers=[("Contact", asked["Contact"]), *more])


def with_vias(message: Message, *vias: str) -> Message:
    others = [(name, value) for name, value in message.headers if name != "Via"]
    return Message(message.start_line, (*[("Via", via) for via in vias], *others), message.body)


def with_another_branch(asked: Message) -> Message:
    """All of a request but its branch, which only its receiver has seen."""
    return with_vias(asked, *(via.replace("z9hG4bK", "z9hG4bKnot") for via in asked.all("Via")))


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    rig = shared_rig
    registrar = rig.endpoint("registrar", SIP_PORT)
    table: Table = {
        "id": "alices-trunk",
        "registrar": f"sip:{place(registrar.address)}",
        "domain": "provider.example",
        "user": "acct1",
        "password": "secret",
        "target": ALICE,
        "numbers": [ALICES_NUMBER],
    }
    whence = rig.whence(trunks=[table], users=["alice"], agent={"on_stop": "leave"})
    asked = registrar.expect(is_register, what="a REGISTER")
    unknown_source = rig.endpoint("unknown_source", SIP_PORT)
    scene = Scene(whence, registrar, unknown_source, asked, number(asked))
    scene.grant(asked)
    whence.wait_registered()
    assert list(scene.learned()) == [registrar.address[0]]
    return scene


STAMPS: Headers = [("X-Whence-Source", "udp:127.0.0.9:5060"), ("X-Whence-Key", "0" * 32)]


@pytest.mark.parametrize("stamp", [[], STAMPS], ids=["plain", "stamped"])
def test_a_forged_200_to_any_of_our_sockets_teaches_nothing(
    scene: Scene, stamp: Sequence[tuple[str, str]]
) -> None:
    whence = scene.whence
    (agent,) = ports_of(whence.agent_pid())
    before = whence.get("/v1/addresses"), whence.get("/v1/trunks")
    branch = "branch=z9hG4bKforged"
    for vias in (
        [f"SIP/2.0/UDP {place(whence.address)};{branch}"],
        [f"SIP/2.0/UDP {place(at)};{branch}" for at in (whence.address, agent)],
        [f"SIP/2.0/UDP {place(at)};{branch}" for at in (whence.address, whence.inside, agent)],
    ):
        forged = with_vias(granting(scene.registered, *stamp), *vias)
        scene.send_as_unknown_source(forged, whence.address, whence.inside, agent)
    assert (whence.get("/v1/addresses"), whence.get("/v1/trunks")) == before


def test_a_200_forged_during_a_live_register_teaches_nothing_and_the_true_one_does(
    scene: Scene,
) -> None:
    whence = scene.whence
    asked, before = scene.next_register(), scene.learned()
    (agent,) = ports_of(whence.agent_pid())
    forged = granting(with_another_branch(asked))
    scene.send_as_unknown_source(forged, whence.address, whence.inside, agent)
    assert scene.learned() == before
    assert whence.trunk("alices-trunk")["state"] == "registering"

    scene.grant(asked)
    whence.wait_registered()
    after, registrar = scene.learned(), scene.registrar.address[0]
    assert after.keys() == before.keys()
    assert after[registrar] > before[registrar]


@pytest.mark.parametrize("status", [401, 403, 423, 503])
def test_a_forged_refusal_during_a_live_register_ends_nothing(scene: Scene, status: int) -> None:
    asked = scene.next_register()
    forged = reply(with_another_branch(asked), status, headers=[("Min-Expires", "7200")])
    (agent,) = ports_of(scene.whence.agent_pid())
    scene.send_as_unknown_source(forged, scene.whence.address, scene.whence.inside, agent)
    assert scene.whence.trunk("alices-trunk")["state"] == "registering"
    scene.grant(asked)
    scene.whence.wait_registered()


def test_a_registrars_own_stamp_is_taken_off(scene: Scene) -> None:
    """What is learned is where its answer came from, not what it says."""
    asked, before = scene.next_register(), scene.learned()
    scene.grant(asked, *STAMPS, ("x-whence-SOURCE", "udp:127.0.0.8:5060"))
    scene.whence.wait_registered()
    assert scene.learned().keys() == before.keys()
    assert (
        scene.whence.trunk("alices-trunk")["registrar"] == f"udp:{place(scene.registrar.address)}"
    )


def test_a_register_tells_the_registrar_nothing_of_the_inside(scene: Scene) -> None:
    asked = scene.next_register()
    assert not [name for name, _ in asked.headers if name.lower().startswith("x-whence")]
    assert place(scene.whence.address) in asked["Contact"]
    assert asked.source == scene.whence.address
    scene.grant(asked)
    scene.whence.wait_registered()


def test_an_answer_from_a_network_of_the_trunk_is_learned(scene: Scene, shared_rig: Rig) -> None:
    """A provider with several machines, of which the operator knows.

    The former address keeps the time that it was granted.
    """
    other = shared_rig.endpoint("registrars-other-machine", SIP_PORT)
    networks = [other.address[0]]
    scene.whence.edit(trunks=[{**scene.trunk(), "networks": networks}])
    asked, before = scene.next_register(), scene.learned()
    other.send(granting(asked), scene.whence.address)
    scene.whence.wait_registered()
    after = scene.learned()
    assert after.pop(other.address[0])
    assert after == before


def test_an_unknown_source_that_speaks_to_the_inside_socket_is_refused(scene: Scene) -> None:
    for forged in (
        Message(
            "REGISTER sip:provider.example SIP/2.0",
            (
                ("Via", f"SIP/2.0/UDP {place(scene.unknown_source.address)};branch=z9hG4bKinside"),
                ("Max-Forwards", "70"),
                ("From", "<sip:acct1@provider.example>;tag=1"),
                ("To", "<sip:acct1@provider.example>"),
                ("Call-ID", "inside"),
                ("CSeq", "1 REGISTER"),
                ("X-Whence-Next-Hop", f"sip:{place(scene.unknown_source.address)}"),
                ("X-Whence-Socket", f"udp:{place(scene.whence.address)}"),
                *seal,
                ("Content-Length", "0"),
            ),
        )
        for seal in ([], [("X-Whence-Key", "0" * 32)])
    ):
        assert scene.unknown_source.ask(forged, scene.whence.inside).status == 403


def test_the_call_that_all_this_is_for_still_comes_through(scene: Scene, shared_rig: Rig) -> None:
    phone = shared_rig.phone("alice", scene.whence)
    caller = shared_rig.caller(scene.whence, at="registrar")
    caller.call(uri(scene.whence), expect=200)
    assert phone.calls()[0]["X-Whence-Source"].startswith(f"udp:{scene.registrar.address[0]}:")
