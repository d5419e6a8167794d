"""kill -9 of each part: what was known stays known, and nothing is left that keeps a port."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from testkit.network import tcp_bound, udp_bound
from testkit.process import alive
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import once
from testkit.sipp import Caller, Phone
from testkit.wait import eventually
from testkit.whence import API_PORT, Whence
from tests.system.scene import ACCOUNTS, alices_trunk, try_to_call, uri


@dataclass
class Scene:
    provider: Provider
    whence: Whence
    phone: Phone
    caller: Caller

    def call(self) -> None:
        """Let the provider call: it is identified and alice's phone answers."""
        calls = len(self.phone.calls())
        self.caller.call(uri(self.whence), expect=200)
        assert len(self.phone.calls()) == calls + 1
        assert self.phone.calls()[-1]["X-Whence-Trunk"] == "alices-trunk"


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    """One node with one trunk and one phone. Each story leaves it running and registered."""
    provider = shared_rig.provider(accounts=ACCOUNTS)
    whence = shared_rig.whence(trunks=[alices_trunk(provider)], users=["alice"])
    whence.wait_registered()
    phone = shared_rig.phone("alice", whence)
    return Scene(provider, whence, phone, shared_rig.caller(whence, at=provider))


@pytest.fixture(autouse=True)
def nobody_registers_again(scene: Scene) -> Iterator[None]:
    """Whatever died: the trunk's registration and the phone's were kept, not made anew."""
    registers, users = scene.provider.registers(), scene.whence.get("/v1/users")
    granted_until = scene.whence.trunk("alices-trunk")["expires_at"]
    yield
    assert scene.provider.registers() == registers
    assert scene.whence.get("/v1/users") == users
    assert scene.whence.trunk("alices-trunk")["expires_at"] == granted_until


def test_kamailio_killed_comes_back_and_knows_everything(scene: Scene) -> None:
    scene.call()
    before = scene.whence.kamailio_pids()
    scene.whence.crash_kamailio()
    assert not set(before) & set(scene.whence.kamailio_pids())
    scene.call()


def test_a_call_in_progress_is_hung_up_properly_after_kamailio_was_killed(scene: Scene) -> None:
    call = scene.caller.dial(uri(scene.whence), talk_s=2)
    eventually(lambda: scene.phone.received()[-1].method == "ACK", what="the call connected")
    scene.whence.crash_kamailio()
    outcome = call.outcome()
    assert outcome.complete, outcome
    said = [message.method for message in once(scene.phone.received())]
    assert said[-3:] == ["INVITE", "ACK", "BYE"]


def test_without_the_agent_calls_are_identified(scene: Scene) -> None:
    scene.call()
    before = scene.whence.agent_pid()
    scene.whence.kill_agent()
    scene.call()
    scene.whence.wait_healthy()
    assert scene.whence.agent_pid() != before
    scene.call()


def test_a_killed_run_leaves_nothing_that_keeps_a_port(scene: Scene) -> None:
    scene.call()
    whence = scene.whence
    left = [whence.agent_pid(), *whence.kamailio_pids()]
    whence.kill_run()
    eventually(lambda: not any(map(alive, left)), what="the end of agent and Kamailio")
    assert not udp_bound(*whence.address)
    assert not udp_bound(*whence.inside)
    assert not tcp_bound(whence.address[0], API_PORT)
    whence.start()
    scene.call()


def test_a_start_right_after_a_killed_run_succeeds(scene: Scene) -> None:
    """It ends what is still there: the kernel's signal to Kamailio may be on its way."""
    scene.whence.kill_run()
    scene.whence.start()
    scene.call()


def test_workers_that_nobody_ends_are_ended_by_the_next_start(scene: Scene) -> None:
    """They outlive a main process that was killed, and here a run that cannot see to them."""
    whence = scene.whence
    assert whence.process
    _, *workers = whence.kamailio_pids()
    whence.process.signal(signal.SIGSTOP)
    whence.kill_kamailio()
    whence.kill_run()
    assert all(map(alive, workers))
    assert udp_bound(*whence.address)
    whence.start()
    assert not any(map(alive, workers))
    scene.call()


def test_after_a_crash_an_unknown_source_is_still_one(scene: Scene, shared_rig: Rig) -> None:
    scene.whence.crash_kamailio()
    assert try_to_call(shared_rig.unknown_source(), scene.whence) == 403
