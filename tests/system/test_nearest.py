"""`whence explain` of a refused call: the nearest trunk, and what was missing."""

import pytest

from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import request
from testkit.wait import eventually
from testkit.whence import Whence, trunk
from tests.system.pbx import NUMBER, Pbx, refused
from tests.system.scene import ACCOUNTS, uri


@pytest.fixture
def provider(rig: Rig) -> Provider:
    return rig.provider(accounts=ACCOUNTS, grants_s=5)


@pytest.fixture
def pbx(rig: Rig) -> Pbx:
    return Pbx(rig)


def start(rig: Rig, provider: Provider, pbx: Pbx, **more: object) -> Whence:
    edge = rig.ip("edge")
    whence = rig.whence(
        trunks=[trunk("acme", provider, "acct1", pbx.uri, [NUMBER], **more)],
        edge={"listen": [f"udp:{edge}:{SIP_PORT}", f"tcp:{edge}:{SIP_PORT}"]},
        agent={"grace": 0, "on_stop": "leave"},
    )
    whence.wait_registered()
    return whence


def missing(whence: Whence, source: str, number: str = "nobody") -> list[str]:
    """Return the nearest trunk and the codes of what was missing, as `whence explain` has them."""
    answer = whence.explain(source, uri(whence, number))
    near = answer["nearest"]
    if near is None:
        return []
    shown = whence.cli("explain", "--source", source, "--ruri", uri(whence, number)).stdout
    assert f"nearest: {near['trunk'] or 'no trunk'}: " in shown
    return [str(near["trunk"]), *(one["code"] for one in near["missing"])]


def test_nearest_names_an_expired_address(rig: Rig, provider: Provider, pbx: Pbx) -> None:
    whence = start(rig, provider, pbx)
    provider.kill()
    source = f"udp:{provider.ip}:{SIP_PORT}"
    assert missing(whence, source) == []
    eventually(lambda: whence.get("/v1/addresses") == [], 20, "the end of the address")
    assert missing(whence, source) == ["acme", "address_expired"]
    call = request("INVITE", uri(whence, "nobody"), (provider.ip, SIP_PORT))
    assert rig.endpoint("provider").ask(call, whence.address).status == 403

    def explanation() -> str:
        return str(whence.cli("explain", "--call", call.call_id).stdout)

    eventually(explanation, what="the refused call at the agent")
    assert f"nearest: acme: its address {provider.ip} expired " in explanation()
    assert missing(whence, f"udp:{rig.ip('unknown_source')}:5060") == []

    # The nearest trunk is the same after an unregister and a restart.
    whence.cli("unregister", "acme")
    whence.stop()
    whence.start()
    assert missing(whence, source)[0] == "acme"
    assert refused(rig.endpoint("provider"), whence.address) == 403


def test_nearest_names_port_transport_and_number(rig: Rig, pbx: Pbx) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    registrar = provider.uri_over("tcp")
    whence = start(rig, provider, pbx, registrar=registrar, match_port=True)
    assert missing(whence, f"udp:{provider.ip}:5090") == [
        "acme",
        "transport_too_weak",
        "port_differs",
    ]
    assert missing(whence, f"tcp:{provider.ip}:5090") == [
        "acme",
        "port_differs",
    ]
    unknown_source = rig.ip("unknown_source")
    assert missing(whence, f"udp:{unknown_source}:5060", NUMBER) == [
        "acme",
        "elsewhere",
    ]


def test_nearest_of_an_ambiguous_call_has_no_trunk(rig: Rig, pbx: Pbx) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(
        trunks=[trunk(user, provider, user, pbx.uri) for user in ("acct1", "acct2")],
        agent={"on_stop": "leave"},
    )
    whence.wait_registered()
    assert missing(whence, f"udp:{provider.ip}:{SIP_PORT}") == [
        "None",
        "nothing_distinguishes",
    ]
