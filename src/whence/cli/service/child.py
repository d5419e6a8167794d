"""One supervised process, which is restarted with exponential backoff when it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from whence.agent.runtime import sighup
from whence.cli.service import console
from whence.cli.service.event_loop import EventLoop, Timer
from whence.cli.service.log_relay import LogRelay
from whence.errors import OperatorError

RESTART_FIRST_S = 0.2
RESTART_LIMIT_S = 30.0
SETTLED_S = 60.0
"""After a process ran this long, its next wait is the first, short one."""

_PR_SET_PDEATHSIG = 1


class Child:
    """One supervised process, the leader of its own group."""

    def __init__(
        self,
        name: str,
        command: list[str],
        parent_death_signal: signal.Signals,
        loop: EventLoop,
        *,
        quoted: bool = False,
        unreadable: Callable[[Sequence[str]], None] | None = None,
        restarted: Callable[[str], None] | None = None,
    ) -> None:
        """`parent_death_signal`: the kernel sends it to the child when this process ends.

        `quoted`: its lines are shown after its name, and their control characters as escapes.
        `unreadable`: see `LogRelay`. `restarted` is called with the reason of each restart.
        """
        self.name = name
        self._loop = loop
        self._unreadable = unreadable
        self._restarted = restarted or (lambda _: None)
        self._quoted = quoted
        self._relay: LogRelay | None = None
        self._command = command
        self._parent_death_signal = parent_death_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._started_at = 0.0
        self._kept = False
        self._wait_s = RESTART_FIRST_S
        self._restart: Timer | None = None

    @property
    def pid(self) -> int:
        """The id of the process; 0 if it was not started."""
        return 0 if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """The status with which it ended, negative for a signal; None: it runs."""
        return None if self._process is None else self._process.poll()

    def start(self, further: Sequence[str] = (), fds: Sequence[int] = ()) -> None:
        """Start the process, with our standard output and error.

        `further`: arguments of this start only. `fds`: descriptors that it inherits.
        Raises: OperatorError.
        """
        self._show_rest()
        self._process = None  # the pid of one that ended may belong to another process now
        self._started_at = time.monotonic()
        try:
            self._process = subprocess.Popen(
                [*self._command, *further],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE if self._quoted else None,
                start_new_session=True,
                pass_fds=fds,
                preexec_fn=_before_exec(self._parent_death_signal),  # noqa: PLW1509 - no threads
            )
        except OSError as error:
            raise OperatorError(
                f"{self.name} cannot be started: {self._command[0]}: {error.strerror}; install it, "
                "and let this user run it"
            ) from error
        self._pidfd = os.pidfd_open(self._process.pid)  # not reaped, so the pid is its own
        self._loop.add_reader(self._pidfd, self._ended)
        if self._process.stderr is not None:
            stderr, group = self._process.stderr, self._process.pid
            self._relay = LogRelay(self.name, stderr, self._loop, group, self._unreadable)

    def keep(self) -> None:
        """Restart the process from now on, each time it ends, with exponential backoff.

        A start that fails counts as an end. A program is absent during its upgrade; memory may be
        short for a while.
        """
        self._kept = True
        if not self.running:
            self._ended()

    def release(self) -> None:
        """Restart the process no more."""
        self._kept = False
        if self._restart is not None:
            self._restart.cancel()

    def stop(self, within_s: float) -> None:
        """End the process with SIGTERM, and kill its group after `within_s`."""
        self.release()
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
            if not self._loop.run_until(lambda: not self.running, within_s):
                console.warning(f"{self.name} did not end in {within_s:g} s, and is killed")
        self._end_group()
        self._process.wait()
        self._close_pidfd()
        self._show_rest()

    def send_sighup(self) -> None:
        """Pass SIGHUP on: the process reads its file again."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGHUP)

    def _ended(self) -> None:
        self._close_pidfd()
        status = self.exit_status
        self._end_group()
        if self._kept:
            self._restart_later(f"{self.name} ended{_in_words(status)}")

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _restart_later(self, reason: str) -> None:
        if time.monotonic() - self._started_at > SETTLED_S:
            self._wait_s = RESTART_FIRST_S
        console.warning(f"{reason}; it starts again in {self._wait_s:.1f} s")
        self._restart = self._loop.call_later(self._wait_s, lambda: self._start_again(reason))
        self._wait_s = min(self._wait_s * 2, RESTART_LIMIT_S)

    def _start_again(self, reason: str) -> None:
        try:
            self.start()
        except OperatorError as error:
            self._restart_later(str(error))
        else:
            self._restarted(reason)

    def _show_rest(self) -> None:
        if self._relay is not None:
            self._relay.close()
            self._relay = None

    def _end_group(self) -> None:
        """Kill the rest of the process group: Kamailio's workers outlive a killed parent."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _in_words(status: int | None) -> str:
    """Return how a process ended, in brackets; an empty text if it was not started."""
    if status is None:
        return ""
    return f" (signal {-status})" if status < 0 else f" (exit status {status})"


def _before_exec(parent_death_signal: signal.Signals) -> Callable[[], None]:
    """Return what a child does before it runs its program."""
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        sighup.block()  # this process receives SIGHUP, and passes it on when the child can read it
        libc.prctl(_PR_SET_PDEATHSIG, int(parent_death_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the line above
            os._exit(1)

    return prepare
