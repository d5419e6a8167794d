"""A registrar that dies and comes back, as the trunk's history tells it, and the expiry between."""

from testkit.rig import Rig
from testkit.wait import eventually
from tests.system.scene import ACCOUNTS, alices_trunk


def test_a_registrar_that_dies_and_comes_back_is_in_the_history(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS, grants_s=4)
    whence = rig.whence(
        trunks=[alices_trunk(provider)], users=["alice"], agent={"on_stop": "leave"}
    )
    whence.wait_registered()

    def whats() -> list[str]:
        return [event["what"] for event in whence.get("/v1/trunks/alices-trunk")["events"]]

    provider.refuse(503)
    eventually(lambda: whats() == ["registered", "waiting", "expired"], what="failure and expiry")
    assert "whence_registration_expirations_total 1.0" in whence.metrics().splitlines()
    provider.accept()
    assert whence.cli("register", "alices-trunk").returncode == 0
    whence.wait_registered()
    assert whats() == ["registered", "waiting", "expired", "register_requested", "registered"]

    said = whence.cli("trunk", "alices-trunk")
    assert (said.returncode, said.stderr) == (0, "")
    assert "503 As Told" in said.stdout
    assert "expired" in said.stdout
    assert ACCOUNTS["acct1"] not in said.stdout
