"""An address learned over TLS never admits that trunk's calls over a weaker transport.

Addresses of other trunks at the same ip do not change that, whether learned, resolved or pinned.
Neither does a reply over UDP. Only a pinned address of the trunk itself admits what it says.
"""

import socket
import ssl
from dataclasses import dataclass

import pytest

from testkit.certificates import Authority, Certificate
from testkit.nameserver import address
from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Message, reply
from testkit.wait import eventually
from testkit.whence import Table, Whence, trunk
from tests.system.pbx import Pbx, refused
from tests.system.scene import ACCOUNTS

NAME = "one.example"
TLS_PORT = SIP_PORT + 1


@dataclass
class Scene:
    """A trunk registered over TLS, and an edge that listens on UDP, TCP and TLS."""

    rig: Rig
    authority: Authority
    whence: Whence
    provider: Provider
    pbx: Pbx

    def trunk_over(self, transport: str, at: str = "provider") -> str:
        """Make a call over a transport; return its trunk, or "" if it was refused."""
        if transport == "udp":
            caller = self.rig.endpoint(at)
        else:
            caller = self.rig.stream(self.rig.ip(at), "tls" if transport == "tls" else "tcp")
        port = TLS_PORT if transport == "tls" else SIP_PORT
        edge = (self.whence.address[0], port)
        if self.decided(transport, at) != "identified":
            assert refused(caller, edge) == 403
            return ""
        (given,) = self.pbx.called_by(caller, edge).all("X-Whence-Trunk")
        return given

    def decided(self, transport: str, at: str) -> str:
        source = f"{transport}:{self.rig.ip(at)}:40000"
        ruri = f"sip:+442071234567@{self.whence.address[0]}"
        return str(self.whence.explain(source, ruri)["decision"])

    def trunks_over_each(self, at: str = "provider") -> dict[str, str]:
        return {transport: self.trunk_over(transport, at) for transport in ("udp", "tcp", "tls")}

    def change(self, *more: Table, **keys: object) -> None:
        """Change keys of the first trunk, add trunks, and reload."""
        self.whence.edit(trunks=[{**self.whence.trunks[0], **keys}, *more])
        self.whence.post("/v1/reload", {})

    def transports(self, origin: str) -> set[tuple[str, str, str]]:
        """Return (trunk, ip, transport) of the addresses of this origin."""
        shown = self.whence.get("/v1/addresses")
        return {(a["trunk"], a["ip"], a["transport"]) for a in shown if a["origin"] == origin}


@pytest.fixture
def scene(rig: Rig) -> Scene:
    authority, pbx = rig.authority(), Pbx(rig)
    ours = authority.certificate("DNS:edge.example")
    provider = rig.provider(accounts=ACCOUNTS, tls=authority.certificate(f"DNS:{NAME}"))
    dns = rig.nameserver(address(NAME, provider.ip, rig.ip("sibling")))
    edge = rig.ip("edge")
    sockets = [f"{transport}:{edge}:{SIP_PORT}" for transport in ("udp", "tcp")]
    by_tls = provider.uri_over("tls", NAME)
    whence = rig.whence(
        trunks=[trunk("by-tls", provider, "acct1", pbx.uri, registrar=by_tls)],
        edge={
            "listen": [*sockets, f"tls:{edge}:{TLS_PORT}"],
            "tls": {
                "certificate": str(ours.certificate),
                "key": str(ours.key),
                "ca": str(authority.file),
            },
        },
        agent={"nameserver": dns.place, "on_stop": "leave"},
        registration={"response_timeout": 4},
    )
    whence.wait_registered()
    return Scene(rig, authority, whence, provider, pbx)


ONLY_TLS = {"udp": "", "tcp": "", "tls": "by-tls"}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_weaker_trunk_at_the_same_ip_gets_only_its_calls(scene: Scene, transport: str) -> None:
    """A call over a weaker transport is the weaker trunk's, or refused."""
    provider, whence = scene.provider, scene.whence
    assert scene.trunks_over_each() == ONLY_TLS
    registrar = provider.uri_over(transport)
    weaker_trunk = trunk("weaker", provider, "acct2", scene.pbx.uri, registrar=registrar)
    scene.change(weaker_trunk, fallback=True)
    whence.wait_registered()
    assert scene.transports("learned") == {
        ("by-tls", provider.ip, "tls"),
        ("weaker", provider.ip, transport),
    }
    given = scene.trunks_over_each()
    assert given["tls"] == "by-tls"
    assert given["tcp"] == "weaker"
    assert given["udp"] == ("weaker" if transport == "udp" else "")
    (contact,) = provider.contacts("acct1")
    token = contact.uri.partition("@")[0].partition(":")[2]
    for weaker in ("udp", "tcp"):
        source = f"{weaker}:{provider.ip}:40000"
        explanation = whence.explain(source, f"sip:{token}@{whence.address[0]}")
        assert explanation["decision"] in ("refused", "unknown")
    scene.change(weaker_trunk, numbers=["+442071234567"])
    assert scene.trunks_over_each() == ONLY_TLS, "the TLS trunk's number"


def test_weaker_sibling_at_the_same_ip_gets_only_its_calls(scene: Scene) -> None:
    """One name resolves to the same addresses for both trunks, each with its own transport."""
    provider, whence = scene.provider, scene.whence
    sibling = scene.rig.ip("sibling")
    registrar = f"sip:{NAME}:{SIP_PORT}"
    by_udp = trunk("by-udp", provider, "acct2", scene.pbx.uri, registrar=registrar)
    scene.change(by_udp, fallback=True)
    whence.wait_registered()
    expected = {("by-tls", sibling, "tls"), ("by-udp", sibling, "udp")}
    eventually(lambda: scene.transports("resolved") == expected, what="the siblings of both")
    for at in ("provider", "sibling"):
        assert scene.trunks_over_each(at) == {"udp": "by-udp", "tcp": "by-udp", "tls": "by-tls"}


def test_refresh_over_tls_keeps_the_transport_tls(scene: Scene) -> None:
    provider, whence = scene.provider, scene.whence
    assert scene.transports("learned") == {("by-tls", provider.ip, "tls")}
    before = whence.trunk("by-tls")["expires_at"]
    assert whence.cli("register", "by-tls").returncode == 0
    eventually(lambda: whence.trunk("by-tls")["expires_at"] > before, what="a refresh")
    assert scene.transports("learned") == {("by-tls", provider.ip, "tls")}
    assert scene.trunks_over_each() == ONLY_TLS


@pytest.mark.parametrize(
    ("pinned", "expected"),
    [
        ({}, {"udp": "by-tls", "tcp": "by-tls", "tls": "by-tls"}),
        ({"transport": "tcp"}, {"udp": "", "tcp": "by-tls", "tls": "by-tls"}),
        ({"transport": "tls"}, ONLY_TLS),
    ],
    ids=["any transport", "tcp", "tls"],
)
def test_pinned_address_of_the_trunk_admits_its_transport(
    scene: Scene, pinned: Table, expected: Table
) -> None:
    """It admits its own transport and stronger ones, and ends with its entry in the file."""
    assert scene.trunks_over_each() == ONLY_TLS
    scene.change(networks=[{"network": scene.provider.ip, **pinned}])
    assert scene.trunks_over_each() == expected
    assert scene.trunks_over_each("sibling") == ONLY_TLS
    scene.change(networks=[])
    assert scene.trunks_over_each() == ONLY_TLS


def test_network_of_another_trunk_gets_only_its_calls(scene: Scene) -> None:
    provider = scene.provider
    other = trunk(
        "pinned",
        provider,
        "acct2",
        scene.pbx.uri,
        registrar=provider.uri_over("tls", NAME),
        networks=[provider.ip],
    )
    scene.change(other, fallback=True)
    scene.whence.wait_registered()
    assert scene.trunks_over_each() == {"udp": "pinned", "tcp": "pinned", "tls": "by-tls"}


@pytest.mark.parametrize("port", [SIP_PORT, 0], ids=["its port", "any port"])
def test_reply_over_udp_to_a_tls_register_is_rejected(scene: Scene, port: int) -> None:
    """The sender is at the registrar's ip, and has read the whole REGISTER with its branch."""
    rig, whence = scene.rig, scene.whence
    ip = rig.ip("by-hand")
    certificate = scene.authority.certificate(f"IP:{ip}")
    with socket.create_server((ip, TLS_PORT)) as server, rig.endpoint("by-hand", port) as answerer:
        registrar = f"sip:{ip}:{TLS_PORT};transport=tls"
        scene.change(trunk("by-hand", scene.provider, "acct2", scene.pbx.uri, registrar=registrar))
        with accept(server, certificate) as stream:
            for _ in range(2):  # the agent retries once after a rejected reply
                asked = read(stream)
                granting = reply(asked, 200, headers=[("Contact", asked["Contact"])])
                answerer.send(granting, whence.address)
            details = whence.wait_state("by-hand", "waiting", 20)
    assert details["reason"] == "tls_answer_not_accepted"
    assert details["expires_at"] is None
    assert {one["trunk"] for one in whence.get("/v1/addresses")} == {"by-tls"}
    assert scene.trunks_over_each("by-hand") == {"udp": "", "tcp": "", "tls": ""}


def accept(server: socket.socket, certificate: Certificate) -> ssl.SSLSocket:
    """Accept one TCP connection, and return it with TLS on it."""
    server.settimeout(10)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    connection, _ = server.accept()
    connection.settimeout(10)
    return context.wrap_socket(connection, server_side=True)


def read(stream: ssl.SSLSocket) -> Message:
    """Read one request without a body."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = stream.recv(65535)
        assert part, "the connection was closed"
        received += part
    return Message.parse(received)
