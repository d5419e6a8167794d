"""A full disk: trunks stay registered, calls are admitted, and the operator is informed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from testkit.disk import SmallDisk, needs_root, small_disk
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import ACCOUNTS, alices_trunk, uri

pytestmark = needs_root

GRANTED_S = 15
"""Long enough that a busy machine refreshes within a grant."""


@dataclass
class Scene:
    provider: Provider
    whence: Whence
    disk: SmallDisk

    def health(self) -> tuple[int, Any]:
        answer = httpx.get(f"{self.whence.api}/healthz", timeout=60, trust_env=False)
        return answer.status_code, answer.json()

    def open_alarms(self) -> set[str]:
        """Return the kinds of the open alarms."""
        return {
            alarm["kind"]
            for alarm in self.whence.get("/v1/alarms")
            if alarm["lasting"] and alarm["status"] == "firing"
        }

    def expires_at(self) -> float:
        """Return when the grant ends, or 0 for a trunk without a grant."""
        return float(self.whence.trunk("alices-trunk")["expires_at"] or 0)


@pytest.fixture
def scene(rig: Rig) -> Iterator[Scene]:
    """Start a node whose state directory is on a disk of 3 MB. No address outlives its grant."""
    provider = rig.provider(accounts=ACCOUNTS, grants_s=GRANTED_S)
    with small_disk(rig.directory / "disk", 3_000_000) as disk:
        whence = rig.whence(
            trunks=[alices_trunk(provider)],
            users=["alice"],
            agent={"grace": 0, "on_stop": "leave", "state_dir": str(disk.path / "state")},
        )
        try:
            whence.wait_registered()
            yield Scene(provider, whence, disk)
        finally:
            whence.stop()


def test_full_disk_keeps_trunk_registered_and_calls_admitted(rig: Rig, scene: Scene) -> None:
    whence, disk = scene.whence, scene.disk
    rig.phone("alice", whence)
    assert scene.health() == (200, {"kamailio": True, "directory": True, "disk": True})
    first = scene.expires_at()
    disk.fill()
    assert disk.free == 0
    eventually(lambda: scene.health()[0] == 503, what="the disk is reported")
    assert scene.health()[1]["disk"] is False
    assert scene.open_alarms() == {"disk_full"}
    eventually(lambda: scene.expires_at() > first + 2 * GRANTED_S, what="two grants were stored")
    assert disk.free == 0
    call = rig.caller(whence, scene.provider).call(uri(whence))
    assert call.status == 200
    assert "whence_registration_expirations_total 0.0" in whence.metrics().splitlines()
    shown = whence.cli("alarms").stdout
    assert "disk_full" in shown and "open" in shown

    disk.empty()
    eventually(lambda: scene.health()[0] == 200, what="the disk has space")
    eventually(lambda: scene.open_alarms() == set(), what="the all-clear")
    (alarm,) = json.loads(whence.cli("alarms", "--json").stdout)
    assert (alarm["kind"], alarm["status"]) == ("disk_full", "resolved")
    assert alarm["raised_at"] <= alarm["cleared_at"]
    assert "alarm cleared: disk_full: " in whence.log


def test_full_disk_over_a_restart_of_the_agent_keeps_one_alarm(scene: Scene) -> None:
    whence, disk = scene.whence, scene.disk
    disk.fill()
    eventually(lambda: scene.open_alarms() == {"disk_full"}, what="the alarm")
    whence.kill_agent()
    eventually(lambda: scene.health()[0] == 503, what="another agent")
    assert scene.open_alarms() == {"disk_full"}
    before = scene.expires_at()
    eventually(lambda: scene.expires_at() > before, what="a grant of the next agent")
    disk.empty()
    eventually(lambda: scene.open_alarms() == set(), what="the all-clear")
    assert whence.log.count("alarm: disk_full") == 1
    assert whence.log.count("alarm cleared: disk_full") == 1


def test_full_disk_over_a_restart_of_the_node_registers_again(scene: Scene) -> None:
    """A clean stop ends the write-ahead log, whose space the next start needs."""
    whence, disk = scene.whence, scene.disk
    disk.fill()
    eventually(lambda: scene.open_alarms() == {"disk_full"}, what="the alarm")
    whence.stop()
    whence.launch()
    eventually(lambda: scene.health()[0] == 503, 20, what="the API")
    before = scene.expires_at()
    eventually(lambda: scene.expires_at() > before, what="a grant of the next agent")
    assert scene.open_alarms() == {"disk_full"}
