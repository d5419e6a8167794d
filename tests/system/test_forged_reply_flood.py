"""A hundred thousand forged answers in a burst, while trunks register: none counts, none is lost.

Who sends them knows what only the registrars know: Call-IDs, CSeqs, Contacts with tokens, and of a
REGISTER that is under way even the agent's own Via. What he has not is the edge's branch.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path

import pytest

from testkit.network import SIP_PORT, udp_queue
from testkit.provider import Provider, Register
from testkit.rig import Rig
from testkit.sip import Address, Endpoint, Message, place, request
from testkit.wait import eventually
from testkit.whence import Whence, trunk
from tests.system.ports import ports_of
from tests.system.registrar import Registrar, by_hand
from tests.system.scene import ALICE, try_to_call

STORIES = 5
"""Tests into which they are split: none takes so long that a REGISTER is given up meanwhile."""
FORGERIES = 100_000 // STORIES
PARTS = 2
ROOM = 200_000
"""Bytes that may wait at the agent's socket, which is larger."""

SLICE = 64
"""So many fit into a socket's buffer: hardly one is dropped before Kamailio reads it."""

TRUNKS = 36
REFRESHES = 3
"""So often in each part all trunks are told to refresh: there are always some that do.

By a clock they would do so for as long as the machine takes for a part; a busy one would have more
refreshes to do than it can, and lapse.
"""

STAMPS = (
    "X-Whence-Source: udp:%(liar)s\r\nX-Whence-Key: %(key)s\r\n"
    "x-whence-tls-reject-reason: nobody\r\nX-Whence-Trunk: t0\r\n"
)


@dataclass
class Scene:
    """Trunks that refresh again and again; one whose REGISTER is under way; three who forge."""

    whence: Whence
    provider: Provider
    registrar: Registrar
    asked: Message
    """The REGISTER that its registrar has not answered."""
    unknown_source: Endpoint
    beside: Endpoint
    """At the provider's very ip, on another port."""
    witness: Endpoint
    """Asks whether Kamailio lives."""
    agent: Address

    @property
    def forgers(self) -> Sequence[Endpoint]:
        """The last one has the very address and port that was asked."""
        return self.unknown_source, self.beside, self.registrar.endpoint

    @property
    def sockets(self) -> Sequence[Address]:
        return self.whence.address, self.whence.inside, self.agent

    def newest(self) -> dict[str, Register]:
        """Return each account's last REGISTER."""
        return {one.user: one for one in self.provider.registers()}

    def refresh(self) -> None:
        """Tell each trunk to refresh; one that does already goes on."""
        for i in range(TRUNKS):
            self.whence.post(f"/v1/trunks/t{i}/register", {})

    def learned(self) -> set[tuple[str, str]]:
        return {(one["trunk"], one["ip"]) for one in self.whence.get("/v1/addresses")}

    def metric(self, name: str) -> float:
        lines = self.whence.metrics().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    def dropped(self) -> list[int]:
        """How many datagrams the kernel had no room for, at each of our sockets."""
        return [udp_queue(at).dropped for at in self.sockets]

    def all_read(self) -> bool:
        return not any(udp_queue(at).waiting for at in self.sockets)


@pytest.fixture
def scene(rig: Rig) -> Scene:
    accounts = {f"acct{i}": f"secret of acct{i}" for i in range(TRUNKS)}
    provider = rig.provider(accounts=accounts)
    trunks = [
        trunk(f"t{i}", provider, user, ALICE, [f"+4420712345{i:02}"])
        for i, user in enumerate(accounts)
    ]
    whence = rig.whence(
        trunks=trunks,
        users=["alice"],
        agent={"on_stop": "leave"},
        edge={"flood": 0},  # the witness asks more often than an unknown source may
        # The REGISTER that is under way is so for all of the story.
        registration={"response_timeout": 120},
    )
    whence.wait_registered()
    registrar = by_hand(rig, whence)
    asked = registrar.asked()
    (agent,) = ports_of(whence.agent_pid())
    unknown_source, beside = rig.endpoint("unknown_source", SIP_PORT), rig.endpoint("provider")
    witness = rig.endpoint("witness")
    return Scene(whence, provider, registrar, asked, unknown_source, beside, witness, agent)


@pytest.mark.slow
@pytest.mark.parametrize("story", range(STORIES))
def test_none_of_a_hundred_thousand_is_learned_and_no_registration_is_lost(
    scene: Scene, story: int
) -> None:
    whence, registrar = scene.whence, scene.registrar
    learned, began = scene.learned(), scene.newest()
    assert learned == {(f"t{i}", scene.provider.ip) for i in range(TRUNKS)}
    memory_kb, logged = resident_kb(whence.agent_pid()), len(whence.log)

    burst(scene)

    amid = len(scene.provider.registers())
    assert amid > len(began), "trunks registered in the midst of it"
    assert sum(scene.dropped()) < FORGERIES / 100, "nearly all were read"
    assert scene.metric("whence_replies_rejected_total") == 0, "the edge dropped them all"
    assert scene.learned() == learned
    assert registrar.trunk()["state"] == "registering"
    assert len(whence.log) - logged < 10_000
    assert resident_kb(whence.agent_pid()) - memory_kb < 32_768

    registrar.grant(scene.asked)
    whence.wait_registered(registrar.trunk_id)
    assert scene.learned() - learned == {(registrar.trunk_id, registrar.endpoint.address[0])}

    whence.wait_registered()  # whoever was amid a refresh
    ended = scene.newest()
    scene.refresh()

    def refreshed() -> bool:
        return all(one.cseq > ended[user].cseq for user, one in scene.newest().items())

    eventually(refreshed, what="each trunk's refresh")
    stand = whence.get("/v1/trunks")
    assert {(one["state"], one["failures"]) for one in stand} <= {
        ("registered", 0),
        ("registering", 0),
    }
    assert scene.metric("whence_registration_expirations_total") == 0
    assert try_to_call(scene.unknown_source, whence) == 403


def burst(scene: Scene) -> None:
    """Send them all, in slices; the next one goes when Kamailio has come to the end of this one."""
    for _ in range(PARTS):
        # A refresh takes two REGISTERs: the CSeqs that come next are as right as the last one.
        forged = forgeries(scene, FORGERIES // PARTS)
        for number, (who, to, reply) in enumerate(forged, 1):
            if number % (FORGERIES // PARTS // REFRESHES) == 1:
                scene.refresh()
            who.send(reply, to)
            if number % SLICE == 0:
                for socket in (scene.whence.address, scene.whence.inside):
                    asked = request("OPTIONS", f"sip:{place(socket)}", scene.witness.address)
                    assert scene.witness.ask(asked, socket).status == 403
                eventually(lambda: udp_queue(scene.agent).waiting < ROOM, what="the agent reads")
    eventually(scene.all_read, what="all is read")


def forgeries(scene: Scene, count: int) -> Iterator[tuple[Endpoint, Address, bytes]]:
    """Make (who sends it, where to, a reply) of each kind in turn."""
    edge, inside = scene.whence.address, scene.whence.inside
    stamps = [
        "",
        STAMPS % {"liar": place(scene.unknown_source.address), "key": secrets.token_hex(16)},
    ]
    kinds = cycle(product(scene.forgers, (edge, inside), stamps, range(3), (True, False)))
    under_way, real = aim_at_the_one_under_way(scene), cycle(aims_at_real_trunks(scene))
    # As the edge's own begin: those of transactions that are under way, but for their secret.
    branch = scene.asked.all("Via")[0].partition("branch=")[2].partition(".")[0]
    guess = secrets.randbits(120)
    for number, (who, to, stamp, way, aims_at_real) in zip(range(count), kinds, strict=False):
        status, agents_via, fields = next(real) if aims_at_real else under_way
        vias = [f"Via: SIP/2.0/UDP {place(edge)};branch={branch}.{guess + number:032x}.0\r\n"]
        if way == 2:
            vias.append(f"Via: SIP/2.0/UDP {place(inside)};branch={branch}.{guess:032x}.0\r\n")
        if way:
            vias.append(f"Via: {agents_via}\r\n")
        head = f"SIP/2.0 {status}\r\n{''.join(vias)}"
        yield who, to, f"{head}{fields}{stamp}Content-Length: 0\r\n\r\n".encode()


def aims_at_real_trunks(scene: Scene) -> list[tuple[str, str, str]]:
    """(status, the agent's Via as far as it can be known, the headers): granting for a day."""
    aims = []
    for one in scene.newest().values():
        aor = f"<sip:{one.user}@{scene.provider.domain}>"
        via = f"SIP/2.0/UDP {place(scene.agent)};branch=z9hG4bK{secrets.token_hex(16)}"
        for cseq in range(one.cseq, one.cseq + 4):
            fields = (
                f"From: {aor};tag=1\r\nTo: {aor};tag=2\r\nCall-ID: {one.call_id}\r\n"
                f"CSeq: {cseq} REGISTER\r\nContact: {one.contact};expires=86400\r\n"
            )
            aims += [("200 OK", via, fields), ("403 Forbidden", via, fields)]
    return aims


def aim_at_the_one_under_way(scene: Scene) -> tuple[str, str, str]:
    """All of it is true but the edge's branch, also the agent's own Via.

    No refusal, which the agent could not tell from one of Kamailio's own: whoever knows its Via has
    seen the edge's too, and needs no forgery.
    """
    asked = scene.asked
    names = ("From", "To", "Call-ID", "CSeq", "Contact")
    fields = "".join(f"{name}: {asked[name]}\r\n" for name in names)
    return "200 OK", asked.all("Via")[1], f"{fields}Expires: 86400\r\n"


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0])
