"""`whence run` restarts its processes, and names those that it cannot start."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from testkit.wait import PATIENCE_S
from whence.cli.service import console, supervisor
from whence.cli.service.child import Child
from whence.cli.service.event_loop import EventLoop, Timer
from whence.cli.service.supervisor import keep_running
from whence.errors import OperatorError


class CountingLoop(EventLoop):
    """A loop that counts its timers."""

    timers = 0

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        self.timers += 1
        return super().call_later(delay_s, callback)


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the warnings that are written, and check the form of their lines."""
    lines: list[str] = []

    def write(line: str, *, file: object, flush: bool) -> None:
        assert file is sys.stderr and flush
        found = re.fullmatch(r"\d\d:\d\d:\d\d run: WARNING (.*)", line)
        assert found is not None
        lines.append(found[1])

    monkeypatch.setattr(console, "print", write, raising=False)
    return lines


@pytest.fixture
def loop() -> CountingLoop:
    return CountingLoop()


@pytest.mark.parametrize(
    ("mode", "why"), [(None, "No such file or directory"), (0o600, "Permission denied")]
)
def test_child_that_cannot_start_is_one_sentence(
    tmp_path: Path, loop: EventLoop, mode: int | None, why: str
) -> None:
    program = tmp_path / "whence"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    with pytest.raises(OperatorError, match=f"agent cannot be started: {program}: {why}; "):
        Child("agent", [str(program)], signal.SIGKILL, loop).start()


def test_child_absent_for_a_while_starts_when_it_is_back(
    tmp_path: Path, stderr: list[str], loop: EventLoop
) -> None:
    program, moved = tmp_path / "kamailio", tmp_path / "kamailio.upgraded"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    reasons: list[str] = []
    message = f"kamailio cannot be started: {program}: No such file or directory; "

    def failed_twice() -> bool:
        return sum(line.startswith(message) for line in stderr) == 2

    child = Child("kamailio", [str(program)], signal.SIGTERM, loop, restarted=reasons.append)
    child.start()
    try:
        program.rename(moved)
        os.kill(child.pid, signal.SIGTERM)
        child.keep()
        assert loop.run_until(failed_twice, PATIENCE_S)
        moved.rename(program)
        assert loop.run_until(lambda: child.running, PATIENCE_S)
    finally:
        child.stop(5)
    waits = [line.rpartition("it starts again in ")[2] for line in stderr]
    assert waits == ["0.2 s", "0.4 s", "0.8 s"]
    assert stderr[0].startswith("kamailio ended (signal 15); it starts again in ")
    assert len(reasons) == 1 and reasons[0].startswith(f"kamailio cannot be started: {program}: ")


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore PATH, which `supervise` extends for its children."""
    monkeypatch.setenv("PATH", os.environ["PATH"])


@pytest.mark.usefixtures("path")
def test_agent_that_explains_its_end_gives_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_whence", lambda: ["sh", "-c", "exit 2"])
    assert supervisor.supervise("whence.toml") == 2


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("end", ["kill -9 $$", "exit 0"])
def test_agent_that_ends_without_a_word_is_named(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(supervisor, "_whence", lambda: ["sh", "-c", end])
    with pytest.raises(OperatorError, match="agent did not start; its last lines are above"):
        supervisor.supervise("whence.toml")


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_wait_for_a_child_needs_no_timer(loop: CountingLoop) -> None:
    before = open_files()
    child = Child("sleep", ["sleep", "60"], signal.SIGKILL, loop)
    child.start()
    try:
        checks = iter([False, True])
        loop.call_later(0, lambda: None)
        keep_running(loop, [child], lambda: next(checks))
        assert (open_files(), loop.timers) == (before + 1, 1)  # the descriptor of the process
    finally:
        child.stop(PATIENCE_S)
    assert open_files() == before


def test_child_that_stops_is_not_restarted(loop: CountingLoop, stderr: list[str]) -> None:
    child = Child("sleep", ["sleep", "60"], signal.SIGKILL, loop)
    child.start()
    child.keep()
    child.stop(PATIENCE_S)
    assert (child.running, child.exit_status, loop.timers) == (False, -signal.SIGTERM, 0)
    assert stderr == []


def test_child_released_while_it_waits_is_not_restarted(loop: CountingLoop) -> None:
    child = Child("false", ["false"], signal.SIGKILL, loop)
    child.start()
    child.keep()
    assert loop.run_until(lambda: loop.timers == 1, PATIENCE_S)
    child.release()
    passed: list[bool] = []
    loop.call_later(0.5, lambda: passed.append(True))  # after the time of the restart
    assert loop.run_until(lambda: bool(passed), PATIENCE_S)
    assert (child.exit_status, loop.timers) == (1, 2)


def test_keep_running_raises_a_bug(loop: EventLoop) -> None:
    class Faulty(Child):
        def start(self, further: Sequence[str] = (), fds: Sequence[int] = ()) -> None:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        keep_running(loop, [Faulty("agent", [], signal.SIGKILL, loop)], lambda: False)


def test_child_that_does_not_end_in_time_is_killed(
    tmp_path: Path, stderr: list[str], loop: EventLoop
) -> None:
    argv = ["sh", "-c", f"trap '' TERM; touch {tmp_path}/trapped; while :; do sleep 1; done"]
    child = Child("stubborn", argv, signal.SIGKILL, loop)
    child.start()
    while not (tmp_path / "trapped").exists():
        loop.run_until(lambda: False, 0.005)
    child.stop(0.1)
    assert not child.running
    assert stderr == ["stubborn did not end in 0.1 s, and is killed"]


@pytest.fixture
def inherited() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_child_inherits_only_the_given_descriptors(
    loop: EventLoop, inherited: tuple[int, int], tmp_path: Path
) -> None:
    """Another one may be the lock of the state directory, which a child must not hold."""
    for fd in inherited:
        os.set_inheritable(fd, True)
    listing = tmp_path / "listing"
    child = Child("ls", ["sh", "-c", f"ls /proc/self/fd > {listing}"], signal.SIGKILL, loop)
    child.start(fds=inherited[:1])
    assert loop.run_until(lambda: not child.running, PATIENCE_S)
    fds = {int(line) for line in listing.read_text().split()}
    assert inherited[0] in fds and inherited[1] not in fds
    child.stop(PATIENCE_S)


LIMITS = """
import resource, subprocess, sys
from whence.cli.service.supervisor import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (256, int(sys.argv[1])))
with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
    raise_file_limit(int(sys.argv[2]), [0, other.pid])
    for pid in (0, other.pid):
        print(resource.prlimit(pid, resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("hard", "connections", "soft", "warns"),
    [
        (4096, 1000, "2024", False),
        (512, 1000, "512", True),
        (4096, 0, "256", False),
    ],
    ids=["enough", "too-few", "udp"],
)
def test_raise_file_limit_gives_room_for_connections(
    hard: int, connections: int, soft: str, warns: bool
) -> None:
    command = [sys.executable, "-c", LIMITS, str(hard), str(connections)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [soft, soft]
    assert ("LimitNOFILE=2024" in done.stderr) == warns
