"""One child process with its log, which leaves nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from testkit.wait import PATIENCE_S, eventually

MARK = "WHENCE_RIG_PROCESS"

_ENDED = ("", "Z", "X")


class Process:
    """A started child. Its log has standard output and error of all its lives.

    Nothing stays behind, in three ways. The child gets SIGTERM when the thread that started it
    dies (setpriv, so that no code of ours runs between fork and exec). It leads a session of its
    own. And its environment bears a mark that each descendant inherits, because a daemon may leave
    the session, and Kamailio's workers live on after a SIGKILL of their main process.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        log_file: Path,
        *,
        out_file: Path | None = None,
        env: Mapping[str, str] | None = None,
        stop_within_s: float = 10,
    ) -> None:
        """Start it. With *out_file* the log has standard error only, and that file the rest."""
        self.name = name
        self.log_file = log_file
        self._stop_within_s = stop_within_s
        self._mark = uuid4().hex
        with log_file.open("ab") as log, (out_file or log_file).open("ab") as out:
            self._child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *map(str, argv)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env={**os.environ, **(env or {}), MARK: self._mark},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id (setpriv becomes the program, it is no process between)."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child itself lives. Its descendants are not asked."""
        return self._child.poll() is None

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._child.poll()

    @property
    def log(self) -> str:
        """All that the child and its descendants said."""
        return self.log_file.read_text("utf-8", "replace")

    def wait(self, within_s: float = PATIENCE_S) -> int:
        """Wait for the child to end by itself, and return its exit status."""
        try:
            return self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not end within {within_s:g} s; its log:\n{self.log}"
            ) from None

    def signal(self, number: signal.Signals) -> None:
        """Signal the child alone, if it runs; descendants fare as the program arranges."""
        self._child.send_signal(number)

    def stop(self) -> int:
        """SIGTERM, a while to end well, then SIGKILL for whatever is left. Return exit status."""
        if self.running:
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(self._stop_within_s)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL the child and all its descendants, at once. Return its exit status."""
        self._child.kill()
        status = self._child.wait()
        for pid in self.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self.descendants(), what=f"the end of what {self.name} started")
        return status

    def descendants(self) -> list[int]:
        """Return all living processes that descend from the child, adopted orphans too."""
        return [pid for pid in _living() if pid != self.pid and self._owns(pid)]

    def _owns(self, pid: int) -> bool:
        try:
            if os.getsid(pid) == self.pid:
                return True
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"{MARK}={self._mark}".encode() in environment.split(b"\0")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def parent(pid: int) -> int:
    """Return the process id of *pid*'s parent; 0 for one gone."""
    return int(_stat(pid)[1] or 0)


def children(pid: int) -> list[int]:
    """Return the living direct children of *pid*."""
    return [child for child in _living() if parent(child) == pid]


def program(pid: int) -> str:
    """Return the name of the program that *pid* runs, 15 characters of it; "" for one gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def command_line(pid: int) -> list[str]:
    """Return the arguments *pid* was started with; nothing for one that is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode("utf-8", "replace").rstrip("\0").split("\0")


def cpu_s(pid: int) -> float:
    """Return the CPU time, user and system, that *pid* has used; its children not counted."""
    user, system = _stat(pid)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    """Whether *pid* is a process that is no zombie.

    One whose first thread has ended is not yet one: the others hold its sockets until they end too.
    """
    if _stat(pid)[0] not in _ENDED:
        return True
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 (as below)
    except OSError:
        return False
    return any(_stat(pid, int(thread))[0] not in _ENDED for thread in threads)


def beside_python(program: str) -> Path:
    """Return the path of a program of this interpreter's virtual environment."""
    return Path(sys.executable).with_name(program)


def _living() -> Iterator[int]:
    for entry in os.listdir("/proc"):  # noqa: PTH208 (a thousand Path objects a look)
        if entry.isdecimal() and alive(int(entry)):
            yield int(entry)


def _stat(pid: int, thread: int | None = None) -> list[str]:
    """Return /proc/PID/stat, or a thread's, from the state on: state, parent, group, session, …"""
    of = f"{pid}" if thread is None else f"{pid}/task/{thread}"
    try:
        line = Path(f"/proc/{of}/stat").read_text("utf-8", "replace")
    except OSError:
        return [""] * 50
    return line.rpartition(")")[2].split()
