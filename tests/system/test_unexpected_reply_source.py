"""Replies to a REGISTER from a source that was not expected.

An impostor sees each REGISTER, and answers with its branch, Call-ID, CSeq and Contact. Only an
expected server, or a source that the operator permits, teaches an address.
"""

import hashlib
from dataclasses import dataclass

import pytest

from testkit.nameserver import NameServer, address
from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Endpoint, Message, expect_any, place, reply
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.pbx import Pbx, refused
from tests.system.registrar import (
    DOMAIN,
    PASSWORD,
    Registrar,
    add,
    challenge,
    credentials,
)

ALARM = "reply_from_unexpected_address"


@dataclass
class Scene:
    """One node. Each test has a `Case` of its own on it."""

    rig: Rig
    whence: Whence
    dns: NameServer
    pbx: Pbx

    def trunk(self, name: str, **more: object) -> "Case":
        registrar = Registrar(self.rig.endpoint(name, SIP_PORT), self.whence, name)
        table = {
            "id": name,
            "registrar": f"sip:{place(registrar.endpoint.address)}",
            "domain": DOMAIN,
            "user": "acct1",
            "password": PASSWORD,
            "target": self.pbx.uri,
            **more,
        }
        add(self.whence, table)
        impostor = self.rig.endpoint(f"impostor of {name}", SIP_PORT)
        return Case(self, name, registrar, impostor)


@dataclass
class Case:
    """A trunk, a registrar whose answers the test chooses, and an impostor."""

    scene: Scene
    id: str
    registrar: Registrar
    impostor: Endpoint

    @property
    def whence(self) -> Whence:
        return self.scene.whence

    def answer(self, register: Message, who: Endpoint, *more: tuple[str, str]) -> None:
        """Grant a REGISTER from any source, and wait until the agent has read the reply."""
        contact = ("Contact", register["Contact"])
        who.send(reply(register, 200, headers=[contact, *more]), self.whence.address)
        eventually(lambda: self.registrar.trunk()["state"] == "registered", what="registered")

    def refresh(self) -> Message:
        assert self.whence.cli("register", self.id).returncode == 0
        return self.registrar.next_register()

    def learned(self) -> dict[str, float]:
        """Return ip → end of each learned address of the trunk."""
        found = self.whence.get("/v1/addresses")
        mine = [one for one in found if (one["trunk"], one["origin"]) == (self.id, "learned")]
        return {one["ip"]: one["expires_at"] for one in mine}

    def alarms(self) -> list[str]:
        alarms = self.whence.get("/v1/alarms")
        return [e["message"] for e in alarms if (e["kind"], e["trunk"]) == (ALARM, self.id)]

    def is_admitted(self, who: Endpoint) -> bool:
        """Make a call from this source; return whether it reached the PBX as this trunk's."""
        if who.address[0] not in self.learned():
            assert refused(who, self.whence.address) == 403
            return False
        arrived = self.scene.pbx.called_by(who, self.whence.address)
        assert arrived["X-Whence-Trunk"] == self.id
        return True


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    rig = shared_rig
    dns = rig.nameserver(
        address("siblings.example", rig.ip("in-dns"), rig.ip("sibling")),
        address("named.example", rig.ip("behind-proxy"), rig.ip("named")),
    )
    whence = rig.whence(agent={"nameserver": dns.place, "on_stop": "leave", "grace": 0})
    return Scene(rig, whence, dns, Pbx(rig))


def test_impostor_reply_200_admits_no_call(scene: Scene) -> None:
    case = scene.trunk("acme")
    impostor, registrar = case.impostor, case.registrar.endpoint
    case.answer(case.registrar.next_register(), impostor)
    assert not case.is_admitted(impostor)
    assert not case.is_admitted(registrar)
    (text,) = case.alarms()
    assert place(impostor.address) in text and place(registrar.address) in text
    assert case.registrar.trunk()["registrar"] is None
    output = scene.whence.cli(
        "explain", "--source", f"udp:{place(impostor.address)}", "--ruri", "sip:x@edge.example"
    ).stdout
    assert f"acme: a reply to its REGISTER came from {impostor.address[0]}" in output
    assert "networks" in output and 'learn_from = "any"' in output

    case.answer(case.refresh(), registrar)
    assert case.is_admitted(registrar)
    assert not case.is_admitted(impostor)
    before = case.learned()

    case.answer(case.refresh(), impostor)
    assert case.learned() == before, "the address neither ended nor was extended"
    assert not case.is_admitted(impostor)
    assert case.is_admitted(registrar)
    assert len(case.alarms()) + scene.whence.get("/v1/alarms")[-1]["left_out"] >= 1
    kinds = {e["kind"] for e in scene.whence.get("/v1/alarms") if e["trunk"] == "acme"}
    assert kinds == {ALARM}, "no alarm about a changed server"

    scene.whence.restart()
    assert not case.is_admitted(impostor)
    assert case.is_admitted(registrar)
    assert case.learned() == before


def test_impostor_reply_302_is_not_followed(scene: Scene) -> None:
    case = scene.trunk("redirected")
    register = case.registrar.next_register()
    contact = f"<sip:{place(case.impostor.address)}>"
    case.impostor.send(reply(register, 302, headers=[("Contact", contact)]), scene.whence.address)
    scene.whence.wait_state("redirected", "waiting")
    assert len(case.alarms()) == 1
    assert not case.is_admitted(case.impostor)
    case.answer(case.refresh(), case.registrar.endpoint)
    assert case.is_admitted(case.registrar.endpoint)
    arrived = [Message.parse(data).method for data in case.impostor.waiting()]
    assert "REGISTER" not in arrived, "no REGISTER was sent to the impostor"


@pytest.mark.parametrize("headers", [[], [("X-Whence-Source", "udp:127.0.0.9:5060")]])
def test_impostor_headers_are_ignored(scene: Scene, headers: list[tuple[str, str]]) -> None:
    case = scene.trunk(f"headers-{len(headers)}")
    case.answer(
        case.registrar.next_register(), case.impostor, *headers, ("Authentication-Info", "x")
    )
    assert not case.is_admitted(case.impostor)


def test_server_that_dns_names_is_learned(scene: Scene) -> None:
    case = scene.trunk("in-dns", registrar="sip:siblings.example:5060", follow_dns=False)
    register = first_register(scene, case, "sibling")
    other = {scene.rig.ip("in-dns"): "sibling", scene.rig.ip("sibling"): "in-dns"}
    where = other[register[1].address[0]]
    who = scene.rig.endpoint(where)
    case.answer(register[0], who)
    assert case.is_admitted(who)
    assert not case.alarms()


def first_register(scene: Scene, case: Case, name: str) -> tuple[Message, Endpoint]:
    """Return the REGISTER, and which of two servers received it."""
    second = scene.rig.endpoint(name, SIP_PORT)
    at, register = expect_any(
        [case.registrar.endpoint, second],
        lambda message: not message.is_reply and message.method == "REGISTER",
        what="a REGISTER at one of them",
    )
    return register, at


def test_server_of_the_registrar_name_behind_a_proxy_is_learned(scene: Scene) -> None:
    proxy = f"sip:{scene.rig.ip('behind-proxy')}:{SIP_PORT}"
    case = scene.trunk("behind-proxy", registrar="sip:named.example", proxy=proxy)
    named = scene.rig.endpoint("named")
    case.answer(case.registrar.next_register(), named)
    assert case.is_admitted(named)


@pytest.mark.parametrize("how", ["networks", "learn_from"])
def test_source_that_the_operator_permits_is_learned(scene: Scene, how: str) -> None:
    ip = scene.rig.ip(f"impostor of by-{how}")
    more: dict[str, object] = {"networks": [ip]} if how == "networks" else {how: "any"}
    case = scene.trunk(f"by-{how}", **more)
    case.answer(case.registrar.next_register(), case.impostor)
    assert list(case.learned()) == [ip]
    assert case.is_admitted(case.impostor)
    assert not case.alarms()


def test_network_of_another_port_or_transport_permits_nothing(scene: Scene) -> None:
    ip = scene.rig.ip("impostor of narrow")
    case = scene.trunk(
        "narrow", networks=[{"network": ip, "transport": "tcp"}, {"network": ip, "port": 5071}]
    )
    case.answer(case.registrar.next_register(), case.impostor)
    assert case.learned() == {}
    assert refused(case.impostor, scene.whence.address) == 403


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "MD5-sess"])
def test_rspauth_is_accepted_only_if_valid(scene: Scene, algorithm: str) -> None:
    case = scene.trunk(f"rspauth-{algorithm}")
    fields = (f"algorithm={algorithm}", 'qop="auth"')
    case.registrar.answer(case.registrar.next_register(), 401, challenge(DOMAIN, "n1", *fields))
    register = case.registrar.next_register()
    case.answer(register, case.impostor, proof(register, "a guess"))
    assert not case.is_admitted(case.impostor)
    former = register

    register = case.refresh()
    case.answer(register, case.impostor, proof(former))  # it was valid for the former REGISTER
    assert not case.is_admitted(case.impostor)

    register = case.refresh()
    case.answer(register, case.impostor, proof(register))
    assert case.is_admitted(case.impostor)


def proof(register: Message, password: str = PASSWORD) -> tuple[str, str]:
    """Make the Authentication-Info of a server that knows the password (RFC 7616 3.5)."""
    (given,) = credentials(register)
    algorithm = given["algorithm"]
    name = {"MD5": "md5", "SHA-256": "sha256"}[algorithm.removesuffix("-sess")]

    def digest(*parts: str) -> str:
        return hashlib.new(name, ":".join(parts).encode()).hexdigest()

    a1 = digest(given["username"], given["realm"], password)
    if algorithm.endswith("-sess"):
        a1 = digest(a1, given["nonce"], given["cnonce"])
    parts = [given[name] for name in ("nonce", "nc", "cnonce")]
    rspauth = digest(a1, *parts, "auth", digest("", given["uri"]))
    fields = f'rspauth="{rspauth}", cnonce="{given["cnonce"]}", nc={given["nc"]}, qop=auth'
    return "Authentication-Info", fields


@pytest.mark.parametrize("port", [SIP_PORT, 5070])
def test_trunk_learned_at_anothers_address_is_a_conflict(scene: Scene, port: int) -> None:
    """Both trunks have numbers. A call that names neither was bell's, and is refused now."""
    number = f"+44207123{port}"
    bell = scene.trunk(f"bell-{port}", numbers=[number])
    bells = bell.registrar.endpoint
    bell.answer(bell.registrar.next_register(), bells)
    assert bell.is_admitted(bells)
    acme = scene.trunk(f"acme-{port}", numbers=[f"{number}1"], learn_from="any")
    register = acme.registrar.next_register()
    assert not conflicts_of(scene, bell.id)
    who = bells if port == SIP_PORT else scene.rig.endpoint(bell.id, port)
    acme.answer(register, who)
    assert conflicts_of(scene, bell.id) == [("other_server", [acme.id, bell.id])]
    assert "different servers" in scene.whence.cli("conflicts").stdout
    caller = scene.rig.endpoint(bell.id)
    assert refused(caller, scene.whence.address) == 403
    alarms = scene.whence.get("/v1/alarms")
    assert any(e["kind"] == "conflict" and bell.id in e["message"] for e in alarms)


def conflicts_of(scene: Scene, trunk_id: str) -> list[tuple[str, list[str]]]:
    """Return (kind, trunks) of each conflict of a trunk."""
    found = scene.whence.get("/v1/conflicts")
    return [(one["kind"], one["trunks"]) for one in found if trunk_id in one["trunks"]]
