"""`whence run` restarts its processes, and names those that it cannot start."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testkit.wait import PATIENCE_S
from whence.cli.service.supervisor import Child, keep_running
from whence.errors import OperatorError


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("mode", "why"), [(None, "No such file or directory"), (0o600, "Permission denied")]
)
def test_child_that_cannot_start_is_one_sentence(
    tmp_path: Path, mode: int | None, why: str
) -> None:
    program = tmp_path / "whence"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    with pytest.raises(OperatorError, match=f"agent cannot be started: {program}: {why}; "):
        Child("agent", [str(program)], signal.SIGKILL).start()


def test_child_absent_for_a_while_starts_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program, moved = tmp_path / "kamailio", tmp_path / "kamailio.upgraded"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    reasons: list[str] = []

    async def story() -> None:
        child = Child("kamailio", [str(program)], signal.SIGTERM, restarted=reasons.append)
        stopping = asyncio.Event()
        child.start()
        task = asyncio.create_task(keep_running([child], stopping))
        try:
            program.rename(moved)
            await child.stop(5)
            message = f"kamailio cannot be started: {program}: No such file or directory; "
            await until(lambda: sum(line.startswith(message) for line in caplog.messages) == 2)
            assert not task.done()
            moved.rename(program)
            await until(lambda: child.running)
            stopping.set()
            await task
        finally:
            await child.stop(5)

    asyncio.run(story())
    waits = [line.rpartition("it starts again in ")[2] for line in caplog.messages]
    assert waits == ["0.2 s", "0.4 s", "0.8 s"]
    assert caplog.messages[0].startswith("kamailio ended (signal 15); it starts again in ")
    assert len(reasons) == 1 and reasons[0].startswith(f"kamailio cannot be started: {program}: ")


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class TimerLoop(asyncio.SelectorEventLoop):
    """An event loop that counts its timers."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = 0

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)


def test_wait_for_a_child_needs_no_timer() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TimerLoop)
        child, stopping = Child("sleep", ["sleep", "60"], signal.SIGKILL), asyncio.Event()
        child.start()
        files = open_files()
        task = asyncio.create_task(keep_running([child], stopping))
        try:
            for _ in range(10):
                await asyncio.sleep(0)
            assert (open_files(), loop.timers) == (files + 1, 0)  # the descriptor of the process
            stopping.set()
            await task
            assert open_files() == files
        finally:
            await child.stop(PATIENCE_S)

    with asyncio.Runner(loop_factory=TimerLoop) as runner:
        runner.run(story())


def test_keep_running_raises_a_bug() -> None:
    class Faulty(Child):
        def start(self) -> None:
            raise RuntimeError("a bug")

    async def story() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await keep_running([Faulty("agent", [], signal.SIGKILL)], asyncio.Event())

    with pytest.raises(ExceptionGroup) as failure:
        asyncio.run(story())
    assert failure.group_contains(RuntimeError, match="a bug")


def test_child_that_does_not_end_in_time_is_killed(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        argv = ["sh", "-c", f"trap '' TERM; touch {tmp_path}/trapped; while :; do sleep 1; done"]
        child = Child("stubborn", argv, signal.SIGKILL)
        child.start()
        await until((tmp_path / "trapped").exists)
        await child.stop(0.1)
        assert not child.running

    asyncio.run(story())
    assert "stubborn did not end in 0.1 s, and is killed" in caplog.text


LIMITS = """
import logging, resource, sys
from whence.agent.config.models import EdgeConfig
from whence.cli.service.supervisor import raise_file_limit
logging.basicConfig(level=logging.WARNING)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, int(sys.argv[1])))
raise_file_limit(EdgeConfig.model_validate({"listen": [sys.argv[2]], "connections": 1000}))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("hard", "socket", "soft", "warns"),
    [
        (4096, "tcp:192.0.2.1:5060", "2024", False),
        (512, "tcp:192.0.2.1:5060", "512", True),
        (4096, "udp:192.0.2.1:5060", "256", False),
    ],
    ids=["enough", "too-few", "udp"],
)
def test_raise_file_limit_gives_room_for_connections(
    hard: int, socket: str, soft: str, warns: bool
) -> None:
    command = [sys.executable, "-c", LIMITS, str(hard), socket]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == soft
    assert ("LimitNOFILE=2024" in done.stderr) == warns
