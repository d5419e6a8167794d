"""Trunks that register over TLS, and which certificates of the registrar are accepted."""

from dataclasses import dataclass

import pytest

from testkit.certificates import Authority, Certificate
from testkit.nameserver import address
from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import place
from testkit.wait import eventually
from testkit.whence import Whence, trunk
from tests.system.pbx import Pbx, refused

ACCOUNTS = {"acct1": "secret of acct1"}
TLS_PORT = SIP_PORT + 1


@dataclass
class Scene:
    """A node with a TLS socket, and a certificate authority that it accepts."""

    rig: Rig
    authority: Authority
    pbx: Pbx
    whence: Whence

    @property
    def edge(self) -> tuple[str, int]:
        return self.whence.address[0], TLS_PORT

    def provider(
        self, certificate: Certificate, grants_s: int = 3600, **by_name: Certificate
    ) -> Provider:
        """Start a registrar. *by_name*: name → its certificate, for `NAME.example`."""
        return self.rig.provider(
            accounts=ACCOUNTS,
            grants_s=grants_s,
            tls=certificate,
            tls_by_name={f"{name}.example": other for name, other in by_name.items()},
        )

    def register(self, *trunks: tuple[str, Provider, str]) -> None:
        """Add trunks. Each: (id, provider, the host that names it)."""
        tables = [
            trunk(id_, provider, "acct1", self.pbx.uri, registrar=provider.uri_over("tls", host))
            for id_, provider, host in trunks
        ]
        self.whence.edit(trunks=[*self.whence.trunks, *tables])
        self.whence.reload()

    def fails(self, id_: str) -> tuple[str, str]:
        """Wait until a trunk's attempt has failed; return code and message of the reason."""
        details = self.whence.wait_state(id_, "waiting", 30)
        assert details["expires_at"] is None
        assert not [a for a in self.whence.get("/v1/addresses") if a["trunk"] == id_]
        return str(details["reason"]), str(details["message"])


@pytest.fixture
def scene(rig: Rig) -> Scene:
    authority = rig.authority()
    ours = authority.certificate("DNS:edge.example")
    dns = rig.nameserver(
        address("one.example", rig.ip("provider")), address("other.example", rig.ip("provider"))
    )
    ip = rig.ip("edge")
    whence = rig.whence(
        edge={
            "listen": [f"udp:{ip}:{SIP_PORT}", f"tls:{ip}:{TLS_PORT}"],
            "tls": {
                "certificate": str(ours.certificate),
                "key": str(ours.key),
                "ca": str(authority.file),
            },
        },
        agent={"nameserver": dns.place, "on_stop": "leave"},
        registration={"response_timeout": 4},
    )
    return Scene(rig, authority, Pbx(rig), whence)


def test_trunk_registered_over_tls_gets_calls_over_tls(scene: Scene) -> None:
    rig, whence = scene.rig, scene.whence
    provider = scene.provider(scene.authority.certificate("DNS:one.example"))
    scene.register(("by-tls", provider, "one.example"))
    whence.wait_registered()
    (learned,) = whence.get("/v1/addresses")
    assert (learned["ip"], learned["port"]) == (provider.ip, TLS_PORT)
    assert learned["transport"] == "tls"
    (contact,) = provider.contacts("acct1")
    assert contact.uri.endswith(f"@{place(scene.edge)};transport=tls")
    # The provider may call over the connection of the registration, or over a new one.
    caller = rig.stream(rig.ip("caller"), "tls")
    caller.send(
        caller.request("INVITE", f"sip:acct1@{provider.ip}:{TLS_PORT}"), (provider.ip, TLS_PORT)
    )
    received = scene.pbx.receive()
    assert received["X-Whence-Trunk"] == "by-tls"
    assert received["X-Whence-Source"] == f"tls:{provider.ip}:{TLS_PORT}"
    received = scene.pbx.called_by(rig.stream(provider.ip, "tls"), scene.edge)
    assert received["X-Whence-Trunk"] == "by-tls"
    # An address learned over TLS admits no weaker transport and no other ip.
    assert refused(rig.endpoint("provider"), whence.address) == 403
    assert refused(rig.stream(rig.ip("unknown_source"), "tls"), scene.edge) == 403


@pytest.mark.parametrize(
    ("names", "common_name", "host"),
    [
        (["DNS:x.example", "DNS:one.example"], "unrelated", "one.example"),
        (["URI:sip:one.example"], "unrelated", "one.example"),
        ([], "one.example", "one.example"),
        (["IP:{ip}"], "unrelated", ""),
    ],
    ids=["a second DNS name", "a sip URI", "only a common name", "an IP address"],
)
def test_certificate_with_the_name_is_accepted(
    scene: Scene, names: list[str], common_name: str, host: str
) -> None:
    named = [name.format(ip=scene.rig.ip("provider")) for name in names]
    certificate = scene.authority.certificate(*named, common_name=common_name)
    scene.register(("by-tls", scene.provider(certificate), host))
    scene.whence.wait_registered()


@pytest.mark.parametrize(
    ("names", "host", "reason"),
    [
        (["DNS:other.example"], "one.example", "is for other.example, not one.example"),
        (["DNS:*.example"], "one.example", "is for *.example, not one.example"),
        (["IP:127.0.0.1"], "one.example", "is for 127.0.0.1, not one.example"),
        (["URI:sip:a@one.example"], "one.example", "is for sip:a@one.example, not one.example"),
        ([], "other.example", "is for one.example, not other.example"),
        (["DNS:one.example"], "", "is for one.example, not {ip}"),
    ],
    ids=[
        "another name",
        "a wildcard (RFC 5922 7.2)",
        "a subjectAltName beside the right common name",
        "a URI of a user",
        "another common name",
        "a name instead of the ip",
    ],
)
def test_certificate_for_another_name_is_rejected(
    scene: Scene, names: list[str], host: str, reason: str
) -> None:
    """The agent sends no credentials: no REGISTER follows the challenge."""
    certificate = scene.authority.certificate(*names, common_name="one.example")
    provider = scene.provider(certificate)
    scene.register(("by-tls", provider, host))
    code, output = scene.fails("by-tls")
    assert code == "tls_answer_not_accepted"
    assert output == f"its certificate {reason.format(ip=provider.ip)}"
    assert {seen.cseq for seen in provider.registers()} == {1}
    assert output in scene.whence.cli("trunks", "--json").stdout
    assert refused(scene.rig.stream(provider.ip, "tls"), scene.edge) == 403


def test_certificate_for_an_ipv6_address_is_compared(rig: Rig) -> None:
    authority = rig.authority()
    edge, pbx = rig.network.port(), Pbx(rig)
    ours = authority.certificate("DNS:edge.example")
    trunks = []
    for id_, named in (("right", "IP:::1"), ("wrong", "IP:2001:db8::1")):
        provider = rig.provider(
            id_,
            accounts=ACCOUNTS,
            at=("::1", rig.network.port()),
            tls=authority.certificate(named),
        )
        by_tls = provider.uri_over("tls")
        trunks.append(trunk(id_, provider, "acct1", pbx.uri, registrar=by_tls))
    whence = rig.whence(
        trunks=trunks,
        edge={
            "listen": [f"udp:{rig.ip('edge')}:{SIP_PORT}", f"tls:[::1]:{edge}"],
            "tls": {
                "certificate": str(ours.certificate),
                "key": str(ours.key),
                "ca": str(authority.file),
            },
        },
        agent={"on_stop": "leave"},
        registration={"response_timeout": 4},
    )
    whence.wait_registered("right")
    details = whence.wait_state("wrong", "waiting", 30)
    assert details["reason"] == "tls_answer_not_accepted"
    assert "2001:db8::1" in details["message"]
    (learned,) = whence.get("/v1/addresses")
    assert (learned["trunk"], learned["ip"], learned["transport"]) == ("right", "::1", "tls")


def test_certificate_without_a_known_ca_is_rejected(scene: Scene) -> None:
    unknown_source = scene.rig.authority("unknown_source").certificate("DNS:one.example")
    provider = scene.provider(unknown_source)
    scene.register(("by-tls", provider, "one.example"))
    assert scene.fails("by-tls")[0] == "certificate_unsigned"
    assert provider.registers() == []


def test_certificate_expired_is_rejected(scene: Scene) -> None:
    expired = scene.authority.certificate("DNS:one.example", expired=True)
    provider = scene.provider(expired)
    scene.register(("by-tls", provider, "one.example"))
    assert scene.fails("by-tls")[0] == "certificate_expired"
    assert provider.registers() == []


def test_registrar_without_a_tls_socket_is_reported(scene: Scene) -> None:
    provider = scene.rig.provider(accounts=ACCOUNTS)
    scene.register(("by-tls", provider, "one.example"))
    assert scene.fails("by-tls")[0] == "tls_no_connection"


def test_names_at_one_address_have_own_certificates(scene: Scene) -> None:
    """Without the edge, Kamailio would use the first trunk's connection for both."""
    one, other = (scene.authority.certificate(f"DNS:{n}.example") for n in ("one", "other"))
    provider = scene.provider(one, other=other)
    scene.register(("to-one", provider, "one.example"))
    scene.whence.wait_registered("to-one")
    scene.register(("to-other", provider, "other.example"))
    scene.whence.wait_registered("to-other")
    assert scene.whence.trunk("to-other")["failures"] == 0


def test_restarted_registrar_gets_a_new_connection(scene: Scene) -> None:
    """A refresh comes every six seconds, and begins without credentials."""
    certificate = scene.authority.certificate("DNS:one.example")
    provider = scene.provider(certificate, grants_s=8)
    scene.register(("by-tls", provider, "one.example"))
    scene.whence.wait_registered()
    provider.restart()
    eventually(lambda: provider.contacts("acct1"), 30, "a registration after the restart")


def test_certificate_changed_to_another_name_is_rejected(scene: Scene) -> None:
    """The former grant stays valid until its end. The new server gets no credentials."""
    certificate = scene.authority.certificate("DNS:one.example")
    provider = scene.provider(certificate, grants_s=8)
    scene.register(("by-tls", provider, "one.example"))
    scene.whence.wait_registered()
    provider.stop()
    seen = len(provider.registers())
    other = scene.rig.provider(
        "impostor",
        accounts=ACCOUNTS,
        at=provider.address,
        tls=scene.authority.certificate("DNS:other.example"),
    )
    details = scene.whence.wait_state("by-tls", "waiting", 30)
    assert details["message"] == "its certificate is for other.example, not one.example"
    assert len({one.cseq for one in other.registers()}) == 1
    assert len(provider.registers()) == seen
