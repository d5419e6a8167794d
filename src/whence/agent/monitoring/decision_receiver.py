"""Receives messages: decision reports and notices of the edge, restarts of `whence run`.

The agent sleeps between two reads, since each wake-up costs more than some ten reports. The
API calls `drain` before it answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from whence.agent.monitoring.report_socket import Connection, ReportSocket
from whence.core.monitoring.call_progress import CallEvent
from whence.errors import InvalidReportError
from whence.ipc import call_events, decisions, notices, restarts
from whence.ipc.call_events import CallOut
from whence.ipc.decisions import DecisionReport
from whence.ipc.notices import Notice

log = logging.getLogger(__name__)

NAP_S = 0.125
"""The time between two reads, in seconds: how long a report waits at most."""

SHORT_NAP_S = 0.02
"""The same while one connection fills fast."""

MANY_MESSAGES = 40
"""Messages of one connection in one nap that make the next one short.

With Linux' default of `net.core.wmem_max`, a connection has room for some 330 short messages.
"""

DRAIN_TURNS = 100
"""The most turns of `drain`. A sender that never pauses keeps no answer of the API waiting."""


class DecisionListener(Protocol):
    """Acts on decisions of the edge. Called in the loop; it must not wait, nor raise."""

    def receive(self, report: DecisionReport, record: bytes, /) -> None:
        """Act on a decision of the edge. `record`: the report as it was written."""


class CallListener(Protocol):
    """Acts on what becomes of calls. Called in the loop; it must not wait, nor raise."""

    def receive_call_out(self, call: CallOut, record: bytes, /) -> None:
        """Act on the decision on a user's call. `record`: the report as it was written."""

    def receive_event(self, event: CallEvent, /) -> None:
        """Act on an event of a call."""

    def turn_ended(self) -> None:
        """Act after all reports of one read."""


class NoticeListener(Protocol):
    """Acts on notices of the edge. Called in the loop; it must not wait, nor raise."""

    def receive(self, notice: Notice, /) -> None:
        """Act on a notice of the edge."""


class RestartListener(Protocol):
    """Acts on restarts of Kamailio. Called in the loop; it must not wait, nor raise."""

    def kamailio_restarted(self, reason: str, /) -> None:
        """Act on a restart. `reason` says how Kamailio ended before."""


_Report = DecisionReport | CallOut | CallEvent
_Found = tuple[_Report, bytes]


class DecisionReceiver:
    """Reads the messages of the edge, and passes their reports on."""

    def __init__(
        self,
        path: Path,
        listeners: Sequence[DecisionListener] = (),
        notice_listeners: Sequence[NoticeListener] = (),
        restart_listeners: Sequence[RestartListener] = (),
        call_listeners: Sequence[CallListener] = (),
    ) -> None:
        """Make the socket at `path`. This replaces the socket of a former agent.

        Raises: DecisionSocketError.
        """
        self._listeners = listeners
        self._notice_listeners = notice_listeners
        self._restart_listeners = restart_listeners
        self._call_listeners = call_listeners
        self.kamailio_restarts = 0
        """Restarts of Kamailio that `whence run` reported."""
        self._nap: asyncio.TimerHandle | None = None
        self._socket = ReportSocket(path)
        self.dropped = 0
        """Reports that the workers dropped."""
        self.invalid = 0
        """Messages and reports that this version did not write."""

    @property
    def refused(self) -> int:
        """The connections of other users, which are refused."""
        return self._socket.refused

    def start(self) -> None:
        """Start to read in the running loop."""
        self._listen()

    def drain(self) -> None:
        """Read all reports that wait."""
        for _ in range(DRAIN_TURNS):
            if self._turn() is None:
                return

    def stop(self) -> None:
        """Read all reports that wait, and then no more: the workers count what they cannot send."""
        if self._nap is not None:
            self._nap.cancel()
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.refuse_more()
        self.drain()

    def close(self) -> None:
        """Close the socket. Its file stays: the workers drop their reports, and calls continue."""
        self._socket.close()

    def _listen(self) -> None:
        """Wake up at the next message."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._woken)

    def _woken(self) -> None:
        """Read, and then sleep before the next read.

        To wake a sleeping reader is the most expensive part of a worker's send, and of the read.
        """
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._slept()

    def _slept(self) -> None:
        nap_s: float | None = NAP_S
        try:
            nap_s = self._turn()
        finally:  # also after a bug in a listener
            if nap_s is None:
                self._listen()
            else:
                self._nap = asyncio.get_running_loop().call_later(nap_s, self._slept)

    def _turn(self) -> float | None:
        """Read a bounded number of messages of each connection, and pass their reports on.

        Return how long the agent may sleep now; None where nothing waited.
        """
        found: list[_Found] = []
        read: list[tuple[Connection, int]] = []
        naps_s: list[float] = []
        for connection in self._socket.ready():
            counts = [self._take(data, found) for data in connection.messages()]
            read.append((connection, sum(counts)))
            long_s = NAP_S if len(counts) <= MANY_MESSAGES else SHORT_NAP_S
            naps_s.append(0.0 if connection.has_more else long_s)
        found.sort(key=lambda one: one[0].at)  # the workers' reports, in the order of the calls
        for report, record in found:
            self._pass_on(report, record)
        if found:
            for listener in self._call_listeners:
                listener.turn_ended()
        for connection, reports in read:
            if reports:
                connection.confirm(reports)
        self._socket.remove_ended()
        return min(naps_s, default=None)

    def _pass_on(self, report: _Report, record: bytes) -> None:
        if isinstance(report, DecisionReport):
            for listener in self._listeners:
                listener.receive(report, record)
        elif isinstance(report, CallOut):
            for call_listener in self._call_listeners:
                call_listener.receive_call_out(report, record)
        else:
            for call_listener in self._call_listeners:
                call_listener.receive_event(report)

    def _take(self, data: bytes, found: list[_Found]) -> int:
        """Read one message, and add its reports to `found`.

        Return for how many reports it accounts, with those that were lost before.
        """
        try:
            if data.startswith(notices.PREFIX):
                return self._take_notice(data)
            if data.startswith(restarts.PREFIX):
                self._take_restart(data)
                return 1
            dropped, records = decisions.split(data)
        except InvalidReportError as error:
            self._count_invalid(error)
            return 1
        self.dropped += dropped
        for record in records:
            try:
                found.append((_read(record), record))
            except InvalidReportError as error:
                self._count_invalid(error)
        return dropped + len(records)

    def _take_notice(self, data: bytes) -> int:
        notice = notices.read(data)
        for listener in self._notice_listeners:
            listener.receive(notice)
        return 1 + notice.left_out

    def _take_restart(self, data: bytes) -> None:
        reason = restarts.read(data)
        self.kamailio_restarts += 1
        for listener in self._restart_listeners:
            listener.kamailio_restarted(reason)

    def _count_invalid(self, error: InvalidReportError) -> None:
        self.invalid += 1
        if self.invalid == 1:
            log.warning("invalid decision report (%s); is Kamailio of this version?", error)


def _read(record: bytes) -> _Report:
    """Read one record. Raises InvalidReportError."""
    if call_events.is_event(record):
        return call_events.read(record)
    if call_events.is_call_out(record):
        return call_events.read_call_out(record)
    return decisions.read(record)
