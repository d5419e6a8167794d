"""When a registration is refreshed, and when its address ends.

The registrar grants a few seconds; no test changes a clock. Each grant is long enough that a busy
machine finishes the test's steps before it ends.
"""

import os
import signal
import time
from dataclasses import dataclass

import pytest

from testkit.provider import Provider
from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import ACCOUNTS, UNASSIGNED_NUMBER, alices_trunk, decided, uri

GRANTED_S = 15


@dataclass
class Scene:
    provider: Provider
    whence: Whence

    def expires_at(self) -> float:
        """Return the end of the trunk's one address."""
        (address,) = self.whence.get("/v1/addresses")
        return float(address["expires_at"])

    def ends_at(self, until: float) -> bool:
        """Wait for the end of the address, and return whether it ended at this instant."""
        asked: list[tuple[float, str, float]] = []

        def is_over() -> bool:
            began, decision = time.time(), decided(self.whence, self.provider)
            asked.append((began, decision, time.time()))
            return decision == "unknown"

        eventually(is_over, what="the end of the address")
        *before, (_, _, ended) = asked
        # Each decision was made at some instant between question and answer.
        return ended >= until and all(
            decision == "identified" and began < until for began, decision, _ in before
        )


def scene_with(rig: Rig, grants_s: int, grace_s: int = 0, workers: int = 2) -> Scene:
    provider = rig.provider(accounts=ACCOUNTS, grants_s=grants_s)
    whence = rig.whence(
        trunks=[alices_trunk(provider)],
        users=["alice"],
        edge={"workers": workers},
        # Without an unregister at the end: the registrar may be stopped by then.
        agent={"grace": grace_s, "on_stop": "leave"},
    )
    whence.wait_registered()
    return Scene(provider, whence)


def test_refresh_comes_at_70_to_80_percent_of_the_grant(rig: Rig) -> None:
    scene = scene_with(rig, grants_s=GRANTED_S)
    provider, whence = scene.provider, scene.whence
    for _ in range(2):
        before, seen = whence.trunk("alices-trunk"), provider.registers_seen()
        until = scene.expires_at()
        refresh_s = GRANTED_S - (before["expires_at"] - before["next_at"])
        assert 0.7 * GRANTED_S <= refresh_s <= 0.8 * GRANTED_S
        eventually(lambda seen=seen: provider.registers_seen() > seen, what="a refresh")  # type: ignore[misc]
        assert before["next_at"] <= provider.registers()[seen].at < before["expires_at"]
        eventually(lambda until=until: scene.expires_at() > until, what="a longer grant")  # type: ignore[misc]
        assert decided(whence, provider) == "identified"
    calls = {seen.call_id for seen in provider.registers()}
    numbers = [seen.cseq for seen in provider.registers()]
    assert len(calls) == 1
    assert numbers == sorted(set(numbers))


def test_refresh_refused_keeps_the_address_until_its_end(rig: Rig) -> None:
    scene = scene_with(rig, grants_s=GRANTED_S, grace_s=10)
    provider, whence = scene.provider, scene.whence
    phone = rig.phone("alice", whence)
    caller = rig.caller(whence, at=provider)
    until = scene.expires_at()
    provider.refuse(403)
    details = whence.wait_state("alices-trunk", "waiting")
    assert time.time() < details["expires_at"] < until
    caller.call(uri(whence), expect=200)
    assert len(phone.calls()) == 1
    assert scene.expires_at() == until

    assert scene.ends_at(until)
    caller.call(uri(whence), expect=403)
    assert whence.get("/v1/addresses") == []
    assert len(phone.calls()) == 1


@pytest.mark.parametrize("grace_s", [0, 1])
def test_address_without_a_refresh_ends_exactly(rig: Rig, grace_s: int) -> None:
    scene = scene_with(rig, grants_s=GRANTED_S, grace_s=grace_s)
    provider, whence = scene.provider, scene.whence
    provider.kill()
    until = scene.expires_at()
    assert until == pytest.approx(whence.trunk("alices-trunk")["expires_at"] + grace_s, abs=0.001)
    assert decided(whence, provider) == "identified"
    assert scene.ends_at(until)
    rig.caller(whence, at=provider).call(uri(whence), expect=403)


def test_address_ends_while_the_agent_hangs(rig: Rig) -> None:
    """The edge compares the end of the address itself, without the agent.

    With one worker and one source port, the last calls find a cached decision, and none.
    """
    scene = scene_with(rig, grants_s=GRANTED_S, workers=1)
    provider, whence = scene.provider, scene.whence
    rig.phone("alice", whence)
    caller = rig.caller(whence, at=provider, port=5090)
    agent, before = whence.agent_pid(), scene.expires_at()
    eventually(lambda: scene.expires_at() > before, what="a new grant")
    until = scene.expires_at()
    os.kill(agent, signal.SIGSTOP)
    try:
        caller.call(uri(whence), expect=200)
        eventually(lambda: time.time() > until, what="the end of the address")
        caller.call(uri(whence), expect=403)
        caller.call(uri(whence, UNASSIGNED_NUMBER), expect=403)
    finally:
        os.kill(agent, signal.SIGCONT)
