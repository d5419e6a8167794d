"""Receives datagrams: decision reports and notices of the edge, restarts of `whence run`."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from whence.errors import DecisionSocketError, InvalidDatagramError
from whence.ipc import decisions, notices, restarts
from whence.ipc.decisions import DecisionReport
from whence.ipc.notices import Notice

log = logging.getLogger(__name__)

AT_ONCE = 200
"""How many datagrams are read in one turn, so that a storm does not block the agent."""


class DecisionListener(Protocol):
    """Acts on decisions of the edge. Called in the loop; it must not wait, nor raise."""

    def receive(self, report: DecisionReport, data: bytes, /) -> None:
        """Act on a decision of the edge. `data` is the datagram of the report."""


class NoticeListener(Protocol):
    """Acts on notices of the edge. Called in the loop; it must not wait, nor raise."""

    def receive(self, notice: Notice, /) -> None:
        """Act on a notice of the edge."""


class RestartListener(Protocol):
    """Acts on restarts of Kamailio. Called in the loop; it must not wait, nor raise."""

    def kamailio_restarted(self, reason: str, /) -> None:
        """Act on a restart. `reason` says how Kamailio ended before."""


QUEUE = Path("/proc/sys/net/unix/max_dgram_qlen")

NAP_S = 0.02


def nap_s(room: int) -> float:
    """Return how long the agent may sleep where the system queues `room` datagrams.

    At a thousand calls a second, 20 datagrams arrive in `NAP_S`, a tenth of 200. Linux queues 10 by
    default, which is too few to sleep; systemd sets 512.
    """
    return NAP_S if room >= 200 else 0.0


def _room() -> int:
    try:
        return int(QUEUE.read_text())
    except (OSError, ValueError):
        return 0


class DecisionReceiver:
    """Reads datagrams of the edge, and passes them on. Its mode 0600 excludes other users."""

    def __init__(
        self,
        path: Path,
        listeners: Sequence[DecisionListener] = (),
        notice_listeners: Sequence[NoticeListener] = (),
        restart_listeners: Sequence[RestartListener] = (),
        room: int | None = None,
    ) -> None:
        """Make the socket at `path`. This replaces the socket of a former agent.

        `room` is how many datagrams the system queues; None reads it from the system.
        Raises: DecisionSocketError.
        """
        self._listeners = listeners
        self._notice_listeners = notice_listeners
        self._restart_listeners = restart_listeners
        self.kamailio_restarts = 0
        """Restarts of Kamailio that `whence run` reported."""
        self._nap: asyncio.TimerHandle | None = None
        self._nap_s = nap_s(_room() if room is None else room)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.dropped = 0
        """Reports that the workers dropped."""
        self.invalid = 0
        """Datagrams that are no report or notice of this version."""
        try:
            path.unlink(missing_ok=True)
            self._socket.setblocking(False)
            self._socket.bind(str(path))
            path.chmod(0o600)
        except OSError as error:
            self._socket.close()
            raise DecisionSocketError(
                f"the socket {path} cannot be made: {error.strerror or error}; remove what is in "
                "its place, or name another agent state_dir"
            ) from None

    def start(self) -> None:
        """Start to read in the running loop."""
        self._listen()

    def read(self) -> bool:
        """Read the queued datagrams, `AT_ONCE` at most. Return whether there were any."""
        for number in range(AT_ONCE):
            try:
                data = self._socket.recv(65_535)
            except OSError:
                return number > 0  # the queue is empty
            self._receive(data)
        return True

    def _listen(self) -> None:
        """Wake up at the next datagram."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._woken)

    def _woken(self) -> None:
        """Read, and then sleep for `NAP_S` before the next read.

        To wake a sleeping reader is the most expensive part of a worker's send.
        """
        loop = asyncio.get_running_loop()
        self.read()
        if self._nap_s > 0:
            loop.remove_reader(self._socket.fileno())
            self._nap = loop.call_later(self._nap_s, self._slept)

    def _slept(self) -> None:
        if self.read():
            self._nap = asyncio.get_running_loop().call_later(self._nap_s, self._slept)
        else:
            self._listen()

    def _receive(self, data: bytes) -> None:
        try:
            if data.startswith(notices.PREFIX):
                notice = notices.read(data)
                for notice_listener in self._notice_listeners:
                    notice_listener.receive(notice)
                return
            if data.startswith(restarts.PREFIX):
                reason = restarts.read(data)
                self.kamailio_restarts += 1
                for restart_listener in self._restart_listeners:
                    restart_listener.kamailio_restarted(reason)
                return
            report = decisions.read(data)
        except InvalidDatagramError as error:
            self.invalid += 1
            if self.invalid == 1:
                log.warning("invalid decision report (%s); is Kamailio of this version?", error)
            return
        self.dropped += report.dropped
        for listener in self._listeners:
            listener.receive(report, data)

    def stop(self) -> None:
        """Stop to read."""
        if self._nap is not None:
            self._nap.cancel()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())

    def close(self) -> None:
        """Close the socket. Its file stays: the workers drop their reports, and calls continue."""
        self._socket.close()
