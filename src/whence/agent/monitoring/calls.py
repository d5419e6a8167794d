"""Keeps the last calls, and counts all of them.

Calls of trunks' addresses and of users have a queue, and unknown sources another. So a flood of
unknown sources evicts no call of a trunk. A call is kept as its record of some hundred bytes, and
parsed when the API reads it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from whence.agent.monitoring.call_log import CallsFile
from whence.agent.monitoring.call_record import EVERY, STATUSES, CallFilter, CallRecord
from whence.agent.monitoring.call_stats import CallStats
from whence.agent.monitoring.open_calls import Kept, OpenCalls
from whence.core.identification.decision import Reason
from whence.core.monitoring.call_progress import CallEvent, EventKind, Progress
from whence.core.text import escape_untrusted
from whence.ipc import decisions
from whence.ipc.call_events import CallOut
from whence.ipc.decisions import DecisionKind, DecisionReport

OUT_OF_ORDER = 64
"""How far records of several processes may be out of the order of their arrival."""

SWEEP_S = 10.0
"""The time between two looks for lost calls."""

SAME_LIMIT = 20
"""How many decisions with one Call-ID are returned."""

AFTER_DECISION = frozenset({Reason.USER_NOT_REGISTERED, Reason.NO_SOCKET_FOR_TARGET})
"""Reasons for which the edge refuses a call that it has identified."""


@dataclass
class Calls:
    """The last calls, at most `limit` of trunks' sources and users, and as many of unknown sources.

    `open_calls`: the calls in progress; None where the edge reports no ends (a drop-in).
    """

    limit: int
    file: CallsFile | None = None
    open_calls: OpenCalls | None = None
    decisions: Counter[tuple[DecisionKind, str, str]] = field(default_factory=Counter)
    """(kind, rule, trunk or an empty text) → the number of decisions."""
    last_call_at: dict[str, float] = field(default_factory=dict)
    """Trunk id → when its last call arrived."""
    stats: CallStats = field(default_factory=CallStats)

    def __post_init__(self) -> None:
        self._known: deque[Kept] = deque(maxlen=self.limit)
        self._unknown_sources: deque[Kept] = deque(maxlen=self.limit)

    def receive(self, report: DecisionReport, record: bytes) -> None:
        """Count one decision, and keep it."""
        trunk = report.trunk or ""
        self.decisions[report.kind, report.rule or "", trunk] += 1
        if trunk and report.method == "INVITE":
            self.last_call_at[trunk] = report.at
        if report.method == "OPTIONS" and report.kind is not DecisionKind.UNKNOWN:
            return  # a provider's check every few seconds is no call
        kept = Kept(record)
        if report.kind is DecisionKind.UNKNOWN:
            self._unknown_sources.append(kept)
            return
        if self.open_calls is not None and report.method == "INVITE":
            if report.kind is DecisionKind.IDENTIFIED:
                self._known.append(kept)
                self._open(self.open_calls, kept, CallRecord(report, Progress()))
                return
            if report.reason in AFTER_DECISION or report.arrival in self.open_calls:
                status = STATUSES.get(report.reason, 0)
                failed = CallEvent(
                    EventKind.FAILED, report.arrival, report.at, status, reason=report.reason
                )
                self.receive_event(failed)
                return
        self._known.append(kept)
        self._write(kept)

    def receive_call_out(self, call: CallOut, record: bytes) -> None:
        """Keep the decision on a user's call."""
        kept = Kept(record)
        self._known.append(kept)
        for trunk in call.planned[:1]:
            self.last_call_at[trunk] = call.at
        if call.refusal or self.open_calls is None:
            self._over(kept)
        else:
            self._open(self.open_calls, kept, CallRecord(call, Progress()))

    def receive_event(self, event: CallEvent) -> None:
        """Take over what became of a call."""
        if self.open_calls is not None:
            for kept in self.open_calls.apply(event):
                self._over(kept)

    def kamailio_restarted(self, _reason: str) -> None:
        """Note that no call rings any longer."""
        if self.open_calls is not None:
            self.open_calls.kamailio_restarted()

    def restore(self) -> None:
        """Take over the calls that were in progress when a former agent ended."""
        if self.open_calls is not None:
            self._known.extendleft(reversed(self.open_calls.restore()))

    def turn_ended(self) -> None:
        """Write what the last reports changed."""
        if self.open_calls is not None:
            self.open_calls.flush()

    async def run(self) -> None:
        """Take over the calls of a former agent, and close lost ones from time to time."""
        self.restore()
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()
            self.turn_ended()

    def sweep(self) -> None:
        """Close the calls whose end will not be reported any more."""
        if self.open_calls is not None:
            for kept in self.open_calls.sweep():
                self._over(kept)

    def last(self, limit: int) -> list[CallRecord]:
        """Return the last `limit` calls, the newest first."""
        return list(islice(self.find(), limit))

    def find(self, wanted: CallFilter = EVERY) -> Iterator[CallRecord]:
        """Yield the calls that a filter wants, the newest first."""
        newest = heapq.merge(
            *(_sorted(queue) for queue in (self._known, self._unknown_sources)),
            key=_at,
            reverse=True,
        )
        return (call for call in newest if wanted.matches(call))

    def of(self, call_id: str) -> list[CallRecord]:
        """Return the last calls with this Call-ID, the oldest first.

        `call_id` is as it was sent, or escaped.
        """
        cut = decisions.bounded_call_id(call_id)
        return sorted(self._with(cut), key=_at)[-SAME_LIMIT:]

    def _open(self, open_calls: OpenCalls, kept: Kept, call: CallRecord) -> None:
        for over in open_calls.add(kept, call):
            self._over(over)

    def _over(self, kept: Kept) -> None:
        """Count a call that is over, and write its line."""
        self.stats.count(kept.read())
        self._write(kept)

    def _write(self, kept: Kept) -> None:
        if self.file is not None:
            self.file.write(kept.read())

    def _with(self, call_id: str) -> Iterator[CallRecord]:
        ending = call_id.encode("utf-8", "replace")
        for kept in chain(self._known, self._unknown_sources):
            if kept.data.endswith(ending) or b"\\" in ending:
                call = kept.read()
                if call_id in (call.call_id, escape_untrusted(call.call_id)):
                    yield call


def _sorted(queue: deque[Kept]) -> Iterator[CallRecord]:
    """Yield the calls of a queue, the newest first. A record may be somewhat out of order."""
    window: list[tuple[float, int, CallRecord]] = []
    for number, kept in enumerate(reversed(queue)):
        call = kept.read()
        heapq.heappush(window, (-call.at, number, call))
        if len(window) > OUT_OF_ORDER:
            yield heapq.heappop(window)[2]
    while window:
        yield heapq.heappop(window)[2]


def _at(call: CallRecord) -> float:
    return call.at
