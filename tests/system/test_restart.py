"""A clean stop and a new start: unregister or leave, and what continues."""

import signal

import pytest

from testkit.process import alive
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import ACCOUNTS, alices_trunk, bobs_trunk, uri


def scene(rig: Rig, on_stop: str) -> tuple[Provider, Whence]:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(
        trunks=[alices_trunk(provider), bobs_trunk(provider)],
        users=["alice", "bob"],
        agent={"on_stop": on_stop},
    )
    whence.wait_registered()
    return provider, whence


def contacts_of(provider: Provider) -> list[str]:
    return [one.uri for account in ACCOUNTS for one in provider.contacts(account)]


def test_stop_unregisters_each_trunk(rig: Rig) -> None:
    provider, whence = scene(rig, "unregister")
    contacts = contacts_of(provider)
    assert len(contacts) == 2
    assert whence.stop() == 0
    assert contacts_of(provider) == []
    last = {seen.user: seen for seen in provider.registers()}
    assert [seen.expires for seen in last.values()] == ["0", "0"]

    whence.start()
    whence.wait_registered()
    assert contacts_of(provider) == contacts  # a trunk keeps its token
    assert len({seen.call_id for seen in provider.registers() if seen.user == "acct1"}) == 1


def test_on_stop_leave_sends_nothing_and_keeps_addresses(rig: Rig) -> None:
    provider, whence = scene(rig, "leave")
    phone = rig.phone("alice", whence)
    details, addresses = whence.get("/v1/trunks"), whence.get("/v1/addresses")
    contacts, registers = contacts_of(provider), provider.registers()
    assert whence.stop() == 0
    assert contacts_of(provider) == contacts

    whence.start()
    rig.caller(whence, at=provider).call(uri(whence), expect=200)
    assert len(phone.calls()) == 1
    assert whence.get("/v1/addresses") == addresses
    assert whence.get("/v1/trunks") == details
    assert provider.registers() == registers


def test_call_id_and_cseq_continue_after_a_restart(rig: Rig) -> None:
    provider, whence = scene(rig, "leave")
    before = [seen for seen in provider.registers() if seen.user == "acct1"]
    whence.stop()
    whence.edit(trunks=[alices_trunk(provider, expires=1800), bobs_trunk(provider)])
    whence.start()
    whence.kill_agent()
    whence.wait_healthy()
    whence.edit(trunks=[alices_trunk(provider, expires=900), bobs_trunk(provider)])
    whence.reload()
    eventually(lambda: whence.trunk("alices-trunk")["granted_s"] == 900, what="a REGISTER")
    after = [seen for seen in provider.registers() if seen.user == "acct1"][len(before) :]
    assert {seen.call_id for seen in after} == {before[0].call_id}
    assert [seen.cseq for seen in after] == [
        before[-1].cseq + number for number in range(1, len(after) + 1)
    ]


def test_trunk_removed_while_stopped_loses_its_address(rig: Rig) -> None:
    provider, whence = scene(rig, "leave")
    whence.stop()
    whence.edit(trunks=[bobs_trunk(provider)])
    whence.start()
    assert [one["trunk"] for one in whence.get("/v1/addresses")] == ["bobs-trunk"]


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_sigint_and_sigterm_stop_cleanly(rig: Rig, signal_name: str) -> None:
    provider, whence = scene(rig, "unregister")
    assert whence.process
    started = [whence.agent_pid(), *whence.kamailio_pids()]
    whence.process.signal(signal.Signals[signal_name])
    assert whence.process.wait(15) == 0
    assert not any(map(alive, started))
    assert contacts_of(provider) == []
    assert whence.log.rstrip().endswith("stopped")
    assert "Traceback" not in whence.log
