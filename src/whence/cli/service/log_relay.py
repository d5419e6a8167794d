"""The standard error of Kamailio, shown line by line, and what only it reports."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO

from whence.agent.runtime import log_form
from whence.cli.service.event_loop import EventLoop, Timer
from whence.core.protection.kamailio_log import WINDOW_S, LogFilter, level_of
from whence.core.text import escape_untrusted

LINE_LIMIT = 65_536
"""Bytes of a line of Kamailio's log. A longer one is shown in parts."""


class _Members:
    """The members of a process group, with those that have ended since they were seen."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._seen: set[int] = {group}

    def __call__(self, pid: int) -> bool:
        if pid not in self._seen:
            try:
                if os.getpgid(pid) != self._group:
                    return False
            except ProcessLookupError:
                return False
            self._seen.add(pid)
        return True


class LogRelay:
    """Relays the standard error of another process, each line after the name of the process.

    Kamailio logs texts of unknown sources unchanged. Such a text may hold line ends, words like
    those of another program's log, and control characters. `kamailio_log.py` says which lines are
    left out and counted.
    """

    def __init__(
        self,
        name: str,
        pipe: IO[bytes],
        loop: EventLoop,
        group: int | None = None,
        unreadable: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        """Start relaying while `loop` runs.

        `group`: the process group that writes; None: any process. `unreadable` receives the
        sources of messages that only the log mentions.
        """
        self._name, self._pipe, self._loop, self._rest = name, pipe, loop, b""
        self._filter = LogFilter() if group is None else LogFilter(_Members(group))
        self._unreadable = unreadable or (lambda _: None)
        self._due: Timer | None = None
        os.set_blocking(pipe.fileno(), False)
        self._loop.add_reader(pipe.fileno(), self._read)

    def _read(self) -> bool:
        """Show the lines that the pipe has; return whether it may have more."""
        try:
            data = os.read(self._pipe.fileno(), LINE_LIMIT)
        except BlockingIOError:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= LINE_LIMIT or not data:
            lines, self._rest = [*lines, self._rest], b""
        now = time.monotonic()
        for line in filter(None, lines):
            shown = self._filter.shown(line, now)
            if shown is not None:
                text = escape_untrusted(shown.decode("utf-8", "backslashreplace"))
                self._show(text, level_of(line))
        self._show_left_out()
        if self._filter.unreadable:
            self._unreadable(self._filter.unreadable)
            self._filter.unreadable.clear()
        if not data:
            self._loop.remove_reader(self._pipe.fileno())
        return bool(data)

    def _show_left_out(self) -> None:
        for text in self._filter.over(time.monotonic()):
            self._show(text)
        if self._due is None:
            self._due = self._loop.call_later(WINDOW_S, self._window_over)

    def _window_over(self) -> None:
        self._due = None
        for text in self._filter.over(time.monotonic()):
            self._show(text)

    def _show(self, text: str, level: str = "WARNING") -> None:
        shown = log_form.line(self._name, level, text.lstrip(), has_head=False)
        print(shown, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Show the rest of the pipe. Its writers have ended."""
        while self._read():
            pass
        if self._due is not None:
            self._due.cancel()
        self._loop.remove_reader(self._pipe.fileno())
        self._pipe.close()
