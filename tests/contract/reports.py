"""The agent's end of the socket to which the edge sends its decision reports."""

import selectors
import socket
import struct
from collections import Counter, deque
from contextlib import suppress
from typing import Protocol

from testkit.wait import PATIENCE_S
from tests.contract.world import World
from whence.core.monitoring.call_progress import CallEvent
from whence.ipc import call_events, decisions, notices
from whence.ipc.decisions import DecisionReport

_PEER = (socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))


class HasWorld(Protocol):
    """A scene, or another part of a world."""

    @property
    def world(self) -> World:
        """The world whose edge reports."""


class Agent:
    """The agent's end of the socket, which all workers connect to."""

    def __init__(self, scene: HasWorld) -> None:
        self._path = scene.world.books.directory.path.with_name(decisions.SOCKET_FILE)
        self._path.unlink(missing_ok=True)
        self._selector = selectors.DefaultSelector()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listening.bind(str(self._path))
        self._listening.listen()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._reports: deque[tuple[int, DecisionReport]] = deque()
        self._read_of: Counter[int] = Counter()
        """Descriptor of a connection → how many reports it accounted for."""
        self.sender = 0
        """The process that sent the last report."""
        self.dropped = 0
        """The reports that the edge counted as dropped."""
        self.events: list[CallEvent] = []
        """What became of calls."""

    def report(self) -> DecisionReport:
        """Return the next report, and wait for it."""
        while not self._reports:
            assert self._read(PATIENCE_S), "no report of the edge"
        self.sender, report = self._reports.popleft()
        return report

    def is_idle(self) -> bool:
        """Return whether no report has arrived."""
        while self._read(0):
            pass
        return not self._reports

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        self._path.unlink(missing_ok=True)

    def _read(self, within_s: float) -> bool:
        """Read one message of each connection that has one; return whether any had one."""
        ready = self._selector.select(within_s)
        for key, _ in ready:
            own = key.fileobj
            assert isinstance(own, socket.socket)
            if own is self._listening:
                self._selector.register(own.accept()[0], selectors.EVENT_READ)
            elif data := own.recv(65535):
                if data.startswith(notices.PREFIX):
                    continue
                dropped, records = decisions.split(data)
                self.dropped += dropped
                self._read_of[own.fileno()] += dropped + len(records)
                with suppress(BlockingIOError):  # the edge reads receipts from time to time
                    own.send(b"%d" % self._read_of[own.fileno()], socket.MSG_DONTWAIT)
                pid, *_ = struct.unpack("3i", own.getsockopt(*_PEER))
                self._reports.extend(
                    (pid, decisions.read(record))
                    for record in records
                    if not call_events.is_event(record)
                )
                self.events += [call_events.read(r) for r in records if call_events.is_event(r)]
            else:
                self._selector.unregister(own)
                del self._read_of[own.fileno()]
                own.close()
        return bool(ready)
