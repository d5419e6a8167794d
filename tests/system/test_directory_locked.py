"""Another process locks the directory for long, or removes it: the operator is informed."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import ACCOUNTS, alices_trunk


def health(whence: Whence) -> tuple[int, bool]:
    """Return the status of /healthz, and whether it says that the directory is written."""
    answer = httpx.get(f"{whence.api}/healthz", timeout=60, trust_env=False)
    return answer.status_code, answer.json()["directory"]


def file_of(rig: Rig, whence: Whence) -> Path:
    (found,) = rig.directory.rglob("directory.db")
    return found


def start(rig: Rig) -> Whence:
    provider = rig.provider(accounts=ACCOUNTS, grants_s=15)
    whence = rig.whence(trunks=[alices_trunk(provider)], users=["alice"], agent={"grace": 0})
    whence.wait_registered()
    return whence


def open_alarms(whence: Whence) -> set[str]:
    alarms = whence.get("/v1/alarms")
    return {one["kind"] for one in alarms if one["lasting"] and one["status"] == "firing"}


def test_directory_locked_for_long_leaves_the_agent_answering(rig: Rig) -> None:
    whence = start(rig)
    with closing(sqlite3.connect(file_of(rig, whence), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        eventually(lambda: health(whence) == (503, False), what="the lock is reported")
        assert open_alarms(whence) >= {"directory_unwritable"}

        def expired() -> bool:
            return float(whence.trunk("alices-trunk")["expires_at"] or 0) < time.time()

        eventually(expired, what="the end of the grant")
        other.execute("ROLLBACK")
    eventually(lambda: health(whence) == (200, True), what="the end of the lock")
    eventually(lambda: not expired(), what="another grant")
    eventually(lambda: not open_alarms(whence), what="the all-clear")


@pytest.mark.parametrize("name", ["directory.db", "directory.db-wal"])
def test_directory_removed_is_reported(rig: Rig, name: str) -> None:
    whence = start(rig)
    file_of(rig, whence).with_name(name).unlink()
    eventually(lambda: health(whence) == (503, False), what="the removal is reported")
    assert "directory_unwritable" in open_alarms(whence)
