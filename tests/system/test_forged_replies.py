"""An address is learned only from the answer to our own REGISTER.

The attacker here knows the real Call-ID, CSeq, Contact and token. The attacker also knows the ports
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
    """A registrar whose answers the test chooses, and an unknown source."""

    whence: Whence
    registrar: Endpoint
    unknown_source: Endpoint
    registered: Message
    """The first REGISTER, which the registrar granted."""
    cseq: int
    """CSeq of the last REGISTER. A REGISTER at or below it is a retransmission."""

    def trunk(self) -> Table:
        return next(table for table in self.whence.trunks if table["id"] == "alices-trunk")

    def next_register(self) -> Message:
        """Change the password, so that the agent registers at once; return the REGISTER."""
        self.whence.edit(trunks=[{**self.trunk(), "password": f"{self.trunk()['password']}'"}])
        self.whence.reload()
        register = self.registrar.expect(
            lambda message: is_register(message) and number(message) > self.cseq,
            what="a new REGISTER",
        )
        self.cseq = number(register)
        return register

    def grant(self, register: Message, *more: tuple[str, str]) -> None:
        """Grant a REGISTER as a registrar does."""
        self.registrar.send(granting(register, *more), self.whence.address)

    def send_as_unknown_source(self, forged: Message, *to: Address) -> None:
        """Send a datagram to each address, and wait until edge and agent have read it."""
        for address in to:
            self.unknown_source.send(forged, address)
        assert try_to_call(self.unknown_source, self.whence) == 403
        assert self.whence.health() == 200

    def learned(self) -> dict[str, float]:
        """Return ip → end of each address, without pinned ones."""
        found = self.whence.get("/v1/addresses")
        return {one["ip"]: one["expires_at"] for one in found if one["origin"] != "pinned"}


def is_register(message: Message) -> bool:
    return message.method == "REGISTER" and not message.is_reply


def granting(register: Message, *more: tuple[str, str]) -> Message:
    return reply(register, 200, "OK", headers=[("Contact", register["Contact"]), *more])


def with_vias(message: Message, *vias: str) -> Message:
    others = [(name, value) for name, value in message.headers if name != "Via"]
    return Message(message.start_line, (*[("Via", via) for via in vias], *others), message.body)


def with_another_branch(register: Message) -> Message:
    """Return a request with another branch: only its receiver knows the real one."""
    return with_vias(
        register, *(via.replace("z9hG4bK", "z9hG4bKnot") for via in register.all("Via"))
    )


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
    register = registrar.expect(is_register, what="a REGISTER")
    unknown_source = rig.endpoint("unknown_source", SIP_PORT)
    scene = Scene(whence, registrar, unknown_source, register, number(register))
    scene.grant(register)
    whence.wait_registered()
    assert list(scene.learned()) == [registrar.address[0]]
    return scene


SOURCE_HEADERS: Headers = [("X-Whence-Source", "udp:127.0.0.9:5060"), ("X-Whence-Mac", "0" * 32)]


@pytest.mark.parametrize("headers", [[], SOURCE_HEADERS], ids=["plain", "with a source header"])
def test_forged_200_to_each_socket_is_not_learned(
    scene: Scene, headers: Sequence[tuple[str, str]]
) -> None:
    whence = scene.whence
    (agent,) = ports_of(whence.agent_pid())
    before = whence.get("/v1/addresses"), whence.get("/v1/trunks")
    branch = "branch=z9hG4bKforged"
    for vias in (
        [f"SIP/2.0/UDP {place(whence.address)};{branch}"],
        [f"SIP/2.0/UDP {place(at)};{branch}" for at in (whence.address, agent)],
        [
            f"SIP/2.0/UDP {place(at)};{branch}"
            for at in (whence.address, whence.agent_socket, agent)
        ],
    ):
        forged = with_vias(granting(scene.registered, *headers), *vias)
        scene.send_as_unknown_source(forged, whence.address, whence.agent_socket, agent)
    assert (whence.get("/v1/addresses"), whence.get("/v1/trunks")) == before


def test_forged_200_during_a_register_is_not_learned(scene: Scene) -> None:
    whence = scene.whence
    register, before = scene.next_register(), scene.learned()
    (agent,) = ports_of(whence.agent_pid())
    forged = granting(with_another_branch(register))
    scene.send_as_unknown_source(forged, whence.address, whence.agent_socket, agent)
    assert scene.learned() == before
    assert whence.trunk("alices-trunk")["state"] == "registering"

    scene.grant(register)
    whence.wait_registered()
    after, registrar = scene.learned(), scene.registrar.address[0]
    assert after.keys() == before.keys()
    assert after[registrar] > before[registrar]


@pytest.mark.parametrize("status", [401, 403, 423, 503])
def test_forged_refusal_during_a_register_is_ignored(scene: Scene, status: int) -> None:
    register = scene.next_register()
    forged = reply(with_another_branch(register), status, headers=[("Min-Expires", "7200")])
    (agent,) = ports_of(scene.whence.agent_pid())
    scene.send_as_unknown_source(forged, scene.whence.address, scene.whence.agent_socket, agent)
    assert scene.whence.trunk("alices-trunk")["state"] == "registering"
    scene.grant(register)
    scene.whence.wait_registered()


def test_source_header_of_a_registrar_is_removed(scene: Scene) -> None:
    """The agent learns the real source of the answer, not the source in its headers."""
    register, before = scene.next_register(), scene.learned()
    scene.grant(register, *SOURCE_HEADERS, ("x-whence-SOURCE", "udp:127.0.0.8:5060"))
    scene.whence.wait_registered()
    assert scene.learned().keys() == before.keys()
    assert (
        scene.whence.trunk("alices-trunk")["registrar"] == f"udp:{place(scene.registrar.address)}"
    )


def test_register_at_the_registrar_has_no_inside_header(scene: Scene) -> None:
    register = scene.next_register()
    assert not [name for name, _ in register.headers if name.lower().startswith("x-whence")]
    assert place(scene.whence.address) in register["Contact"]
    assert register.source == scene.whence.address
    scene.grant(register)
    scene.whence.wait_registered()


def test_reply_from_a_network_of_the_trunk_is_learned(scene: Scene, shared_rig: Rig) -> None:
    """The operator has pinned another machine of the provider. The former address keeps its end."""
    other = shared_rig.endpoint("registrars-other-machine", SIP_PORT)
    networks = [other.address[0]]
    scene.whence.edit(trunks=[{**scene.trunk(), "networks": networks}])
    register, before = scene.next_register(), scene.learned()
    other.send(granting(register), scene.whence.address)
    scene.whence.wait_registered()
    after = scene.learned()
    assert after.pop(other.address[0])
    assert after == before


def test_inside_socket_refuses_an_unknown_source(scene: Scene) -> None:
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
                *mac,
                ("Content-Length", "0"),
            ),
        )
        for mac in ([], [("X-Whence-Mac", "0" * 32)])
    ):
        assert scene.unknown_source.ask(forged, scene.whence.agent_socket).status == 403


def test_call_after_forged_replies_is_identified(scene: Scene, shared_rig: Rig) -> None:
    phone = shared_rig.phone("alice", scene.whence)
    caller = shared_rig.caller(scene.whence, at="registrar")
    caller.call(uri(scene.whence), expect=200)
    assert phone.calls()[0]["X-Whence-Source"].startswith(f"udp:{scene.registrar.address[0]}:")
