"""A process's connection to the agent, for reports: AF_UNIX, SOCK_SEQPACKET, never waits.

A message has one report or many. The agent answers with receipts: how many reports it has read from
this connection, as decimal digits. So the sender can count what an agent left unread when it was
killed. Each message has the count of the reports that the agent did not get before it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

QUEUE_BYTES = 1 << 20
"""The room for unread messages, with the kernel's own bytes. `net.core.wmem_max` limits it."""

RECEIPT_LIMIT = 20
"""The longest receipt, in bytes."""

RECEIPTS_EVERY = 32
"""Messages between two looks at the receipts. The kernel queues more than a hundred."""

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class ReportConnection:
    """Sends messages to the agent, and connects again after the agent has restarted.

    It connects at the first message, because no socket must cross a fork.
    """

    def __init__(self, path: Path | str) -> None:
        """`path`: the agent's socket, which may be absent."""
        self._path = str(path)
        self._socket: socket.socket | None = None
        self._messages = 0
        self._sent = 0
        self._read = 0
        self.dropped = 0
        """Reports that no agent gets. The caller writes this number into its next message."""

    def send(self, data: bytes, reports: int = 1) -> bool:
        """Send a message of that many reports, which has the number `dropped`.

        Return False where it cannot be sent: its reports count as dropped.
        """
        lost = 0
        for _ in range(2):  # once more, to an agent that has restarted
            own = self._socket or self._connect()
            if own is None:
                break
            try:
                own.send(data, _FLAGS)
            except (BrokenPipeError, ConnectionResetError):
                lost += self._abandon(own)
                continue
            except OSError:  # most likely the queue is full: no call waits for the agent
                break
            self._sent += reports + self.dropped
            self._messages += 1
            if self._messages % RECEIPTS_EVERY == 0:
                self._take_receipts(own)
            self.dropped = lost
            return True
        self.dropped += reports + lost
        return False

    def close(self) -> None:
        """Close the connection. The agent reads what is in its queue."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket | None:
        """Connect without waiting; None where no agent listens."""
        try:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return None
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE_BYTES)
            made.connect(self._path)
        except OSError:
            made.close()
            return None
        self._socket = made
        self._messages = self._sent = self._read = 0
        return made

    def _take_receipts(self, own: socket.socket) -> None:
        """Read how many reports the agent has read."""
        with suppress(OSError):  # there is no further receipt
            while receipt := own.recv(RECEIPT_LIMIT, _FLAGS):
                if receipt.isdigit():
                    self._read = int(receipt)

    def _abandon(self, own: socket.socket) -> int:
        """Close the connection to an agent that has ended. Return how many reports it left."""
        self._take_receipts(own)
        self.close()
        return max(0, self._sent - self._read)
