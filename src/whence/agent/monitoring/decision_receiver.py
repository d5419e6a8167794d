"""The neighbour edge: our end of the socket on which its workers tell their decisions."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from whence.errors import DecisionSocketError, InvalidDatagramError
from whence.ipc import decisions, notices
from whence.ipc.decisions import DecisionReport
from whence.ipc.notices import Notice

log = logging.getLogger(__name__)

AT_ONCE = 200
"""How many are read in one go: the agent has other things to do, also while a storm lasts."""


class DecisionListener(Protocol):
    """Acts on decisions of the edge. Called in the loop; it must not wait, nor raise."""

    def receive(self, report: DecisionReport, data: bytes, /) -> None:
        """The edge decided so; `data`: the datagram as it came."""


class NoticeListener(Protocol):
    """Acts on what the edge noticed of unknown sources. It must not wait, nor raise."""

    def receive(self, notice: Notice, /) -> None:
        """The edge noticed this."""


QUEUE = Path("/proc/sys/net/unix/max_dgram_qlen")

NAP_S = 0.02


def nap_s(room: int) -> float:
    """How long the agent may leave datagrams lie where the system queues `room` of them: while it
    sleeps, a tenth of them may come at a thousand calls a second. Ten, as Linux has it by itself,
    are no room; systemd sets 512.
    """
    return NAP_S if room >= 200 else 0.0


def _room() -> int:
    try:
        return int(QUEUE.read_text())
    except (OSError, ValueError):
        return 0


class DecisionReceiver:
    """Reads what the edge tells, and passes it on. Nobody else can write there: mode 0600."""

    def __init__(
        self,
        path: Path,
        listeners: Sequence[DecisionListener] = (),
        notice_listeners: Sequence[NoticeListener] = (),
        room: int | None = None,
    ) -> None:
        """Make the socket at `path`, in the place of what a former agent left; DecisionSocketError.

        `room`: how many datagrams the system queues; None: it is asked.
        """
        self._listeners = listeners
        self._notice_listeners = notice_listeners
        self._nap: asyncio.TimerHandle | None = None
        self._nap_s = nap_s(_room() if room is None else room)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.dropped = 0
        """Decisions that no worker could tell."""
        self.invalid = 0
        """Datagrams that no edge of this version has sent."""
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
        """Read from now on, in the running loop."""
        self._listen()

    def read(self) -> bool:
        """Read what is there, up to a limit; whether there was anything."""
        for number in range(AT_ONCE):
            try:
                data = self._socket.recv(65_535)
            except OSError:
                return number > 0  # there is no more
            self._receive(data)
        return True

    def _listen(self) -> None:
        """Be woken by the next datagram."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._woken)

    def _woken(self) -> None:
        """Read, and then sleep for a while, and read what has come meanwhile: a worker that tells
        somebody who listens pays for waking him, and that is the dearest part of telling.
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
        """Read no more."""
        if self._nap is not None:
            self._nap.cancel()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())

    def close(self) -> None:
        """Let it go. Its file stays: calls find that nobody listens, and go on."""
        self._socket.close()
