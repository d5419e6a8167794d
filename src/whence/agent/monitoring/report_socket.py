"""The agent's socket for reports, and its connections, as one descriptor that becomes readable.

Its mode 0600 excludes other users. A second check is that of the peer's user, by the kernel's word.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from whence.errors import DecisionSocketError
from whence.trust.paths import root_and_us, user_name

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Processes that connect while the agent sleeps. `net.core.somaxconn` limits it."""

MESSAGE_BYTES = 65_536
"""Room for the longest message."""

BYTES_AT_ONCE = 65_536
"""How much is read of one connection in one turn, so that a storm does not block the agent."""

_CREDENTIALS = struct.Struct("iII")
"""SO_PEERCRED: pid, uid, gid."""


class Connection:
    """One connection of a process that reports."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._confirmed = 0
        self.has_ended = False
        """Whether the peer has closed it, and all is read."""
        self.has_more = False
        """Whether the last turn may have left messages in the queue."""

    def messages(self) -> Iterator[bytes]:
        """Read the queued messages of one turn."""
        size = 0
        while size < BYTES_AT_ONCE:
            try:
                data = self._socket.recv(MESSAGE_BYTES)
            except ConnectionResetError:  # the peer left a receipt unread
                continue
            except OSError:
                self.has_more = False  # the queue is empty
                return
            if not data:
                self.has_more, self.has_ended = False, True
                return
            size += len(data)
            yield data
        self.has_more = True

    def confirm(self, reports: int) -> None:
        """Send a receipt for that many further reports. A peer that has ended needs none."""
        self._confirmed += reports
        with suppress(OSError):
            self._socket.send(b"%d" % self._confirmed, socket.MSG_NOSIGNAL)

    def refuse_more(self) -> None:
        """Let the peer send nothing more. What it has sent can be read."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class ReportSocket:
    """The listening socket and its connections."""

    def __init__(self, path: Path) -> None:
        """Make the socket at `path`. This replaces the socket of a former agent.

        Raises: DecisionSocketError.
        """
        self._connections: dict[int, Connection] = {}
        self.refused = 0
        """Connections of other users."""
        self._epoll = select.epoll()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            path.unlink(missing_ok=True)
            self._listening.setblocking(False)
            self._listening.bind(str(path))
            path.chmod(0o600)
            self._listening.listen(BACKLOG)  # after chmod: before it no process can connect
        except OSError as error:
            self.close()
            raise DecisionSocketError(
                f"the socket {path} cannot be made: {error.strerror or error}; remove what is in "
                "its place, or name another agent state_dir"
            ) from None
        self._epoll.register(self._listening, select.EPOLLIN)

    def fileno(self) -> int:
        """Return a descriptor that is readable while a process connects or a message waits."""
        return self._epoll.fileno()

    def ready(self) -> list[Connection]:
        """Accept the processes that connect, and return the connections with messages."""
        events = dict(self._epoll.poll(0))
        if self._listening.fileno() in events:
            del events[self._listening.fileno()]
            events |= dict.fromkeys(self._accept(), select.EPOLLIN)
        return [self._connections[number] for number in events]

    def remove_ended(self) -> None:
        """Close the connections that have ended."""
        for number, one in list(self._connections.items()):
            if one.has_ended:
                one.close()
                del self._connections[number]

    def refuse_more(self) -> None:
        """Accept no further process and no further message. What was sent can be read."""
        self._accept()
        self._epoll.unregister(self._listening)
        self._listening.close()
        for one in self._connections.values():
            one.refuse_more()

    def close(self) -> None:
        """Close all. The file stays: a process that connects is refused at once."""
        for one in self._connections.values():
            one.close()
        self._connections.clear()
        self._listening.close()
        self._epoll.close()

    def _accept(self) -> list[int]:
        """Accept all processes that connect. Return their descriptors."""
        accepted = []
        with suppress(OSError):  # none is left, or the agent has too many files open
            while True:
                connected, _ = self._listening.accept()
                if self._is_trusted(connected):
                    connected.setblocking(False)
                    number = connected.fileno()
                    self._connections[number] = Connection(connected)
                    self._epoll.register(number, select.EPOLLIN)
                    accepted.append(number)
                else:
                    connected.close()
        return accepted

    def _is_trusted(self, connected: socket.socket) -> bool:
        """Return whether the peer is root's or our own process."""
        credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, user, _ = _CREDENTIALS.unpack(credentials)
        if user in root_and_us():
            return True
        self.refused += 1
        if self.refused == 1:
            log.warning(
                "reports of process %d are refused: it runs as user %s; run Kamailio and the agent "
                "as one user",
                pid,
                user_name(user),
            )
        return False
