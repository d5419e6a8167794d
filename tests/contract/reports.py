"""The agent's end of the socket to which the edge sends its decision reports."""

import socket
from contextlib import suppress

from tests.contract.scene import Scene
from whence.ipc import decisions
from whence.ipc.decisions import DecisionReport


class Agent:
    """The agent's end of the socket."""

    def __init__(self, scene: Scene) -> None:
        self._path = scene.world.books.directory.path.with_name(decisions.SOCKET_FILE)
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(5)
        self._socket.bind(str(self._path))

    def report(self) -> DecisionReport:
        return decisions.read(self._socket.recv(65535))

    def is_idle(self) -> bool:
        """Return whether no report has arrived."""
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            return not self._socket.recv(65535)
        self._socket.settimeout(5)
        return True

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)
