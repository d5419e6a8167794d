"""The calls in progress. A file beside the directory has them, so a new agent continues with them.

The file has the record of each such call, and the records of its events, each behind its length. It
grows by what came since, and is written anew when most of it is over.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from whence.agent.monitoring import call_record
from whence.agent.monitoring.call_record import CallRecord
from whence.core.dialogs.arrival import Arrival
from whence.core.monitoring.call_progress import CallEvent, CallState, EventKind, Progress
from whence.errors import InvalidReportError, UntrustedError
from whence.ipc import call_events
from whence.ipc.decisions import DecisionReport
from whence.trust import paths

log = logging.getLogger(__name__)

FILE = "calls-in-progress"
"""The file in the state directory."""

LIMIT = 100_000
"""Calls in progress at most. The oldest is then closed as lost."""

RINGING_S = 3_900
"""How long a call may ring: Kamailio ends its transaction after an hour."""

ANSWERED_S = 86_400
"""How long an answered call may last before it is closed as lost: its BYE never came."""

LATE_ANSWER_S = 40
"""How long after a restart of Kamailio a call that rang may be answered (64*T1, RFC 3261)."""

EARLY_LIMIT = 10_000
"""Events that may wait for the decision on their call."""

COMPACT_BYTES = 4 * 1024 * 1024
RETRY_S = 10.0
_LENGTH_DIGITS = 5


class Kept:
    """One call in memory: its record as the edge wrote it, and its progress."""

    __slots__ = ("data", "progress")

    def __init__(self, data: bytes, progress: Progress | None = None) -> None:
        self.data = data
        self.progress = progress

    def read(self) -> CallRecord:
        """Read the call."""
        return call_record.read(self.data, self.progress)


@dataclass(slots=True)
class _Open:
    kept: Kept
    arrived_at: float
    tag: str
    """The From tag of the INVITE."""

    @property
    def progress(self) -> Progress:
        return self.kept.progress or Progress()


class OpenCalls:
    """The calls in progress, by the arrival of their INVITE."""

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """`path`: the file; None: calls are kept in memory only. Nothing is opened here."""
        self._clock = clock
        self._calls: OrderedDict[Arrival, _Open] = OrderedDict()
        self._early: OrderedDict[Arrival, list[CallEvent]] = OrderedDict()
        self._restarted_at: float | None = None
        self._journal = _Journal(path, clock) if path is not None else None
        self.unmatched = 0
        """Events of calls whose decision was never reported."""

    def __contains__(self, arrival: object) -> bool:
        return arrival in self._calls

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[CallRecord]:
        """Yield the calls, the oldest first."""
        return (one.kept.read() for one in self._calls.values())

    def states(self) -> Iterator[CallState]:
        """Yield the state of each call."""
        return (one.progress.state for one in self._calls.values())

    def add(self, kept: Kept, call: CallRecord) -> list[Kept]:
        """Add a call, with the events that came before it. Return the calls that are now over."""
        decision = call.decision
        tag = decision.sender.tag if isinstance(decision, DecisionReport) else decision.from_tag
        kept.progress = Progress()
        self._calls[decision.arrival] = _Open(kept, call.at, tag)
        self._note(kept.data)
        over = []
        while len(self._calls) > LIMIT:
            over.append(self._close(next(iter(self._calls))))
        for event in self._early.pop(decision.arrival, ()):
            over += self.apply(event)
        return over

    def apply(self, event: CallEvent) -> list[Kept]:
        """Take over one event. Return the calls that are now over: one, or none."""
        found = self._calls.get(event.arrival)
        if found is None:
            self._hold(event)
            return []
        before = found.progress
        found.kept.progress = before.after(event, found.tag)
        if found.kept.progress != before:
            self._note(call_events.record(event))
        if found.kept.progress.ended_at is None:
            return []
        del self._calls[event.arrival]
        return [found.kept]

    def kamailio_restarted(self) -> None:
        """Note that no call rings any longer: Kamailio has lost their transactions."""
        self._restarted_at = self._clock()

    def sweep(self) -> list[Kept]:
        """Close the calls whose end will not be reported any more, and return them."""
        now = self._clock()
        over = [arrival for arrival, one in self._calls.items() if self._is_lost(one, now)]
        for arrival in [a for a in self._early if now - a.at > RINGING_S]:
            self.unmatched += len(self._early.pop(arrival))
        return [self._close(arrival) for arrival in over]

    def restore(self) -> list[Kept]:
        """Read the calls that were in progress when a former agent ended, and return them."""
        if self._journal is None:
            return []
        for data in self._journal.read():
            try:
                if call_events.is_event(data):
                    self.apply(call_events.read(data))
                else:
                    kept = Kept(data)
                    self.add(kept, kept.read())
            except InvalidReportError:  # another version wrote it
                continue
        self._journal.begin(self._records())
        return [one.kept for one in self._calls.values()]

    def flush(self) -> None:
        """Write what came since the last time."""
        if self._journal is not None:
            self._journal.flush(self._records)

    def _close(self, arrival: Arrival) -> Kept:
        found = self._calls.pop(arrival)
        now = self._clock()
        found.kept.progress = found.progress.lost(now)
        self._note(call_events.record(CallEvent(EventKind.ENDED, arrival, now)))
        return found.kept

    def _is_lost(self, one: _Open, now: float) -> bool:
        answered_at = one.progress.answered_at
        if answered_at is not None:
            return now - answered_at > ANSWERED_S
        restarted_at = self._restarted_at
        if restarted_at is not None and one.arrived_at < restarted_at < now - LATE_ANSWER_S:
            return True
        return now - one.arrived_at > RINGING_S

    def _hold(self, event: CallEvent) -> None:
        self._early.setdefault(event.arrival, []).append(event)
        self._early.move_to_end(event.arrival)
        while len(self._early) > EARLY_LIMIT:
            _, lost = self._early.popitem(last=False)
            self.unmatched += len(lost)

    def _note(self, record: bytes) -> None:
        if self._journal is not None:
            self._journal.add(record)

    def _records(self) -> list[bytes]:
        """Return the records from which `restore` would make these calls."""
        found = []
        for arrival, one in self._calls.items():
            found.append(one.kept.data)
            progress = one.progress
            found += [
                call_events.tried(arrival, tried.trunk, tried.reason, tried.status, one.arrived_at)
                for tried in progress.tried
            ]
            if progress.answered_at is not None:
                at, by = progress.answered_at, progress.answered_by
                event = CallEvent(EventKind.ANSWERED, arrival, at, progress.status, by)
                found.append(call_events.record(event))
        return found


class _Journal:
    """The file of the calls in progress."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._waiting: list[bytes] = []
        self._size = self._limit = 0
        self._begun = False
        self._failed_at: float | None = None

    def add(self, record: bytes) -> None:
        """Add a record, which `flush` writes."""
        self._waiting.append(record)

    def read(self) -> list[bytes]:
        """Return the records of the file. A record that was cut at the end is left out."""
        try:
            with os.fdopen(paths.open_file(self._path, os.O_RDONLY), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return []
        except (OSError, UntrustedError) as error:
            log.warning("%s: the calls in progress are not read: %s", self._path, error)
            return []
        found, at = [], 0
        while at + _LENGTH_DIGITS <= len(data):
            digits = data[at : at + _LENGTH_DIGITS]
            begin = at + _LENGTH_DIGITS
            if not digits.isdigit() or begin + int(digits) > len(data):
                break
            at = begin + int(digits)
            found.append(data[begin:at])
        return found

    def begin(self, records: list[bytes]) -> None:
        """Write the file anew."""
        self._begun = True
        self._waiting.clear()
        framed = _framed(records)
        try:
            paths.write_whole(self._path, framed.decode("utf-8", "replace"))
        except OSError as error:
            self._fail(error)
            return
        self._succeed()
        self._size, self._limit = len(framed), 2 * len(framed) + COMPACT_BYTES

    def flush(self, all_records: Callable[[], list[bytes]]) -> None:
        """Append what waits. `all_records`: of the calls in progress, to write the file anew."""
        if not self._waiting or not self._begun:
            return
        if self._failed_at is not None:
            if self._clock() - self._failed_at >= RETRY_S:
                self.begin(all_records())
            self._waiting.clear()
            return
        framed = _framed(self._waiting)
        self._waiting.clear()
        try:
            self._append(framed)
        except (OSError, UntrustedError) as error:
            self._fail(error)
            return
        self._size += len(framed)
        if self._size > self._limit:
            self.begin(all_records())

    def _append(self, framed: bytes) -> None:
        opened = paths.open_file(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with os.fdopen(opened, "ab", buffering=0) as file:
            before = file.tell()
            if file.write(framed) != len(framed):
                file.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _fail(self, error: OSError | UntrustedError) -> None:
        if self._failed_at is None:
            log.warning(
                "%s: the calls in progress are not written: %s; "
                "after a restart of the agent, their ends are not known",
                self._path,
                error,
            )
        self._failed_at = self._clock()

    def _succeed(self) -> None:
        if self._failed_at is not None:
            log.info("%s: the calls in progress are written again", self._path)
        self._failed_at = None


def _framed(records: list[bytes]) -> bytes:
    return b"".join([b"%05d%b" % (len(one), one) for one in records])
