"""Whoever sees a REGISTER answers it from his own address: he is not the trunk's provider.

The impostor gets a copy of each REGISTER, and answers with its branch, Call-ID, CSeq and Contact.
"""

import hashlib
from dataclasses import dataclass

import pytest

from testkit.nameserver import NameServer, address
from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Endpoint, Message, place, reply
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
    """One node; each story has a trunk, a registrar that is played by hand, and an impostor."""

    rig: Rig
    whence: Whence
    dns: NameServer
    pbx: Pbx

    def trunk(self, name: str, **more: object) -> "Story":
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
        return Story(self, name, registrar, impostor)


@dataclass
class Story:
    scene: Scene
    id: str
    registrar: Registrar
    impostor: Endpoint

    @property
    def whence(self) -> Whence:
        return self.scene.whence

    def answer(self, asked: Message, who: Endpoint, *more: tuple[str, str]) -> None:
        """Grant a REGISTER from anywhere, and wait until the agent has read it."""
        contact = ("Contact", asked["Contact"])
        who.send(reply(asked, 200, headers=[contact, *more]), self.whence.address)
        eventually(lambda: self.registrar.trunk()["state"] == "registered", what="registered")

    def refresh(self) -> Message:
        assert self.whence.cli("register", self.id).returncode == 0
        return self.registrar.asked()

    def learned(self) -> dict[str, float]:
        """Return ip → until when, of what the trunk has learned."""
        found = self.whence.get("/v1/addresses")
        mine = [one for one in found if (one["trunk"], one["origin"]) == (self.id, "learned")]
        return {one["ip"]: one["expires_at"] for one in mine}

    def alarms(self) -> list[str]:
        told = self.whence.get("/v1/alarms")
        return [e["message"] for e in told if (e["kind"], e["trunk"]) == (ALARM, self.id)]

    def is_admitted(self, who: Endpoint) -> bool:
        """Call from there; a call that is let in rings at the PBX as this trunk's."""
        if who.address[0] not in self.learned():
            assert refused(who, self.whence.address) == 403
            return False
        came = self.scene.pbx.called_by(who, self.whence.address)
        assert came["X-Whence-Trunk"] == self.id
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


def test_an_impostors_200_admits_none_of_his_calls(scene: Scene) -> None:
    story = scene.trunk("acme")
    impostor, registrar = story.impostor, story.registrar.endpoint
    story.answer(story.registrar.asked(), impostor)
    assert not story.is_admitted(impostor)
    assert not story.is_admitted(registrar)
    (text,) = story.alarms()
    assert place(impostor.address) in text and place(registrar.address) in text
    assert story.registrar.trunk()["registrar"] is None
    said = scene.whence.cli(
        "explain", "--source", f"udp:{place(impostor.address)}", "--ruri", "sip:x@edge.example"
    ).stdout
    assert f"acme: a reply to its REGISTER came from {impostor.address[0]}" in said
    assert "networks" in said and 'learn_from = "any"' in said

    story.answer(story.refresh(), registrar)
    assert story.is_admitted(registrar)
    assert not story.is_admitted(impostor)
    before = story.learned()

    story.answer(story.refresh(), impostor)
    assert story.learned() == before, "neither ended nor extended"
    assert not story.is_admitted(impostor)
    assert story.is_admitted(registrar)
    assert len(story.alarms()) + scene.whence.get("/v1/alarms")[-1]["left_out"] >= 1
    kinds = {e["kind"] for e in scene.whence.get("/v1/alarms") if e["trunk"] == "acme"}
    assert kinds == {ALARM}, "no server has changed"

    scene.whence.restart()
    assert not story.is_admitted(impostor)
    assert story.is_admitted(registrar)
    assert story.learned() == before


def test_an_impostors_302_leads_nowhere(scene: Scene) -> None:
    story = scene.trunk("redirected")
    asked, here = story.registrar.asked(), f"<sip:{place(story.impostor.address)}>"
    story.impostor.send(reply(asked, 302, headers=[("Contact", here)]), scene.whence.address)
    scene.whence.wait_state("redirected", "waiting")
    assert len(story.alarms()) == 1
    assert not story.is_admitted(story.impostor)
    story.answer(story.refresh(), story.registrar.endpoint)
    assert story.is_admitted(story.registrar.endpoint)
    came = [Message.parse(data).method for data in story.impostor.waiting()]
    assert "REGISTER" not in came, "the next one went to the registrar, and none before it to him"


@pytest.mark.parametrize("stamp", [[], [("X-Whence-Source", "udp:127.0.0.9:5060")]])
def test_what_an_impostor_says_of_himself_counts_nothing(
    scene: Scene, stamp: list[tuple[str, str]]
) -> None:
    story = scene.trunk(f"headers-{len(stamp)}")
    story.answer(story.registrar.asked(), story.impostor, *stamp, ("Authentication-Info", "x"))
    assert not story.is_admitted(story.impostor)


def test_a_server_that_dns_names_is_learned(scene: Scene) -> None:
    story = scene.trunk("in-dns", registrar="sip:siblings.example:5060", follow_dns=False)
    asked = asked_at(scene, story, "sibling")
    other = {scene.rig.ip("in-dns"): "sibling", scene.rig.ip("sibling"): "in-dns"}
    where = other[asked[1].address[0]]
    who = scene.rig.endpoint(where)
    story.answer(asked[0], who)
    assert story.is_admitted(who)
    assert not story.alarms()


def asked_at(scene: Scene, story: Story, name: str) -> tuple[Message, Endpoint]:
    """Return the REGISTER, and which of two servers got it."""
    second = scene.rig.endpoint(name, SIP_PORT)
    both = [story.registrar.endpoint, second]
    found: list[tuple[Message, Endpoint]] = []

    def came() -> bool:
        for endpoint in both:
            try:
                message = endpoint.expect(lambda m: m.method == "REGISTER", 0.1, "a REGISTER")
            except AssertionError:
                continue
            found.append((message, endpoint))
            return True
        return False

    eventually(came, what="a REGISTER at one of them")
    return found[0]


def test_the_registrars_name_counts_behind_a_proxy(scene: Scene) -> None:
    proxy = f"sip:{scene.rig.ip('behind-proxy')}:{SIP_PORT}"
    story = scene.trunk("behind-proxy", registrar="sip:named.example", proxy=proxy)
    named = scene.rig.endpoint("named")
    story.answer(story.registrar.asked(), named)
    assert story.is_admitted(named)


@pytest.mark.parametrize("how", ["networks", "learn_from"])
def test_what_the_operator_permits_is_learned(scene: Scene, how: str) -> None:
    ip = scene.rig.ip(f"impostor of by-{how}")
    more: dict[str, object] = {"networks": [ip]} if how == "networks" else {how: "any"}
    story = scene.trunk(f"by-{how}", **more)
    story.answer(story.registrar.asked(), story.impostor)
    assert list(story.learned()) == [ip]
    assert story.is_admitted(story.impostor)
    assert not story.alarms()


def test_a_network_of_another_port_or_transport_permits_nothing(scene: Scene) -> None:
    ip = scene.rig.ip("impostor of narrow")
    story = scene.trunk(
        "narrow", networks=[{"network": ip, "transport": "tcp"}, {"network": ip, "port": 5071}]
    )
    story.answer(story.registrar.asked(), story.impostor)
    assert story.learned() == {}
    assert refused(story.impostor, scene.whence.address) == 403


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "MD5-sess"])
def test_an_rspauth_counts_only_if_it_is_right(scene: Scene, algorithm: str) -> None:
    story = scene.trunk(f"rspauth-{algorithm}")
    fields = (f"algorithm={algorithm}", 'qop="auth"')
    story.registrar.answer(story.registrar.asked(), 401, challenge(DOMAIN, "n1", *fields))
    asked = story.registrar.asked()
    story.answer(asked, story.impostor, proof(asked, "a guess"))
    assert not story.is_admitted(story.impostor)
    former = asked

    asked = story.refresh()
    story.answer(asked, story.impostor, proof(former))  # it was right once
    assert not story.is_admitted(story.impostor)

    asked = story.refresh()
    story.answer(asked, story.impostor, proof(asked))
    assert story.is_admitted(story.impostor)


def proof(asked: Message, password: str = PASSWORD) -> tuple[str, str]:
    """Make the Authentication-Info of who knows the password, by RFC 7616 3.5."""
    (given,) = credentials(asked)
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
def test_a_trunk_learned_at_anothers_address_is_a_conflict_at_once(scene: Scene, port: int) -> None:
    """Both have numbers; a call that names neither was the other's before, and is refused now."""
    number = f"+44207123{port}"
    bell = scene.trunk(f"bell-{port}", numbers=[number])
    bells = bell.registrar.endpoint
    bell.answer(bell.registrar.asked(), bells)
    assert bell.is_admitted(bells)
    acme = scene.trunk(f"acme-{port}", numbers=[f"{number}1"], learn_from="any")
    asked = acme.registrar.asked()
    assert not conflicts_of(scene, bell.id)
    who = bells if port == SIP_PORT else scene.rig.endpoint(bell.id, port)
    acme.answer(asked, who)
    assert conflicts_of(scene, bell.id) == [("other_server", [acme.id, bell.id])]
    assert "different servers" in scene.whence.cli("conflicts").stdout
    caller = scene.rig.endpoint(bell.id)
    assert refused(caller, scene.whence.address) == 403
    told = scene.whence.get("/v1/alarms")
    assert any(e["kind"] == "conflict" and bell.id in e["message"] for e in told)


def conflicts_of(scene: Scene, trunk_id: str) -> list[tuple[str, list[str]]]:
    """Return (kind, trunks) of each conflict of a trunk."""
    found = scene.whence.get("/v1/conflicts")
    return [(one["kind"], one["trunks"]) for one in found if trunk_id in one["trunks"]]
