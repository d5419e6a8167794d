"""The loop of `whence run` calls back for descriptors, instants and signals, and else sleeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from testkit.wait import PATIENCE_S
from whence.cli.service.event_loop import EventLoop


@pytest.fixture
def loop() -> EventLoop:
    return EventLoop()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_run_until_returns_when_it_is_done(loop: EventLoop) -> None:
    assert loop.run_until(lambda: True)
    assert not loop.run_until(lambda: False, 0.01)


def test_reader_is_called_when_a_byte_comes(loop: EventLoop, pipe: tuple[int, int]) -> None:
    came: list[bytes] = []
    loop.add_reader(pipe[0], lambda: came.append(os.read(pipe[0], 10)))
    os.write(pipe[1], b"here")
    assert loop.run_until(lambda: bool(came), PATIENCE_S)
    assert came == [b"here"]


def test_removed_reader_is_not_called(loop: EventLoop, pipe: tuple[int, int]) -> None:
    loop.add_reader(pipe[0], lambda: pytest.fail("called"))
    loop.remove_reader(pipe[0])
    loop.remove_reader(pipe[0])
    os.write(pipe[1], b"here")
    assert not loop.run_until(lambda: False, 0.01)


def test_timers_are_called_in_their_order(loop: EventLoop) -> None:
    called: list[str] = []
    loop.call_later(0.02, lambda: called.append("late"))
    loop.call_later(0.01, lambda: called.append("early"))
    loop.call_later(0.01, lambda: called.append("cancelled")).cancel()
    assert loop.run_until(lambda: len(called) == 2, PATIENCE_S)
    assert called == ["early", "late"]


def test_exception_of_a_callback_is_raised(loop: EventLoop) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    loop.call_later(0, fail)
    with pytest.raises(RuntimeError, match="a bug"):
        loop.run_until(lambda: False, PATIENCE_S)


SIGNALS = """
import os, signal, sys
from whence.cli.service.event_loop import EventLoop
came = []
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
os.kill(os.getpid(), signal.SIGHUP)
loop = EventLoop()
loop.on_signal(signal.SIGHUP, lambda: came.append("hup"))
loop.on_signal(signal.SIGTERM, lambda: came.append("term"))
assert loop.run_until(lambda: came == ["hup"], float(sys.argv[1])), came
loop.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGTERM))
assert loop.run_until(lambda: came == ["hup", "term"], float(sys.argv[1])), came
"""


def test_signals_are_called_back_also_blocked_ones() -> None:
    """In a process of its own: a wake-up descriptor belongs to the whole process."""
    before = signal.getsignal(signal.SIGHUP)
    command = [sys.executable, "-c", SIGNALS, str(PATIENCE_S)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert signal.getsignal(signal.SIGHUP) is before
