"""Starts that are refused: one sentence says what to do, and no process is left.

Also stops and SIGHUPs during a start, and the modes of the files.
"""

import os
import re
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from testkit.network import SIP_PORT
from testkit.process import Process, beside_python
from testkit.rig import Rig
from testkit.wait import PATIENCE_S, eventually
from testkit.whence import AGENT_PORT, API_PORT, Whence
from whence.store.directory import Directory


def read_only(folder: Path) -> list[str]:
    """Return a prefix for a command that makes the folder read-only for it.

    Mode 0500 is enough unless the user is root. Root gets a read-only file system in a mount
    namespace of its own.
    """
    if os.getuid() != 0:
        return []
    mount = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mount, str(folder)]


def refused(
    whence: Whence, command: str = "run", status: int = 1, first: Sequence[str] = ()
) -> str:
    """Run a command that cannot start; return its output."""
    log = whence.file.with_suffix(f".{command}.log")
    log.unlink(missing_ok=True)
    process = Process(
        f"refused-{command}", [*first, beside_python("whence"), command, "-c", whence.file], log
    )
    try:
        assert process.wait() == status, process.log
        assert process.descendants() == []
    finally:
        process.kill()
    return process.log


def sentence(output: str) -> str:
    """Return the only line of an output, without its prefix."""
    (line,) = output.splitlines()
    assert line.startswith("whence: "), line
    return line.removeprefix("whence: ")


@contextmanager
def taken(kind: socket.SocketKind, ip: str, port: int) -> Iterator[None]:
    """Bind a port in another socket while the context lasts."""
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind((ip, port))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        yield


def test_second_run_on_one_state_directory_is_refused(rig: Rig) -> None:
    first = rig.whence(users=["alice"])
    assert first.process
    second = rig.whence("second", agent={"state_dir": str(first.state)}, start=False)
    # The ports differ, so they are not the reason of the refusal.
    assert second.address != first.address
    output = sentence(refused(second))
    assert output == (
        f"a whence run already runs on the state directory {first.state}, as process "
        f"{first.process.pid}; stop it, or name another agent state_dir"
    )
    output = sentence(refused(second, "agent"))
    assert output == (
        f"an agent already runs on the state directory {first.state}, as process "
        f"{first.agent_pid()}; stop it, or name another agent state_dir"
    )
    assert first.health() == 200
    assert first.stop() == 0
    second.start()


def test_run_beside_an_agent_is_refused(rig: Rig) -> None:
    whence = rig.whence(start=False)
    log = rig.directory / "agent.log"
    with Process("agent", [beside_python("whence"), "agent", "-c", whence.file], log) as agent:
        eventually(lambda: whence.health() == 503, what="the agent, without Kamailio")
        output = sentence(refused(whence))
        assert output.startswith(f"an agent already runs on the state directory {whence.state}, ")
        assert f"as process {agent.pid};" in output
        assert agent.running
    whence.start()


@pytest.mark.parametrize(
    ("kind", "port", "expected"),
    [
        (socket.SOCK_DGRAM, SIP_PORT, "the socket udp:{ip}:5060 is in use; "),
        (socket.SOCK_STREAM, SIP_PORT, "the socket tcp:{ip}:5060 is in use; "),
        (socket.SOCK_DGRAM, AGENT_PORT, "the socket udp:{ip}:5062 is in use; "),
        (socket.SOCK_STREAM, API_PORT, "the API's address {ip}:8088 cannot be used: "),
    ],
    ids=["edge-udp", "edge-tcp", "inside", "api"],
)
def test_port_in_use_is_named(rig: Rig, kind: socket.SocketKind, port: int, expected: str) -> None:
    ip = rig.ip("edge")
    sockets = [f"udp:{ip}:{SIP_PORT}", f"tcp:{ip}:{SIP_PORT}"]
    whence = rig.whence(edge={"listen": sockets}, start=False)
    with taken(kind, ip, port):
        output = sentence(refused(whence))
    assert output.startswith(expected.format(ip=ip)), output
    assert "stop" in output and "listens there" in output
    assert "or name another one" in output


def test_address_of_another_machine_is_named(rig: Rig) -> None:
    whence = rig.whence(edge={"listen": ["udp:192.0.2.1:5060"]}, start=False)
    output = sentence(refused(whence))
    assert output.startswith("the socket udp:192.0.2.1:5060 cannot be used: ")
    assert "name an address of this machine" in output


@pytest.mark.parametrize("command", ["run", "agent"])
def test_state_directory_that_cannot_be_made_is_named(rig: Rig, command: str) -> None:
    (rig.directory / "file").touch()
    state = rig.directory / "file" / "state"
    whence = rig.whence(agent={"state_dir": str(state)}, start=False)
    output = sentence(refused(whence, command))
    assert output.startswith(f"the state directory {state} cannot be made: ")


@pytest.mark.parametrize("command", ["run", "agent"])
def test_state_directory_that_cannot_be_written_is_named(rig: Rig, command: str) -> None:
    whence = rig.whence(start=False)
    whence.state.mkdir(mode=0o500)
    output = sentence(refused(whence, command, first=read_only(whence.state)))
    assert output.startswith(f"the state directory {whence.state} cannot be written; ")


def test_directory_that_is_no_database_is_not_touched(rig: Rig) -> None:
    whence = rig.whence(start=False)
    whence.state.mkdir()
    directory = whence.state / "directory.db"
    directory.write_bytes(b"not a database" * 100)
    output = sentence(refused(whence, "agent"))
    assert output.startswith(
        f"the directory {directory} cannot be opened: file is not a database; "
    )
    assert "move the file away" in output
    assert directory.read_bytes() == b"not a database" * 100


@contextmanager
def full(directory: sqlite3.Connection) -> Iterator[None]:
    """Let each insert of a user fail, as on a full disk."""
    directory.execute(
        "CREATE TRIGGER full BEFORE INSERT ON user"
        " BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
    )
    yield


@contextmanager
def locked(directory: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock of the directory while the context lasts."""
    directory.execute("BEGIN IMMEDIATE")
    yield
    directory.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("hold", "expected"),
    [
        (full, "cannot be written: database or disk is full"),
        (locked, "cannot be written: database is locked; end what has locked it"),
    ],
)
def test_directory_that_cannot_be_written_is_named(
    rig: Rig, hold: Callable[[sqlite3.Connection], AbstractContextManager[None]], expected: str
) -> None:
    whence = rig.whence(users=["alice"], start=False)
    whence.state.mkdir()
    path = whence.state / "directory.db"
    Directory(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other, hold(other):
        assert sentence(refused(whence, "agent")) == f"the directory {path} {expected}"


def test_lock_file_that_cannot_be_written_is_named(rig: Rig) -> None:
    whence = rig.whence(start=False)
    whence.state.mkdir()
    lock = whence.state / "agent.lock"
    lock.symlink_to("/dev/full")
    assert sentence(refused(whence, "agent")).startswith(f"{lock} cannot be written: ")


@pytest.mark.parametrize("mode", [None, 0o755], ids=["new", "existing"])
def test_state_directory_files_have_mode_0600(rig: Rig, mode: int | None) -> None:
    """A new state directory has mode 0700. An existing one may have another mode."""
    whence = rig.whence(start=False)
    if mode:
        whence.state.mkdir(mode)
    whence.start()
    assert whence.state.stat().st_mode & 0o777 == (mode or 0o700)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in whence.state.rglob("*")}
    assert {"directory.db", "location.db", "kamailio.cfg", "run.lock"} <= modes.keys()
    assert set(modes.values()) == {"0o600"}, modes


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_stop_right_after_the_start_ends_all_processes(rig: Rig, processes: int) -> None:
    """After SIGTERM just behind a fork, Kamailio 5.6.3 with TCP may not end by itself."""
    sockets = [f"{kind}:{rig.ip('edge')}:{SIP_PORT}" for kind in ("udp", "tcp")]
    whence = rig.whence(edge={"listen": sockets}, start=False)
    argv: list[str | Path] = [beside_python("whence"), "run", "-c", whence.file]
    early = Process("early", argv, rig.directory / "early.log")
    try:
        eventually(lambda: len(early.descendants()) >= processes, what=f"{processes} processes")
        early.signal(signal.SIGTERM)
        assert early.wait() in (0, -signal.SIGTERM), early.log
        eventually(lambda: not early.descendants(), what="no process")
    finally:
        early.kill()
    whence.start()


@pytest.mark.parametrize("command", ["run", "agent"])
def test_sighup_during_the_start_is_applied(rig: Rig, command: str) -> None:
    """The state directory appears after the file was read, and long before the start is done."""
    whence = rig.whence(start=False)
    argv: list[str | Path] = [beside_python("whence"), command, "-c", whence.file]
    log = rig.directory / "early.log"
    with Process("early", argv, log, stop_within_s=PATIENCE_S) as early:
        eventually(whence.state.exists, what="the state directory")
        whence.edit(users=["alice"])
        early.signal(signal.SIGHUP)

        def has_the_user() -> bool:
            assert early.running, early.log
            if command == "run":
                early.signal(signal.SIGHUP)  # the agent may not have started yet
            return [user["name"] for user in whence.get("/v1/users")] == ["alice"]

        eventually(has_the_user, what="the added user")
        assert early.stop() == 0, early.log
        assert "starts again" not in early.log


def test_kamailio_survives_sighup(rig: Rig) -> None:
    whence = rig.whence()
    before = whence.kamailio_pids()
    for _ in range(2):
        os.killpg(before[0], signal.SIGHUP)
        assert whence.health() == 200
    assert whence.kamailio_pids() == before
    assert whence.stop() == 0
    assert "starts again" not in whence.log


FAULTS = {
    "no file at all": (None, r"cannot be read"),
    "not TOML": ("[edge", r"is not TOML"),
    "an unknown key": ('[edge]\nlisten_on = ["udp:127.0.0.1:5060"]', r'did you mean "listen"'),
    "no socket": ('[edge]\nlisten = ["127.0.0.1"]', r'write transport:ip:port, "udp:'),
    "a public inside socket": ('[edge]\nagent_socket = "udp:192.0.2.1:5062"', r"not a loopback"),
    "a public API": ('[agent]\napi_listen = "192.0.2.1:8088"', r"so the API needs TLS; write "),
    "a trunk without a target": (
        '[[trunk]]\nid = "a"\nregistrar = "sip:127.0.0.2"\nuser = "a"\npassword = "hush"',
        r'trunk "a": target: is missing',
    ),
    "an invalid number": (
        '[[trunk]]\nid = "a"\nregistrar = "sip:127.0.0.2"\nuser = "a"\npassword = "hush"\n'
        'target = "sip:{number}@127.0.0.1"\nnumbers = ["hello"]',
        r'trunk "a": numbers\[0\]: "hello" is not a number',
    ),
    "an unknown target": (
        '[[trunk]]\nid = "a"\nregistrar = "sip:127.0.0.2"\nuser = "a"\npassword = "hush"\n'
        'target = "sip:alice@edge.example"',
        r'has no user "alice"',
    ),
    "a name twice": (
        '[[user]]\nname = "alice"\npassword = "hush"\n' * 2,
        r'user "alice": occurs 2 times',
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_invalid_file_is_refused_with_place_and_form(rig: Rig, fault: str) -> None:
    text, expected = FAULTS[fault]
    whence = rig.whence(start=False)
    if text is None:
        whence.file.unlink()
    else:
        whence.file.write_text(text, "utf-8")
    result = whence.cli("check", "-c", str(whence.file))
    assert result.returncode == 2
    assert result.stdout == ""
    assert re.search(expected, result.stderr), result.stderr
    assert "hush" not in result.stderr
    assert all(whence.file.name in line for line in result.stderr.splitlines())


def test_invalid_file_is_refused_by_each_command(rig: Rig) -> None:
    whence = rig.whence(start=False)
    whence.file.write_text('[agent]\nstate_dir = "relative"\nwrong = 1\n', "utf-8")
    for command in ("check", "run", "agent", "edge-config"):
        output = refused(whence, command, status=2).splitlines()
        assert len(output) == 2, output
        assert not (rig.directory / "relative").exists()


def test_valid_file_passes_the_check(rig: Rig) -> None:
    whence = rig.whence(users=["alice"], start=False)
    result = whence.cli("check", "-c", str(whence.file))
    assert (result.returncode, result.stderr) == (0, "")
    assert "OK: 0 trunks, 1 user" in result.stdout
