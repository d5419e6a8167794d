"""What the first agent of a `whence run` sends to that process, over a pair of sockets.

The agent reads the settings and checks that all can start. Then it sends `Prepared` with the locked
file of the state directory, and later that it is up. If it ends before, the socket is closed.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import NamedTuple

_UP = b"up"
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
        """Send that Kamailio answers and the directory can be written. Close the link."""
        with suppress(OSError):  # `whence run` may be stopping, and read no more
            self._socket.send(_UP)
        self.close()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


class AgentLink:
    """The end of `whence run`."""

    def __init__(self) -> None:
        self._socket, self._other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.is_up = False
        self.lock_fd = -1
        """The descriptor that holds the lock of the state directory, until this process ends."""

    @property
    def fd(self) -> int:
        """The descriptor on which to wait for `receive_up`."""
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
        decision_socket, kamailio_config, trunks, connections = data.decode().split("\n")
        return Prepared(decision_socket, kamailio_config, int(trunks), int(connections))

    def receive_up(self) -> None:
        """Note in `is_up` whether the agent is up; without a message it has ended."""
        self.is_up = self._socket.recv(_LIMIT) == _UP

    def close(self) -> None:
        """Close this end, and the agent's if it was not inherited."""
        self._socket.close()
        self._other.close()
