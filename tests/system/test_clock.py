"""The system clock is set while Whence runs: Kamailio and the agent see it by libfaketime."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import request
from testkit.wait import eventually
from testkit.whence import Table, Whence
from tests.system.drop_in import ACCOUNTS as UAC_ACCOUNTS
from tests.system.drop_in import USERS, alices, registered
from tests.system.scene import ACCOUNTS, alices_trunk, try_to_call

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
HOUR_S = 3600.0

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")


def set_clock(clock: Path, offset_s: float) -> None:
    """Set a clock to this difference from the real one; a program never reads a half."""
    new = clock.with_suffix(".new")
    new.write_text(f"{offset_s:+.0f}\n")
    new.replace(clock)


def follows(clock: Path) -> dict[str, str]:
    """Return the environment of a program whose system clock is this file."""
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


@dataclass
class Scene:
    """A registered trunk, and the clock of its Whence."""

    rig: Rig
    provider: Provider
    whence: Whence
    clock: Path

    def set_clock(self, offset_s: float) -> None:
        """Set the clock to this difference from the real one."""
        set_clock(self.clock, offset_s)

    def admits(self) -> bool:
        """Return whether a call from the provider is let in."""
        caller = self.rig.endpoint("provider")
        return try_to_call(caller, self.whence) != 403


def scene_with(rig: Rig, grants_s: int = 3600, agent: Table | None = None) -> Scene:
    provider = rig.provider(accounts=ACCOUNTS, grants_s=grants_s)
    whence = rig.whence(
        trunks=[alices_trunk(provider)],
        users=["alice"],
        agent={"on_stop": "leave", **(agent or {})},
        start=False,
    )
    clock = rig.directory / "clock"
    scene = Scene(rig, provider, whence, clock)
    scene.set_clock(0)
    whence.env = follows(clock)
    whence.start()
    whence.wait_registered()
    return scene


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_clock_set_registers_again_and_raises_an_alarm(rig: Rig, step_s: float) -> None:
    scene = scene_with(rig)
    before = scene.provider.registers_seen()
    scene.set_clock(step_s)
    eventually(lambda: scene.provider.registers_seen() > before, what="a refresh")

    def is_granted_anew() -> bool:
        expires_at = float(scene.whence.trunk("alices-trunk")["expires_at"] or 0.0)
        return abs(expires_at - (time.time() + step_s + 3600)) < 600

    eventually(is_granted_anew, what="a grant by the new clock")
    assert scene.admits()
    kinds = [alarm["kind"] for alarm in scene.whence.get("/v1/alarms")]
    assert kinds.count("clock_stepped") == 1
    events = [event["what"] for event in scene.whence.get("/v1/trunks/alices-trunk")["events"]]
    assert "clock_stepped" in events and "expired" not in events


@pytest.mark.parametrize("agent_runs", [True, False])
def test_clock_set_back_admits_no_call_after_the_grant(rig: Rig, agent_runs: bool) -> None:
    scene = scene_with(rig, grants_s=20, agent={"grace": 0})
    scene.provider.stop()
    granted_until = time.monotonic() + 20
    pid = scene.whence.agent_pid()
    if not agent_runs:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert scene.admits()
        scene.set_clock(-HOUR_S)
        eventually(lambda: not scene.admits(), 120, "the end of the address")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert time.monotonic() < granted_until + 100  # and not an hour later


def test_clock_set_back_without_an_agent_is_corrected_later(rig: Rig) -> None:
    scene = scene_with(rig)
    scene.whence.stop()
    scene.set_clock(-HOUR_S)
    scene.whence.start()
    (address,) = scene.whence.get("/v1/addresses")
    assert float(address["expires_at"]) < time.time() - HOUR_S + 3600 + 32 + 1
    assert [alarm["kind"] for alarm in scene.whence.get("/v1/alarms")] == ["clock_stepped"]


def test_drop_in_without_an_agent_admits_no_call_after_the_grant(rig: Rig) -> None:
    clock = rig.directory / "clock"
    set_clock(clock, 0)
    provider = rig.provider(accounts=UAC_ACCOUNTS, grants_s=20)
    native = rig.drop_in(records=[alices(provider)], users=USERS, start=False, grace_s=0)
    native.env = follows(clock)
    native.start()
    registered(native, "trunk-of-alice")
    granted_until = time.monotonic() + 20
    provider.stop()
    caller = rig.endpoint("provider")

    def reason() -> str:
        """Make a call, and return why the drop-in declined it; empty where it did not."""
        before = native.log.count("no trunk's call")
        ruri = f"sip:trunk-of-alice@{native.address[0]}"
        caller.ask(request("INVITE", ruri, caller.address), native.address)
        lines = native.log.split("no trunk's call: ")
        return lines[-1].partition(":")[0] if len(lines) - 1 > before else ""

    assert reason() == ""
    set_clock(clock, -HOUR_S)
    eventually(lambda: reason() == "unknown_address", 120, "the end of the address")
    assert time.monotonic() < granted_until + 100  # and not an hour later
