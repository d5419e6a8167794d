"""The Debian package, in a copy of this machine: install, start, upgrade, remove, purge."""

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from testkit.machine import Machine
from testkit.network import SIP_PORT
from testkit.process import Process
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.wait import PATIENCE_S, eventually
from tests.system.pbx import Pbx
from tests.system.scene import ACCOUNTS
from tests.unit.store import old_files
from whence.store.schema import VERSION

ROOT = Path(__file__).parents[2]
FILE = "/etc/whence/whence.toml"
STATE = "/var/lib/whence"
UNIT = "/usr/lib/systemd/system/whence.service"
INSTALL = ROOT / "packaging/install-deb"
"""The script of the Dockerfile."""
SANDBOX = ROOT / "testkit/sandbox.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can install a package"),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package of this version."""
    folder = tmp_path_factory.mktemp("package")
    built = subprocess.run(
        [str(ROOT / "tools/deb"), "--output", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def older_package(package: Path) -> Path:
    """Return the same package with a lower version."""
    folder, older = package.parent / "older", package.parent / "older.deb"
    subprocess.run(["dpkg-deb", "-R", package, folder], check=True)
    control = folder / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", "Version: 0.1.0", control.read_text()))
    build = ["dpkg-deb", "--root-owner-group", "-Znone", "-b", str(folder), str(older)]
    subprocess.run(build, check=True, capture_output=True)
    return older


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "machine").mkdir()
    with Machine(tmp_path / "machine") as machine:
        yield machine


def install(machine: Machine, package: Path) -> str:
    machine.put(package.read_bytes(), f"/tmp/{package.name}")
    machine.put(INSTALL.read_bytes(), "/tmp/install-deb")
    return machine.run("sh", "/tmp/install-deb", f"/tmp/{package.name}")


def owner_and_mode(machine: Machine, path: str) -> str:
    return machine.run("stat", "-c", "%U:%G %a", path).strip()


class Node:
    """Whence in the copy, with a trunk at a provider of the rig."""

    def __init__(self, machine: Machine, rig: Rig, provider: Provider, target: str) -> None:
        self.machine, self.provider, self.ip = machine, provider, rig.ip("edge")
        self.api = f"http://{self.ip}:8088"
        text = f"""
            [edge]
            listen = ["udp:{self.ip}:5060"]
            agent_socket = "udp:{self.ip}:5062"
            [agent]
            api_listen = "{self.ip}:8088"
            [[trunk]]
            id = "acme"
            registrar = "{provider.uri}"
            domain = "{provider.domain}"
            user = "acct1"
            password = "{provider.accounts["acct1"]}"
            target = "{target}"
        """
        machine.put(text.encode(), FILE)

    def run(self, name: str, *command: str) -> Process:
        """Start it; return when its trunk is registered."""
        # An empty WHENCE_USER is none: the program chooses the user.
        run = self.machine.start(name, *command, env={"WHENCE_USER": ""})

        def registered() -> bool:
            assert run.running, run.log
            trunks = httpx.get(f"{self.api}/v1/trunks", trust_env=False).json()
            return bool(trunks[0]["state"] == "registered")

        eventually(registered, PATIENCE_S, "the trunk's registration")
        assert len(self.provider.contacts("acct1")) == 1
        return run


def identity(pid: int) -> dict[str, str]:
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return dict(re.findall(r"(?m)^(Uid|Gid|NoNewPrivs|CapEff):\s*(\S+)", status))


def test_package_from_installation_to_purge(
    machine: Machine, rig: Rig, package: Path, older_package: Path, tmp_path: Path
) -> None:
    provider, pbx = rig.provider(accounts=ACCOUNTS), Pbx(rig)
    assert f"write your trunks into {FILE}" in install(machine, older_package)
    assert owner_and_mode(machine, FILE) == "root:whence 640"
    assert owner_and_mode(machine, STATE) == "whence:whence 700"
    assert "OK: 0 trunks, 0 users" in machine.run("whence", "check", "-c", FILE)

    # A directory of an older Whence, and an operator's file, at the upgrade.
    old = tmp_path / "directory.db"
    old_files.make(old, "3")
    machine.put(old.read_bytes(), f"{STATE}/directory.db")
    machine.run("chown", "whence:whence", f"{STATE}/directory.db")
    machine.run("chmod", "600", f"{STATE}/directory.db")
    node = Node(machine, rig, provider, pbx.uri)
    before = machine.run("cat", FILE)
    install(machine, package)
    assert machine.run("cat", FILE) == before
    assert owner_and_mode(machine, FILE) == "root:whence 640"
    checked = machine.run("whence", "check", "-c", FILE)
    assert "OK: 1 trunk, 0 users" in checked
    assert "warning" not in checked

    # Root starts it, and it drops to the user of the package.
    run = node.run("as-root", "whence", "run", "-c", FILE)
    uid = machine.run("id", "-u", "whence").strip()
    pids = [run.pid, *run.descendants()]
    assert len(pids) > 5
    for pid in pids:
        shown = identity(pid)
        assert (shown["Uid"], shown["NoNewPrivs"]) == (uid, "1"), run.log
        assert int(shown["CapEff"], 16) == 0
    assert "nothing changed" in machine.run("whence", "reload", "-c", FILE)
    assert run.stop() == 0, run.log
    migrated = tmp_path / "migrated.db"
    migrated.write_bytes(machine.read(f"{STATE}/directory.db"))
    with closing(sqlite3.connect(migrated)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)

    # By hand as that user, with the restrictions of the unit.
    machine.put(SANDBOX.read_bytes(), "/tmp/sandbox.py")
    sandbox = ["/usr/bin/python3", "/tmp/sandbox.py", UNIT]
    run = node.run("in-unit", *sandbox, "whence", "run", "-c", FILE)
    writable_code = "import mmap; mmap.mmap(-1, 4096, prot=7)"
    machine.run("/usr/bin/python3", "-c", writable_code)
    machine.run(*sandbox, "/usr/bin/python3", "-c", writable_code, status=1)
    call = pbx.called_by(rig.endpoint("provider"), (node.ip, SIP_PORT))
    assert call.all("X-Whence-Trunk") == ["acme"]
    assert run.stop() == 0, run.log

    assert "/usr/bin/whence" in machine.changed()
    machine.run("dpkg", "-r", "whence")
    assert machine.run("cat", FILE) == before
    machine.run("test", "-s", f"{STATE}/directory.db")
    machine.run("test", "!", "-e", "/usr/lib/whence")
    machine.run("dpkg", "--purge", "whence")
    ours = {path for path in machine.changed() if "whence" in path}
    assert ours == set()
    machine.run("test", "!", "-e", "/etc/whence")
