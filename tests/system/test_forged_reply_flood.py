"""A burst of 100 000 forged replies while trunks register: no forgery counts, no trunk expires.

The attacker knows what only registrars know: Call-IDs, CSeqs, Contacts with tokens, and the agent's
Via of a REGISTER that is pending. The attacker does not know the edge's branch.
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
from tests.system.registrar import Registrar, new_registrar
from tests.system.scene import ALICE, try_to_call

TESTS = 5
"""Number of tests: each is short enough that the agent does not give the REGISTER up."""
FORGERIES = 100_000 // TESTS
PARTS = 2
QUEUED_AT_MOST = 200_000
"""Bytes that may wait at the agent's socket, whose buffer is larger."""

SLICE = 64
"""Datagrams that fit into a socket's buffer, so that Kamailio reads nearly all of them."""

TRUNKS = 36
REFRESHES = 3
"""How often all trunks refresh in each part, so that some refresh at any time.

A timer instead would refresh for as long as the machine takes for a part. A busy machine could not
do so many refreshes, and registrations would expire.
"""

SOURCE_HEADERS = (
    "X-Whence-Source: udp:%(forger)s\r\nX-Whence-Mac: %(key)s\r\n"
    "x-whence-tls-reject-reason: other\r\nX-Whence-Trunk: t0\r\n"
)


@dataclass
class Scene:
    """Trunks that refresh repeatedly, one whose REGISTER is pending, and three forgers."""

    whence: Whence
    provider: Provider
    registrar: Registrar
    pending: Message
    """The REGISTER that the registrar has not answered."""
    unknown_source: Endpoint
    beside: Endpoint
    """At the provider's ip, on another port."""
    witness: Endpoint
    """Sends requests whose answer shows that Kamailio has read everything before."""
    agent: Address

    @property
    def forgers(self) -> Sequence[Endpoint]:
        """All forgers. The last one has the address and port to which the REGISTER went."""
        return self.unknown_source, self.beside, self.registrar.endpoint

    @property
    def sockets(self) -> Sequence[Address]:
        return self.whence.address, self.whence.agent_socket, self.agent

    def newest(self) -> dict[str, Register]:
        """Return account → its last REGISTER."""
        return {one.user: one for one in self.provider.registers()}

    def refresh(self) -> None:
        """Let each trunk refresh; a trunk that refreshes already continues."""
        for i in range(TRUNKS):
            self.whence.post(f"/v1/trunks/t{i}/register", {})

    def learned(self) -> set[tuple[str, str]]:
        return {(one["trunk"], one["ip"]) for one in self.whence.get("/v1/addresses")}

    def metric(self, name: str) -> float:
        lines = self.whence.metrics().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    def dropped(self) -> list[int]:
        """Return for each of our sockets how many datagrams the kernel dropped."""
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
        edge={"flood": 0},  # the witness sends more requests than an unknown source may
        # The pending REGISTER stays pending for the whole test.
        registration={"response_timeout": 120},
    )
    whence.wait_registered()
    registrar = new_registrar(rig, whence)
    register = registrar.next_register()
    (agent,) = ports_of(whence.agent_pid())
    unknown_source, beside = rig.endpoint("unknown_source", SIP_PORT), rig.endpoint("provider")
    witness = rig.endpoint("witness")
    return Scene(whence, provider, registrar, register, unknown_source, beside, witness, agent)


@pytest.mark.slow
@pytest.mark.parametrize("test_number", range(TESTS))
def test_forged_reply_flood_changes_nothing(scene: Scene, test_number: int) -> None:
    whence, registrar = scene.whence, scene.registrar
    learned, began = scene.learned(), scene.newest()
    assert learned == {(f"t{i}", scene.provider.ip) for i in range(TRUNKS)}
    memory_kb, logged = resident_kb(whence.agent_pid()), logged_of_others(whence)

    burst(scene)

    registers = len(scene.provider.registers())
    assert registers > len(began), "trunks registered during the burst"
    assert sum(scene.dropped()) < FORGERIES / 100, "Kamailio and the agent read nearly all"
    assert scene.metric("whence_replies_rejected_total") == 0, "the edge dropped all of them"
    assert scene.learned() == learned
    assert registrar.trunk()["state"] == "registering"
    assert logged_of_others(whence) - logged < 10_000
    assert resident_kb(whence.agent_pid()) - memory_kb < 32_768

    registrar.grant(scene.pending)
    whence.wait_registered(registrar.trunk_id)
    assert scene.learned() - learned == {(registrar.trunk_id, registrar.endpoint.address[0])}

    whence.wait_registered()  # some trunks may be in a refresh
    ended = scene.newest()
    scene.refresh()

    def refreshed() -> bool:
        return all(one.cseq > ended[user].cseq for user, one in scene.newest().items())

    eventually(refreshed, what="a refresh of each trunk")
    trunks = whence.get("/v1/trunks")
    assert {(one["state"], one["failures"]) for one in trunks} <= {
        ("registered", 0),
        ("registering", 0),
    }
    assert scene.metric("whence_registration_expirations_total") == 0
    assert try_to_call(scene.unknown_source, whence) == 403


def logged_of_others(whence: Whence) -> int:
    """Return the size of the log without the audit lines, which are of this test's own orders."""
    return sum(len(line) for line in whence.log.splitlines() if " audit: " not in line)


def burst(scene: Scene) -> None:
    """Send all forgeries in slices. Each slice waits until Kamailio has read the one before."""
    for _ in range(PARTS):
        # A refresh takes two REGISTERs, so the next CSeqs may be as right as the last one.
        forged = forgeries(scene, FORGERIES // PARTS)
        for number, (sender, to, reply) in enumerate(forged, 1):
            if number % (FORGERIES // PARTS // REFRESHES) == 1:
                scene.refresh()
            sender.send(reply, to)
            if number % SLICE == 0:
                for socket in (scene.whence.address, scene.whence.agent_socket):
                    register = request("OPTIONS", f"sip:{place(socket)}", scene.witness.address)
                    assert scene.witness.ask(register, socket).status == 403
                eventually(
                    lambda: udp_queue(scene.agent).waiting < QUEUED_AT_MOST,
                    what="a shorter queue at the agent",
                )
    eventually(scene.all_read, what="empty queues")


def forgeries(scene: Scene, count: int) -> Iterator[tuple[Endpoint, Address, bytes]]:
    """Yield (sender, destination, reply), of each kind in turn."""
    edge, agent_socket = scene.whence.address, scene.whence.agent_socket
    source_headers = [
        "",
        SOURCE_HEADERS
        % {"forger": place(scene.unknown_source.address), "key": secrets.token_hex(16)},
    ]
    kinds = cycle(
        product(scene.forgers, (edge, agent_socket), source_headers, range(3), (True, False))
    )
    pending, real = aim_at_the_pending_one(scene), cycle(aims_at_real_trunks(scene))
    # These branches begin like the edge's own; only their secret is guessed.
    branch = scene.pending.all("Via")[0].partition("branch=")[2].partition(".")[0]
    guess = secrets.randbits(120)
    for number, (sender, to, headers, way, aims_at_real) in zip(range(count), kinds, strict=False):
        status, agents_via, fields = next(real) if aims_at_real else pending
        vias = [f"Via: SIP/2.0/UDP {place(edge)};branch={branch}.{guess + number:032x}.0\r\n"]
        if way == 2:
            vias.append(
                f"Via: SIP/2.0/UDP {place(agent_socket)};branch={branch}.{guess:032x}.0\r\n"
            )
        if way:
            vias.append(f"Via: {agents_via}\r\n")
        head = f"SIP/2.0 {status}\r\n{''.join(vias)}"
        yield sender, to, f"{head}{fields}{headers}Content-Length: 0\r\n\r\n".encode()


def aims_at_real_trunks(scene: Scene) -> list[tuple[str, str, str]]:
    """Return (status, guess of the agent's Via, headers) for each trunk: grants for a day."""
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


def aim_at_the_pending_one(scene: Scene) -> tuple[str, str, str]:
    """Return (status, a guess of the agent's Via, headers) of a 200 to the pending REGISTER.

    The edge removes the agent's Via from the REGISTER, so a forger guesses its branch, too.
    """
    register = scene.pending
    names = ("From", "To", "Call-ID", "CSeq", "Contact")
    fields = "".join(f"{name}: {register[name]}\r\n" for name in names)
    via = f"SIP/2.0/UDP {place(scene.agent)};branch=z9hG4bK{secrets.token_hex(16)}"
    return "200 OK", via, f"{fields}Expires: 86400\r\n"


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0])
