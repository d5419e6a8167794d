"""A node starts only if its files belong to its own user."""

import os
from pathlib import Path

import pytest

from testkit.process import Process, beside_python
from testkit.rig import Rig
from tests.system.scene import ACCOUNTS, alices_trunk, uri

NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to another user")
def test_state_directory_of_another_user_stops_the_start(rig: Rig, tmp_path: Path) -> None:
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
    victim.write_text("root's own text\n")
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
    assert victim.read_text() == "root's own text\n"

    config.unlink()
    config.write_bytes(kept)
    config.chmod(0o600)
    whence.start()  # the grants are still stored
    phone = rig.phone("alice", whence)
    rig.caller(whence, at=provider).call(uri(whence), expect=200)
    assert phone.calls()[0]["X-Whence-Trunk"] == "alices-trunk"


def test_run_in_a_folder_with_modules_imports_its_own(rig: Rig, tmp_path: Path) -> None:
    """The current folder has modules with names that Whence imports."""
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
