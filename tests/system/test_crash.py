"""kill -9 of each part: registrations survive, and no process is left that keeps a port."""

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
        """Make a call from the provider: the edge identifies it, and alice's phone answers."""
        calls = len(self.phone.calls())
        self.caller.call(uri(self.whence), expect=200)
        assert len(self.phone.calls()) == calls + 1
        assert self.phone.calls()[-1]["X-Whence-Trunk"] == "alices-trunk"


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    """Start a node with one trunk and one phone. Each test leaves it running and registered."""
    provider = shared_rig.provider(accounts=ACCOUNTS)
    whence = shared_rig.whence(trunks=[alices_trunk(provider)], users=["alice"])
    whence.wait_registered()
    phone = shared_rig.phone("alice", whence)
    return Scene(provider, whence, phone, shared_rig.caller(whence, at=provider))


@pytest.fixture(autouse=True)
def no_new_registration(scene: Scene) -> Iterator[None]:
    """Check after each test that trunk and phone kept their registrations."""
    registers, users = scene.provider.registers(), scene.whence.get("/v1/users")
    granted_until = scene.whence.trunk("alices-trunk")["expires_at"]
    yield
    assert scene.provider.registers() == registers
    assert scene.whence.get("/v1/users") == users
    assert scene.whence.trunk("alices-trunk")["expires_at"] == granted_until


def test_kamailio_killed_is_restarted_and_identifies_calls(scene: Scene) -> None:
    scene.call()
    before = scene.whence.kamailio_pids()
    scene.whence.crash_kamailio()
    assert not set(before) & set(scene.whence.kamailio_pids())
    scene.call()


def test_call_during_a_kamailio_crash_ends_with_bye(scene: Scene) -> None:
    call = scene.caller.dial(uri(scene.whence), talk_s=2)
    eventually(lambda: scene.phone.received()[-1].method == "ACK", what="the call connected")
    scene.whence.crash_kamailio()
    outcome = call.outcome()
    assert outcome.complete, outcome
    output = [message.method for message in once(scene.phone.received())]
    assert output[-3:] == ["INVITE", "ACK", "BYE"]


def test_calls_without_an_agent_are_identified(scene: Scene) -> None:
    scene.call()
    before = scene.whence.agent_pid()
    scene.whence.kill_agent()
    scene.call()
    scene.whence.wait_healthy()
    assert scene.whence.agent_pid() != before
    scene.call()


def test_run_killed_leaves_no_process_and_no_port(scene: Scene) -> None:
    scene.call()
    whence = scene.whence
    left = [whence.agent_pid(), *whence.kamailio_pids()]
    whence.kill_run()
    eventually(lambda: not any(map(alive, left)), what="the end of agent and Kamailio")
    assert not udp_bound(*whence.address)
    assert not udp_bound(*whence.agent_socket)
    assert not tcp_bound(whence.address[0], API_PORT)
    whence.start()
    scene.call()


def test_start_right_after_a_killed_run_succeeds(scene: Scene) -> None:
    """The start ends old processes: the kernel may not have signalled Kamailio yet."""
    scene.whence.kill_run()
    scene.whence.start()
    scene.call()


def test_start_ends_workers_that_a_crash_left(scene: Scene) -> None:
    """Workers outlive a killed main process; here `whence run` is stopped and cannot end them."""
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


def test_unknown_source_after_a_crash_is_refused(scene: Scene, shared_rig: Rig) -> None:
    scene.whence.crash_kamailio()
    assert try_to_call(shared_rig.unknown_source(), scene.whence) == 403
