"""A node starts on files of its own user, and on no others."""

import os
from pathlib import Path

import pytest

from testkit.process import Process, beside_python
from testkit.rig import Rig
from tests.system.scene import ACCOUNTS, alices_trunk, uri

NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to another user")
def test_node_whose_state_becomes_anothers_starts_no_more(rig: Rig, tmp_path: Path) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    sticky = tmp_path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    whence = rig.whence(
        trunks=[alices_trunk(provider)],
        users=["alice"],
        agent={"state_dir": str(sticky / "state"), "on_stop": "leave"},
        start=False,
    )
    whence.start()
    whence.wait_registered()
    assert whence.stop() == 0

    os.chown(whence.state, NOBODY, NOBODY)
    victim = tmp_path / "victim"
    victim.write_text("root's own words\n")
    config = whence.state / "kamailio.cfg"
    kept = config.read_bytes()
    config.unlink()
    config.symlink_to(victim)
    for command in ("run", "agent"):
        log = tmp_path / f"{command}.log"
        with Process(command, [beside_python("whence"), command, "-c", whence.file], log) as again:
            assert again.wait(30) == 1, again.log
        assert f"{whence.state} belongs to user nobody" in again.log
    os.chown(whence.state, 0, 0)
    with Process("run", [beside_python("whence"), "run", "-c", whence.file], log) as again:
        assert again.wait(30) == 1, again.log
    assert f"{config} cannot be written: it is a symbolic link" in again.log
    assert victim.read_text() == "root's own words\n"

    config.unlink()
    config.write_bytes(kept)
    config.chmod(0o600)
    whence.start()  # what was granted is still known
    phone = rig.phone("alice", whence)
    rig.caller(whence, at=provider).call(uri(whence), expect=200)
    assert phone.calls()[0]["X-Whence-Trunk"] == "alices-trunk"


def test_node_started_beside_anothers_python_runs_its_own(rig: Rig, tmp_path: Path) -> None:
    """`whence run` is typed where somebody left modules with names that Whence imports."""
    whence = rig.whence(start=False)
    there = tmp_path / "there"
    for name in ("whence", "sqlite3", "uvloop"):
        (there / name).mkdir(parents=True)
        for file in ("__init__.py", "__main__.py"):
            (there / name / file).write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    (there / "json.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    argv: list[str | Path] = ["env", "-C", there, beside_python("whence"), "run", "-c", whence.file]
    with Process("run", argv, tmp_path / "run.log", stop_within_s=60) as run:
        whence.process = run
        whence.wait_healthy()
        assert run.stop() == 0
    assert not (tmp_path / "imported").exists()
