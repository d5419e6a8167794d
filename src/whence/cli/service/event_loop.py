"""A loop that waits for descriptors, instants and signals, for the process of `whence run`.

That process lives as long as the node, and does almost nothing. asyncio would take half of its
memory.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import time
from collections.abc import Callable
from itertools import count


class Timer:
    """A call at an instant of the steady clock. `cancel` it, or let it happen once."""

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at = at
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Call nothing. A call that has happened is not undone."""
        self.callback = None


class EventLoop:
    """Calls back for descriptors, instants and signals while `run_until` runs."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Callable[[], object]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._ties = count()
        self._signals: dict[int, Callable[[], object]] = {}

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Call back while a descriptor has something to read, or its other end is closed."""
        self._readers[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def remove_reader(self, fd: int) -> None:
        """Stop that. A descriptor without a reader is ignored."""
        if self._readers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call back once after a delay."""
        timer = Timer(time.monotonic() + delay_s, callback)
        heapq.heappush(self._timers, (timer.at, next(self._ties), timer))
        return timer

    def on_signal(self, number: signal.Signals, callback: Callable[[], object]) -> None:
        """Call back in the loop after each signal of this number, also after a blocked one."""
        if not self._signals:
            reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            self.add_reader(reading, lambda: self._read_signals(reading))
        self._signals[number] = callback
        signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})

    def run_until(self, done: Callable[[], bool], within_s: float | None = None) -> bool:
        """Call back until `done` returns True, for `within_s` at most. Return its last result.

        An exception of a callback is raised here.
        """
        until = None if within_s is None else time.monotonic() + within_s
        while not done():
            now = time.monotonic()
            if until is not None and now >= until:
                return False
            instants = [at for at in (until, self._next_at()) if at is not None]
            # Rounded up: a wait that ends before the instant would be followed by another one.
            wait_ms = max(0, int((min(instants) - now) * 1000) + 1) if instants else None
            for fd, _ in self._poll.poll(wait_ms):
                if callback := self._readers.get(fd):  # an earlier callback may remove it
                    callback()
            self._call_due()
        return True

    def _next_at(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _call_due(self) -> None:
        now = time.monotonic()
        while (at := self._next_at()) is not None and at <= now:
            _, _, timer = heapq.heappop(self._timers)
            if callback := timer.callback:
                callback()

    def _read_signals(self, reading: int) -> None:
        try:
            numbers = os.read(reading, 64)
        except BlockingIOError:
            return
        for number in numbers:
            if callback := self._signals.get(number):
                callback()
