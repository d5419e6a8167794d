"""Follows the operator's orders to their ends, so that the API can answer how each one ended."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from whence.core.registration.model import Registration
from whence.core.settings import TrunkSettings

Order = Literal["register", "unregister", "pause", "resume"]
ORDERS: tuple[Order, ...] = get_args(Order)

LIMIT = 1000
"""How many attempts are kept, the last ones."""


@dataclass(slots=True)
class OrderAttempt:
    """One order for a trunk, and its end."""

    id: str
    trunk: str
    order: Order
    started_at: float
    ended_at: float | None = None
    """When the agent had no more to do for it; None: it goes on."""
    registration: Registration | None = None
    """The registration at the end; None: it goes on, or the trunk was removed."""
    over: asyncio.Event = field(default_factory=asyncio.Event)


class OrderAttempts:
    """The last orders, by id. It observes the registrations."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._attempts: OrderedDict[str, OrderAttempt] = OrderedDict()
        self._running: dict[str, list[OrderAttempt]] = {}
        self._last = 0

    def start(self, trunk_id: str, order: Order, registration: Registration) -> OrderAttempt:
        """Begin to follow an order that has just been given. `registration`: after it."""
        now = self._clock()
        self._last = max(self._last + 1, int(now * 1000))  # grows, also after a restart
        attempt = OrderAttempt(str(self._last), trunk_id, order, now)
        self._attempts[attempt.id] = attempt
        self._running.setdefault(trunk_id, []).append(attempt)
        self._look(trunk_id, registration)
        while len(self._attempts) > LIMIT:
            _, oldest = self._attempts.popitem(last=False)
            self._end(oldest, None)
        return attempt

    def get(self, attempt_id: str) -> OrderAttempt | None:
        """Return an attempt; None where it is not kept."""
        return self._attempts.get(attempt_id)

    def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
        """End the attempts of a trunk that have nothing more to do."""
        self._look(trunk.id, registration)

    def gone(self, trunk_id: str) -> None:
        """End the attempts of a removed trunk."""
        for attempt in list(self._running.get(trunk_id, ())):
            self._end(attempt, None)

    def _look(self, trunk_id: str, registration: Registration) -> None:
        for attempt in list(self._running.get(trunk_id, ())):
            if not registration.state.under_way and not _is_due(registration, attempt.started_at):
                self._end(attempt, registration)

    def _end(self, attempt: OrderAttempt, registration: Registration | None) -> None:
        running = self._running.get(attempt.trunk, [])
        if attempt in running:
            running.remove(attempt)
            if not running:
                del self._running[attempt.trunk]
            attempt.ended_at, attempt.registration = self._clock(), registration
            attempt.over.set()


def _is_due(registration: Registration, ordered_at: float) -> bool:
    """Return whether the REGISTER of the order is still to be sent."""
    return registration.next_at is not None and registration.next_at <= ordered_at
