"""What the first agent of a `whence run` sends to that process, over a pair of sockets.

The agent reads the settings and checks that all can start. Then it sends `Prepared` with the locked
file of the state directory, and later that it is up. After each SIGHUP it sends that it has read
the file again. When it ends, the socket is closed.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import NamedTuple

_UP = b"up"
_RELOADED = b"reloaded"
_LIMIT = 4096


class Prepared(NamedTuple):
    """The settings that `whence run` needs to start and keep Kamailio."""

    decision_socket: str
    """The path of the agent's socket for reports."""
    kamailio_config: str
    """The path of kamailio.cfg, which is written and accepted."""
    trunks: int
    """The number of trunks."""
    connections: int
    """The most inbound connections of Kamailio; 0: it listens on UDP only."""
    log_format: str
    """The form of log lines: `text` or `json`."""


class RunLink:
    """The agent's end."""

    def __init__(self, fd: int) -> None:
        """`fd`: the descriptor that the agent inherited. Raises: OSError."""
        os.set_inheritable(fd, False)
        self._socket = socket.socket(fileno=fd)

    def prepared(self, prepared: Prepared, lock_fd: int) -> None:
        """Send the settings, and the descriptor that holds the lock of the state directory."""
        text = "\n".join(map(str, prepared))  # the paths have no line ends: `state_path`
        socket.send_fds(self._socket, [text.encode()], [lock_fd])

    def up(self) -> None:
        """Send that Kamailio answers and the directory can be written."""
        self._send(_UP)

    def reloaded(self) -> None:
        """Send that a SIGHUP was handled. A faulty file changed nothing, and the log has it."""
        self._send(_RELOADED)

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # `whence run` may be stopping, and read no more
            self._socket.send(message, socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


class AgentLink:
    """The end of `whence run`."""

    def __init__(self) -> None:
        self._socket, self._other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.is_up = False
        self.is_open = True
        """Whether the first agent has the other end."""
        self.lock_fd = -1
        """The descriptor that holds the lock of the state directory, until this process ends."""

    @property
    def fd(self) -> int:
        """The descriptor on which to wait for `receive`."""
        return self._socket.fileno()

    @property
    def agent_fd(self) -> int:
        """The descriptor that the agent inherits."""
        return self._other.fileno()

    def receive_prepared(self) -> Prepared | None:
        """Wait for the settings and the lock; None: the agent ended."""
        self._other.close()
        data, fds, _, _ = socket.recv_fds(self._socket, _LIMIT, 1)
        if not data or not fds:
            return None
        self.lock_fd = fds[0]
        os.set_inheritable(self.lock_fd, False)
        decision_socket, config, trunks, connections, log_format = data.decode().split("\n")
        return Prepared(decision_socket, config, int(trunks), int(connections), log_format)

    def receive(self) -> bool:
        """Receive one message. Return whether it is the end of a reload.

        `is_up` notes the first report, and `is_open` the end of the agent.
        """
        message = self._socket.recv(_LIMIT)
        self.is_up |= message == _UP
        self.is_open = bool(message)
        return message == _RELOADED

    def close(self) -> None:
        """Close this end, and the agent's if it was not inherited."""
        self._socket.close()
        self._other.close()
