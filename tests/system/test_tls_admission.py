"""What was learned over TLS is widened by no weaker evidence at the same ip: not by what another
trunk learned there, or resolved, or has pinned, and not by an answer that comes over UDP.

What the operator pins is his own word, and admits what he wrote.
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
    """A trunk that was registered over TLS, and an edge that listens on every transport."""

    rig: Rig
    authority: Authority
    whence: Whence
    provider: Provider
    pbx: Pbx

    def given_over(self, transport: str, at: str = "provider") -> str:
        """Call over a transport; return the trunk that got the call, nothing if it was refused."""
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

    def all_over(self, at: str = "provider") -> dict[str, str]:
        return {transport: self.given_over(transport, at) for transport in ("udp", "tcp", "tls")}

    def change(self, *more: Table, **keys: object) -> None:
        """Give the first trunk other keys, and add trunks."""
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
def test_another_trunk_that_the_same_server_granted_over_less_widens_its_own_alone(
    scene: Scene, transport: str
) -> None:
    """A caller over less can be its calls alone, whatever number or token he names."""
    provider, whence = scene.provider, scene.whence
    assert scene.all_over() == ONLY_TLS
    registrar = provider.uri_over(transport)
    by_less = trunk("by-less", provider, "acct2", scene.pbx.uri, registrar=registrar)
    scene.change(by_less, fallback=True)
    whence.wait_registered()
    assert scene.transports("learned") == {
        ("by-tls", provider.ip, "tls"),
        ("by-less", provider.ip, transport),
    }
    given = scene.all_over()
    assert given["tls"] == "by-tls"
    assert given["tcp"] == "by-less"
    assert given["udp"] == ("by-less" if transport == "udp" else "")
    (held,) = provider.contacts("acct1")
    token = held.uri.partition("@")[0].partition(":")[2]
    for weaker in ("udp", "tcp"):
        source = f"{weaker}:{provider.ip}:40000"
        said = whence.explain(source, f"sip:{token}@{whence.address[0]}")
        assert said["decision"] in ("refused", "unknown")
    scene.change(by_less, numbers=["+442071234567"])
    assert scene.all_over() == ONLY_TLS, "whose number it is does not call over less"


def test_a_sibling_of_another_trunk_over_less_widens_nothing(scene: Scene) -> None:
    """The one name leads both trunks to the same places, each by its own transport."""
    provider, whence = scene.provider, scene.whence
    sibling = scene.rig.ip("sibling")
    registrar = f"sip:{NAME}:{SIP_PORT}"
    by_udp = trunk("by-udp", provider, "acct2", scene.pbx.uri, registrar=registrar)
    scene.change(by_udp, fallback=True)
    whence.wait_registered()
    expected = {("by-tls", sibling, "tls"), ("by-udp", sibling, "udp")}
    eventually(lambda: scene.transports("resolved") == expected, what="the siblings of both")
    for at in ("provider", "sibling"):
        assert scene.all_over(at) == {"udp": "by-udp", "tcp": "by-udp", "tls": "by-tls"}


def test_a_refresh_over_tls_leaves_it_at_tls(
    scene: Scene,
) -> None:
    provider, whence = scene.provider, scene.whence
    assert scene.transports("learned") == {("by-tls", provider.ip, "tls")}
    before = whence.trunk("by-tls")["expires_at"]
    assert whence.cli("register", "by-tls").returncode == 0
    eventually(lambda: whence.trunk("by-tls")["expires_at"] > before, what="a refresh")
    assert scene.transports("learned") == {("by-tls", provider.ip, "tls")}
    assert scene.all_over() == ONLY_TLS


@pytest.mark.parametrize(
    ("pinned", "expected"),
    [
        ({}, {"udp": "by-tls", "tcp": "by-tls", "tls": "by-tls"}),
        ({"transport": "tcp"}, {"udp": "", "tcp": "by-tls", "tls": "by-tls"}),
        ({"transport": "tls"}, ONLY_TLS),
    ],
    ids=["any transport", "tcp", "tls"],
)
def test_what_the_operator_pins_at_the_same_ip_is_his_own_word(
    scene: Scene, pinned: Table, expected: Table
) -> None:
    """It admits what it says, and no more; and it ends with the file that says it."""
    assert scene.all_over() == ONLY_TLS
    scene.change(networks=[{"network": scene.provider.ip, **pinned}])
    assert scene.all_over() == expected
    assert scene.all_over("sibling") == ONLY_TLS
    scene.change(networks=[])
    assert scene.all_over() == ONLY_TLS


def test_a_network_of_another_trunk_over_less_widens_nothing(scene: Scene) -> None:
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
    assert scene.all_over() == {"udp": "pinned", "tcp": "pinned", "tls": "by-tls"}


@pytest.mark.parametrize("port", [SIP_PORT, 0], ids=["its port", "any port"])
def test_an_answer_over_udp_to_what_was_asked_over_tls_is_not_believed(
    scene: Scene, port: int
) -> None:
    """Also from the very ip, of one who has read the whole REGISTER, its branch too."""
    rig, whence = scene.rig, scene.whence
    ip = rig.ip("by-hand")
    certificate = scene.authority.certificate(f"IP:{ip}")
    with socket.create_server((ip, TLS_PORT)) as server, rig.endpoint("by-hand", port) as answerer:
        registrar = f"sip:{ip}:{TLS_PORT};transport=tls"
        scene.change(trunk("by-hand", scene.provider, "acct2", scene.pbx.uri, registrar=registrar))
        with accept(server, certificate) as stream:
            for _ in range(2):  # what is not believed is tried once more
                asked = read(stream)
                granting = reply(asked, 200, headers=[("Contact", asked["Contact"])])
                answerer.send(granting, whence.address)
            stands = whence.wait_state("by-hand", "waiting", 20)
    assert stands["reason"] == "tls_answer_not_believed"
    assert stands["expires_at"] is None
    assert {one["trunk"] for one in whence.get("/v1/addresses")} == {"by-tls"}
    assert scene.all_over("by-hand") == {"udp": "", "tcp": "", "tls": ""}


def accept(server: socket.socket, certificate: Certificate) -> ssl.SSLSocket:
    """Return the first connection that is opened, over TLS."""
    server.settimeout(10)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    connection, _ = server.accept()
    connection.settimeout(10)
    return context.wrap_socket(connection, server_side=True)


def read(stream: ssl.SSLSocket) -> Message:
    """Return the next request, which has no body."""
    came = b""
    while b"\r\n\r\n" not in came:
        part = stream.recv(65535)
        assert part, "the connection was closed"
        came += part
    return Message.parse(came)
