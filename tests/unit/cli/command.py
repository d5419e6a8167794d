"""Run the command `whence` as an operator does."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.process import beside_python
from testkit.wait import PATIENCE_S, eventually


def whence(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [beside_python("whence"), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


class Terminal:
    """The command in a terminal of its own. `screen` has all that it wrote there."""

    def __init__(
        self, *words: str | Path, columns: int = 80, lines: int = 24, **environment: str
    ) -> None:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", beside_python("whence"), *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**inherited, "TERM": "xterm", **environment},
        )
        os.close(theirs)
        self.screen = ""

    def wait_for(self, condition: Callable[[str], object]) -> None:
        """Read until the screen satisfies the condition."""
        eventually(lambda: condition(self._read()), what=f"a screen as expected: {self.screen}")

    def press(self, text: str) -> None:
        """Press keys: `\x03` is Ctrl-C."""
        os.write(self._ours, text.encode())

    def has_echo(self) -> bool:
        """Whether the terminal shows what is typed."""
        flags: int = termios.tcgetattr(self._ours)[3]
        return bool(flags & termios.ECHO)

    def end(self) -> int:
        """Wait for the end of the command; return its exit status."""
        eventually(lambda: self._read() and self.process.poll() is not None, what="the end")
        self._read()
        return self.process.returncode

    def _read(self) -> str:
        try:
            while part := os.read(self._ours, 65536):
                self.screen += part.decode()
        except OSError:  # no more now (EAGAIN), or ever: no process has the terminal (EIO)
            pass
        return self.screen

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        os.close(self._ours)
