"""Actions of an operator on a trunk, by API and command line, with a real registrar."""

from testkit.rig import Rig
from testkit.wait import eventually
from tests.system.scene import ACCOUNTS, alices_trunk, bobs_trunk, decided


def test_trunk_is_paused_unregistered_and_resumed(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider)], users=["alice"])
    whence.wait_registered()

    assert whence.cli("pause", "alices-trunk").returncode == 0
    assert whence.trunk("alices-trunk")["state"] == "paused"
    assert decided(whence, provider) == "identified", "the grant stays valid"

    whence.post("/v1/trunks/alices-trunk/unregister", {})
    assert decided(whence, provider) == "unknown", "the address ends at once"
    whence.wait_state("alices-trunk", "unregistered")
    eventually(lambda: provider.contacts("acct1") == [], what="no contact at the registrar")

    whence.restart()
    assert whence.trunk("alices-trunk")["suspended"]
    assert provider.contacts("acct1") == []

    assert whence.cli("resume", "alices-trunk").returncode == 0
    whence.wait_registered()
    assert decided(whence, provider) == "identified"
    seen = provider.registers_seen()
    assert whence.cli("register", "alices-trunk").returncode == 0
    eventually(lambda: provider.registers_seen() > seen, what="a REGISTER at once")
    for order, state in (("unregister", "unregistered"), ("resume", "registered")):
        done = whence.cli(order, "alices-trunk", "--wait")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"alices-trunk: {state}: ")
        assert whence.trunk("alices-trunk")["state"] == state


def test_reload_prints_the_changes_or_the_faults(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider)], users=["alice", "bob"])
    whence.wait_registered()
    whence.edit(trunks=[alices_trunk(provider), bobs_trunk(provider)])
    result = whence.cli("reload")
    assert (result.returncode, result.stdout) == (0, "added: bobs-trunk\n")
    whence.wait_registered()

    whence.file.write_text("[edge]\nworkers = 0\n", "utf-8")
    result = whence.cli("reload")
    assert result.returncode == 1
    assert "workers: is too small; write at least 1" in result.stderr
    assert len(whence.get("/v1/trunks")) == 2
