"""A trunk may say that its calls come from the very port that answered its REGISTER."""

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.whence import trunk
from tests.system.pbx import Pbx, refused
from tests.system.scene import ACCOUNTS, alices_trunk


def test_calls_from_another_port_are_refused_until_the_file_says_any(rig: Rig) -> None:
    provider, pbx = rig.provider(accounts=ACCOUNTS), Pbx(rig)
    exact = trunk("acme", provider, "acct1", pbx.uri, match_port=True)
    whence = rig.whence(trunks=[exact], agent={"on_stop": "leave"})
    whence.wait_registered()
    (address,) = whence.get("/v1/addresses")
    assert (address["port"], address["exact"]) == (SIP_PORT, True)
    other_port = rig.endpoint("provider")
    assert refused(other_port, whence.address) == 403

    # The provider itself calls from its port; it is stopped, so that we can.
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


def test_two_trunks_of_which_one_is_exact_are_told_apart_by_the_port(rig: Rig) -> None:
    """Where nothing else tells: who calls from another port can only be the other one."""
    provider, pbx = rig.provider(accounts=ACCOUNTS), Pbx(rig)
    whence = rig.whence(
        trunks=[
            trunk("exact", provider, "acct1", pbx.uri, match_port=True),
            trunk("any", provider, "acct2", pbx.uri),
        ]
    )
    whence.wait_registered()
    assert pbx.called_by(rig.endpoint("provider"), whence.address)["X-Whence-Trunk"] == "any"


def test_old_key_of_the_port_is_answered_with_the_new_one(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider, port=5060)], users=["alice"], start=False)
    answer = whence.cli("check", "-c", str(whence.file))
    said = answer.stdout + answer.stderr
    assert answer.returncode == 2
    assert "port: is now match_port" in said
