"""The history of a trunk, in the API and in `whence trunk`."""

from testkit.rig import Rig
from testkit.wait import eventually
from tests.system.scene import ACCOUNTS, alices_trunk


def test_history_has_the_outage_of_a_registrar(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS, grants_s=4)
    whence = rig.whence(
        trunks=[alices_trunk(provider)], users=["alice"], agent={"on_stop": "leave"}
    )
    whence.wait_registered()

    def history() -> list[str]:
        return [event["what"] for event in whence.get("/v1/trunks/alices-trunk")["events"]]

    provider.refuse(503)
    eventually(lambda: history() == ["registered", "waiting", "expired"], what="failure and expiry")
    assert "whence_registration_expirations_total 1.0" in whence.metrics().splitlines()
    provider.accept()
    assert whence.cli("register", "alices-trunk").returncode == 0
    whence.wait_registered()
    assert history() == ["registered", "waiting", "expired", "register_requested", "registered"]

    result = whence.cli("trunk", "alices-trunk")
    assert (result.returncode, result.stderr) == (0, "")
    assert "503 Set By The Test" in result.stdout
    assert "expired" in result.stdout
    assert ACCOUNTS["acct1"] not in result.stdout
