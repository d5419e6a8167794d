"""`match_port`: a trunk's calls come from the port that answered its REGISTER."""

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.whence import trunk
from tests.system.pbx import Pbx, refused
from tests.system.scene import ACCOUNTS, alices_trunk


def test_match_port_refuses_calls_from_another_port(rig: Rig) -> None:
    provider, pbx = rig.provider(accounts=ACCOUNTS), Pbx(rig)
    exact = trunk("acme", provider, "acct1", pbx.uri, match_port=True)
    whence = rig.whence(trunks=[exact], agent={"on_stop": "leave"})
    whence.wait_registered()
    (address,) = whence.get("/v1/addresses")
    assert (address["port"], address["exact"]) == (SIP_PORT, True)
    other_port = rig.endpoint("provider")
    assert refused(other_port, whence.address) == 403

    # The provider is stopped, so that the test can call from its port.
    provider.stop()
    at_its_port = rig.endpoint("provider", SIP_PORT)
    assert pbx.called_by(at_its_port, whence.address)["X-Whence-Trunk"] == "acme"

    whence.edit(trunks=[{**exact, "match_port": False}])
    whence.post("/v1/reload", {})
    assert pbx.called_by(other_port, whence.address)["X-Whence-Trunk"] == "acme"
    whence.edit(trunks=[exact])
    whence.post("/v1/reload", {})
    assert refused(other_port, whence.address) == 403
    assert pbx.called_by(at_its_port, whence.address)["X-Whence-Trunk"] == "acme"


def test_match_port_distinguishes_two_trunks(rig: Rig) -> None:
    """No other rule fits: a call from another port can only be the other trunk's."""
    provider, pbx = rig.provider(accounts=ACCOUNTS), Pbx(rig)
    whence = rig.whence(
        trunks=[
            trunk("exact", provider, "acct1", pbx.uri, match_port=True),
            trunk("any", provider, "acct2", pbx.uri),
        ]
    )
    whence.wait_registered()
    assert pbx.called_by(rig.endpoint("provider"), whence.address)["X-Whence-Trunk"] == "any"


def test_old_key_port_is_refused_with_the_new_name(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider, port=5060)], users=["alice"], start=False)
    answer = whence.cli("check", "-c", str(whence.file))
    output = answer.stdout + answer.stderr
    assert answer.returncode == 2
    assert "port: is now match_port" in output
