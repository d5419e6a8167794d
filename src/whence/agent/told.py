"""The neighbour edge: our end of the socket on which its workers tell their decisions."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from whence.core import told
from whence.core.told import Told

log = logging.getLogger(__name__)

AT_ONCE = 200
"""How many are read in one go: the agent has other things to do, also while a storm lasts."""

Ear = Callable[[Told, bytes], None]
"""Who hears of a decision: what was told, and the datagram as it came."""


class ToldError(Exception):
    """The socket cannot be made; the message says what to do."""


class Hearing:
    """Reads what the edge tells, and passes it on. Nobody else can write there: mode 0600."""

    def __init__(self, path: Path) -> None:
        """Make the socket at `path`, in the place of what a former agent left; ToldError."""
        self._ears: Sequence[Ear] = ()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.dropped = 0
        """Decisions that no worker could tell."""
        self.unreadable = 0
        """Datagrams that no edge of this version has sent."""
        try:
            path.unlink(missing_ok=True)
            self._socket.setblocking(False)
            self._socket.bind(str(path))
            path.chmod(0o600)
        except OSError as error:
            self._socket.close()
            raise ToldError(
                f"the socket {path} cannot be made: {error.strerror or error}; remove what is in "
                "its place, or name another agent state"
            ) from None

    def start(self, ears: Sequence[Ear]) -> None:
        """Read from now on, in the running loop."""
        self._ears = ears
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self.read)

    def read(self) -> None:
        """Read what is there, up to a limit; the loop calls again while there is more."""
        for _ in range(AT_ONCE):
            try:
                data = self._socket.recv(65_535)
            except OSError:
                return  # there is no more
            self._hear(data)

    def _hear(self, data: bytes) -> None:
        try:
            heard = told.read(data)
        except told.UnreadableError as error:
            self.unreadable += 1
            if self.unreadable == 1:
                log.warning("told what cannot be read (%s); is Kamailio of this version?", error)
            return
        self.dropped += heard.dropped
        for ear in self._ears:
            ear(heard, data)

    def stop(self) -> None:
        """Read no more."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())

    def close(self) -> None:
        """Let it go. Its file stays: calls find that nobody listens, and go on."""
        self._socket.close()
