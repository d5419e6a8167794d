"""Telling the agent what was decided: one datagram, sent once, and never waited for.

The socket is opened at a worker's first decision (nothing of ours crosses a fork), and belongs to
nobody: each datagram names the agent's socket by its path, so that an agent may come and go. What
cannot be sent is counted, and the count goes with the next one that can.
"""

from __future__ import annotations

import socket
from pathlib import Path

from whence.ipc import decisions


class DecisionSender:
    """The way to the agent from one worker."""

    def __init__(self, path: Path) -> None:
        """`path`: the agent's socket, which need not be there."""
        self._path = str(path)
        self._socket: socket.socket | None = None
        self._dropped = 0

    def __call__(self, said: str, method: str, call_id: str, now: float, *, known: bool) -> None:
        """Tell one decision; `said` is what `told.lasting` wrote down of it."""
        data = decisions.message(said, method, call_id, now, known=known, dropped=self._dropped)
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(data, self._path)
        except OSError:  # full, nobody listens, nothing there: no call waits for that
            self._dropped += 1
        else:
            self._dropped = 0

    def close(self) -> None:
        """Let the socket go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
