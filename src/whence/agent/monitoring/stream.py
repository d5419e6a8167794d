"""The events of the API's stream: what changed, for any number of clients, within bounds.

An event names what changed, and has no content. Its content is read when it is sent. So a client
that reads slowly gets the present state, and an event costs little without clients.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from whence.agent.monitoring.alarms import RaisedAlarm
from whence.core.monitoring.call_progress import CallEvent
from whence.core.registration.history import HistoryEvent
from whence.core.registration.model import Registration
from whence.core.settings import TrunkSettings
from whence.ipc.call_events import CallOut
from whence.ipc.decisions import DecisionReport

CLIENTS = 16
"""The most clients at once."""

WAITING = 256
"""The most events that wait for a client. With more, it gets `resync` instead of them."""

KEPT = 1000
"""How many events are kept for clients that return."""


class StreamKind(StrEnum):
    """What changed."""

    TRUNK = "trunk"
    CALLS = "calls"
    """Calls came or ended: the client reads the list again."""
    ALARM = "alarm"
    RESYNC = "resync"
    """Events are missing: the client reads everything again."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event. `key`: the id of the trunk or alarm; empty: the event names none."""

    serial: int
    kind: StreamKind
    key: str = ""


@dataclass(slots=True, eq=False)
class Subscription:
    """The events that wait for one client."""

    waiting: deque[StreamEvent] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, event: StreamEvent) -> None:
        """Add an event. The last one about the same thing replaces those before it."""
        if self.waiting and (self.waiting[-1].kind, self.waiting[-1].key) == (
            event.kind,
            event.key,
        ):
            self.waiting.pop()
        if len(self.waiting) >= WAITING:
            self.waiting.clear()
            event = StreamEvent(event.serial, StreamKind.RESYNC)
        self.waiting.append(event)
        self.wake.set()


class EventStream:
    """Observes trunks, calls and alarms, and passes their events to the clients."""

    def __init__(self) -> None:
        self.is_closed = False
        self._run = secrets.token_hex(4)
        self._serial = 0
        self._kept: deque[StreamEvent] = deque(maxlen=KEPT)
        self._clients: set[Subscription] = set()
        self._have_calls_changed = False
        self._is_used = False
        """Whether a client ever came. Before, an event costs nothing."""

    @property
    def is_full(self) -> bool:
        """Whether no further client may subscribe."""
        return len(self._clients) >= CLIENTS

    def id_of(self, event: StreamEvent) -> str:
        """Return the id of an event, which a client that returns sends as Last-Event-ID."""
        return f"{self._run}-{event.serial}"

    @contextmanager
    def subscribe(self, last_id: str = "") -> Iterator[Subscription]:
        """Add a client for the context. `last_id`: the last event that it has; empty: none."""
        self._is_used = True
        client = Subscription()
        for event in self._missed(last_id) if last_id else ():
            client.add(event)
        self._clients.add(client)
        try:
            yield client
        finally:
            self._clients.discard(client)

    def close(self) -> None:
        """End all clients, since the agent ends."""
        self.is_closed = True
        for client in self._clients:
            client.wake.set()

    # What is observed.

    def changed(self, trunk: TrunkSettings, _registration: Registration) -> None:
        """Publish a step of a registration."""
        self._publish(StreamKind.TRUNK, trunk.id)

    def gone(self, trunk_id: str) -> None:
        """Publish the removal of a trunk."""
        self._publish(StreamKind.TRUNK, trunk_id)

    def raised(self, raised: RaisedAlarm) -> None:
        """Publish an alarm, or its all-clear."""
        self._publish(StreamKind.ALARM, str(raised.id))

    def happened(self, trunk_id: str, _events: Sequence[HistoryEvent]) -> None:
        """Publish an event in the history of a trunk."""
        self._publish(StreamKind.TRUNK, trunk_id)

    def receive(self, _report: DecisionReport, _record: bytes) -> None:
        """Note that there is a new call. All of one read are one event."""
        self._have_calls_changed = True

    def receive_call_out(self, _call: CallOut, _record: bytes) -> None:
        """Note that a user called."""
        self._have_calls_changed = True

    def receive_event(self, _event: CallEvent) -> None:
        """Note that something happened to a call."""
        self._have_calls_changed = True

    def turn_ended(self) -> None:
        """Publish that calls came or changed."""
        if self._have_calls_changed:
            self._have_calls_changed = False
            self._publish(StreamKind.CALLS, "")

    def _publish(self, kind: StreamKind, key: str) -> None:
        if not self._is_used:
            return
        self._serial += 1
        event = StreamEvent(self._serial, kind, key)
        self._kept.append(event)
        for client in self._clients:
            client.add(event)

    def _missed(self, last_id: str) -> list[StreamEvent]:
        """Return the events after one; `resync` where they are no longer known."""
        run, _, number = last_id.partition("-")
        serial = int(number) if number.isdecimal() and len(number) < 20 else -1
        oldest = self._kept[0].serial if self._kept else self._serial + 1
        if run != self._run or not oldest - 1 <= serial <= self._serial:
            return [StreamEvent(self._serial, StreamKind.RESYNC)]
        return [event for event in self._kept if event.serial > serial]
