"""Trunks at a registrar that closes its TLS connection after each answer."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from testkit.certificates import Authority, Certificate
from testkit.nameserver import address
from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import place
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.closing_registrar import PASSWORD, USER, ClosingRegistrar
from tests.system.pbx import Pbx, refused

TLS_PORT = SIP_PORT + 1
NAME = "one.example"


@dataclass
class Scene:
    """An edge with a TLS socket, and the CA that it accepts."""

    rig: Rig
    authority: Authority
    pbx: Pbx
    whence: Whence

    def registrar(self, certificate_for: Callable[[int], Certificate]) -> ClosingRegistrar:
        return ClosingRegistrar((self.rig.ip("provider"), TLS_PORT), certificate_for)

    def register(self) -> None:
        """Add the trunk."""
        self.whence.edit(
            trunks=[
                {
                    "id": "by-tls",
                    "registrar": f"sip:{NAME}:{TLS_PORT};transport=tls",
                    "user": USER,
                    "password": PASSWORD,
                    "target": self.pbx.uri,
                }
            ]
        )
        self.whence.reload()

    def fails(self) -> dict[str, object]:
        """Wait until an attempt has failed; return the state of the trunk."""
        return self.whence.wait_state("by-tls", "waiting", 30)


@pytest.fixture
def scene(rig: Rig) -> Scene:
    authority = rig.authority()
    ours = authority.certificate("DNS:edge.example")
    dns = rig.nameserver(address(NAME, rig.ip("provider")))
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


def test_closing_registrar_grants_and_refreshes(scene: Scene) -> None:
    right = scene.authority.certificate(f"DNS:{NAME}")
    edge = (scene.whence.address[0], TLS_PORT)
    with scene.registrar(lambda _: right) as registrar:
        scene.register()
        scene.whence.wait_registered()
        (learned,) = scene.whence.get("/v1/addresses")
        provider = scene.rig.ip("provider")
        assert (learned["ip"], learned["port"]) == (provider, TLS_PORT)
        assert learned["transport"] == "tls"
        register = registrar.with_credentials()[0]
        assert f"@{place(edge)};transport=tls" in register["Contact"]
        assert not [name for name, _ in register.headers if name.lower().startswith("x-whence")]
        received = scene.pbx.called_by(scene.rig.stream(provider, "tls"), edge)
        assert received["X-Whence-Trunk"] == "by-tls"
        assert refused(scene.rig.endpoint("provider"), scene.whence.address) == 403
        eventually(lambda: len(registrar.with_credentials()) > 1, what="a refresh")
        assert scene.whence.trunk("by-tls")["failures"] == 0


def test_closing_registrar_of_another_name_gets_nothing(scene: Scene) -> None:
    wrong = scene.authority.certificate("DNS:other.example")
    with scene.registrar(lambda _: wrong) as registrar:
        scene.register()
        assert scene.fails()["reason"] == "tls_answer_not_accepted"
        assert registrar.with_credentials() == []


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["DNS:other.example"], "certificate_for_another_name"),
        (["DNS:*.example"], "certificate_for_another_name"),
        (["URI:sip:a@one.example"], "certificate_for_another_name"),
        (None, "certificate_unsigned"),
    ],
    ids=["another name", "a wildcard", "a URI of a user", "another CA"],
)
def test_impostor_on_the_second_connection_gets_nothing(
    scene: Scene, names: list[str] | None, reason: str
) -> None:
    """The registrar's certificate is right for the challenge, and wrong for the credentials."""
    right = scene.authority.certificate(f"DNS:{NAME}")
    if names is None:
        wrong = scene.rig.authority("unknown_source").certificate(f"DNS:{NAME}")
    else:
        wrong = scene.authority.certificate(*names)
    with scene.registrar(lambda number: right if number == 1 else wrong) as registrar:
        scene.register()
        assert scene.fails()["reason"] == reason
        assert registrar.received[1] == b""
        assert registrar.with_credentials() == []
        assert scene.whence.get("/v1/addresses") == []
