"""A child process with its log. When it ends, none of its descendants stays."""

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

VARIABLE = "WHENCE_RIG_PROCESS"

AS_OURSELVES = {"WHENCE_USER": "root"} if os.geteuid() == 0 else {}
"""The environment in which `whence run` stays root: no other user may read our virtual environment.
A test may set another user."""

_ENDED = ("", "Z", "X")


class Process:
    """A started child. Its log has standard output and error; a restart appends to it.

    Three means find all descendants. The child gets SIGTERM when the thread that started it dies.
    `setpriv` arranges that, because no Python code may run between fork and exec. The child leads a
    session of its own. Its environment has a variable that each descendant inherits. A daemon may
    leave the session, and Kamailio's workers survive a SIGKILL of their main process.
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
        """Start it. With *out_file* the log has standard error only, and that file the output."""
        self.name = name
        self.log_file = log_file
        self._stop_within_s = stop_within_s
        self._id = uuid4().hex
        with log_file.open("ab") as log, (out_file or log_file).open("ab") as out:
            self._child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *map(str, argv)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env={**AS_OURSELVES, **os.environ, **(env or {}), VARIABLE: self._id},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id; `setpriv` replaces itself with the program."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child itself lives; descendants do not count."""
        return self._child.poll() is None

    @property
    def exit_status(self) -> int | None:
        """The exit status: None while it runs, negative for the signal that ended it."""
        return self._child.poll()

    @property
    def log(self) -> str:
        """The whole log of the child and its descendants."""
        return self.log_file.read_text("utf-8", "replace")

    def wait(self, within_s: float = PATIENCE_S) -> int:
        """Wait until the child ends by itself, and return its exit status."""
        try:
            return self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not end within {within_s:g} s; its log:\n{self.log}"
            ) from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child alone, if it runs."""
        self._child.send_signal(number)

    def stop(self) -> int:
        """Send SIGTERM, wait, and kill what is left. Return the exit status."""
        if self.running:
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(self._stop_within_s)
        return self.kill()

    def kill(self) -> int:
        """Send SIGKILL to the child and all its descendants. Return its exit status."""
        self._child.kill()
        status = self._child.wait()
        for pid in self.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self.descendants(), what=f"the end of all processes of {self.name}")
        return status

    def descendants(self) -> list[int]:
        """Return the pids of all living descendants of the child, orphans too."""
        return [pid for pid in _living() if pid != self.pid and self._owns(pid)]

    def _owns(self, pid: int) -> bool:
        try:
            if os.getsid(pid) == self.pid:
                return True
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"{VARIABLE}={self._id}".encode() in environment.split(b"\0")

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
    """Return the parent of *pid*; 0 if the process has ended."""
    return int(_stat(pid)[1] or 0)


def children(pid: int) -> list[int]:
    """Return the living children of *pid*."""
    return [child for child in _living() if parent(child) == pid]


def program(pid: int) -> str:
    """Return the first 15 characters of the name of *pid*'s program; "" if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def command_line(pid: int) -> list[str]:
    """Return the command line of *pid*; an empty list if it has ended."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode("utf-8", "replace").rstrip("\0").split("\0")


def cpu_s(pid: int) -> float:
    """Return the CPU time of *pid*, user and system, without its children."""
    user, system = _stat(pid)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    """Return whether *pid* is a process and not a zombie.

    A process whose first thread has ended is alive: its other threads keep its sockets.
    """
    if _stat(pid)[0] not in _ENDED:
        return True
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 (as below)
    except OSError:
        return False
    return any(_stat(pid, int(thread))[0] not in _ENDED for thread in threads)


def beside_python(program: str) -> Path:
    """Return the path of a program in this interpreter's virtual environment."""
    return Path(sys.executable).with_name(program)


def _living() -> Iterator[int]:
    for entry in os.listdir("/proc"):  # noqa: PTH208 (it makes a thousand Path objects)
        if entry.isdecimal() and alive(int(entry)):
            yield int(entry)


def _stat(pid: int, thread: int | None = None) -> list[str]:
    """Return the fields of /proc/PID/stat, or of a thread's, from the state on."""
    of = f"{pid}" if thread is None else f"{pid}/task/{thread}"
    try:
        line = Path(f"/proc/{of}/stat").read_text("utf-8", "replace")
    except OSError:
        return [""] * 50
    return line.rpartition(")")[2].split()
