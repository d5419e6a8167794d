"""Takes the steps of registrations: a group commit stores those of one pass of the event loop.

The events of a pass wait in a list. At the end of the pass the core takes all their steps, and one
transaction stores them. There is no waiting window. Only then the steps take effect: state, log,
history, alarms, schedule, and the next request. If the transaction fails, nothing of it is stored,
and each step is tried alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from whence.agent.registration.entry import Entry, shared
from whence.agent.registration.messages import uri_text
from whence.agent.registration.observers import HistoryObserver, RegistrationObserver
from whence.agent.registration.outcome import AttemptOutcome, outcome_of
from whence.agent.registration.public_address import PublicAddresses
from whence.agent.registration.scheduler import RegistrationScheduler
from whence.agent.registration.unwritten import only_noted, put_off
from whence.core.registration import history
from whence.core.registration.events import (
    Action,
    Answered,
    Expired,
    Follow,
    Learn,
    MachineEvent,
    Pause,
    Randomness,
    Redirected,
    Send,
    Unanswered,
)
from whence.core.registration.history import HistoryEvent
from whence.core.registration.machine import step
from whence.core.registration.model import Registration, State
from whence.core.settings import RegistrationSettings
from whence.errors import StoreError
from whence.store.directory import Directory
from whence.store.learning import RegistrationStep

log = logging.getLogger(__name__)

NextRequest = Send | Follow | None
"""The request or look-up of a step, if it has one."""

_RESULTS = (Answered, Unanswered, Redirected)
"""The events that continue or end an attempt. Others may occur during it."""

_NO_DICE = Randomness(0.0, "")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """An event that waits for the end of this pass. `request`: its result, if a task waits."""

    entry: Entry
    event: MachineEvent
    request: asyncio.Future[NextRequest] | None

    def done(self, request: NextRequest) -> None:
        if self.request is not None and not self.request.done():  # a cancelled task waits no more
            self.request.set_result(request)

    def failed(self, error: Exception) -> None:
        if self.request is None:
            log.error("trunk %s: a step failed", self.entry.trunk.id, exc_info=error)
        elif not self.request.done():
            self.request.set_exception(error)


class _Step(NamedTuple):
    """A step that is not stored yet, with its actions and its events for the history."""

    entry: Entry
    event: MachineEvent
    at: float
    before: Registration
    after: Registration
    actions: Sequence[Action]
    events: tuple[HistoryEvent, ...]


def _learned_contact(taken: _Step) -> str:
    """Return the Contact of a REGISTER that taught an address; empty for any other step."""
    learns = any(isinstance(action, Learn) for action in taken.actions)
    return uri_text(taken.entry.account.contact) if learns else ""


class RegistrationSteps:
    """Takes the steps of all trunks, stores them, and lets them take effect."""

    def __init__(
        self,
        directory: Directory,
        scheduler: RegistrationScheduler,
        public: PublicAddresses,
        settings: RegistrationSettings,
        clock: Callable[[], float],
        observers: Sequence[RegistrationObserver],
        history_observers: Sequence[HistoryObserver],
    ) -> None:
        """The observers are called in their order, after the directory is written."""
        self._directory = directory
        self._scheduler = scheduler
        self._public = public
        self._clock = clock
        self._observers = observers
        self._history_observers = history_observers
        self._waiting: list[_Waiting] = []
        self.settings = settings
        """The settings of all steps from now on."""
        self.outcomes: Counter[AttemptOutcome] = Counter()
        """The number of attempts by outcome."""
        self.expirations = 0
        """The number of grants that ended without a refresh."""

    # Three ways to take a step.

    def take(self, entry: Entry, event: MachineEvent) -> asyncio.Future[NextRequest]:
        """Take a step with all others of this pass; return its request once it is stored.

        A step that cannot be stored is delayed, and has no request.
        """
        request: asyncio.Future[NextRequest] = asyncio.get_running_loop().create_future()
        self._wait(_Waiting(entry, event, request))
        return request

    def take_soon(self, entry: Entry, event: MachineEvent) -> None:
        """Take a step without a request with all others of this pass."""
        self._wait(_Waiting(entry, event, None))

    def take_now(self, entry: Entry, event: MachineEvent) -> NextRequest:
        """Take a step at once, after those that wait. Raises: StoreError; then it has no effect."""
        self.flush()
        return self._take_alone(entry, event)

    def _wait(self, waiting: _Waiting) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(waiting)

    def flush(self) -> None:
        """Take all steps that wait. Two steps of one trunk are in two transactions."""
        while self._waiting:
            batch: dict[Entry, _Waiting] = {}
            later = []
            for one in self._waiting:
                if batch.setdefault(one.entry, one) is not one:
                    later.append(one)
            self._waiting = later
            self._take_batch(list(batch.values()))

    def _take_batch(self, batch: Sequence[_Waiting]) -> None:
        steps = self._stored_together(batch) if len(batch) > 1 else None
        for at, waiting in enumerate(batch):
            try:
                if steps is None:
                    request = self._take_or_delay(waiting.entry, waiting.event)
                else:
                    request = self._take_effect(steps[at])
            except Exception as error:  # noqa: BLE001 - a bug: it must end no other trunk's attempt
                waiting.failed(error)
            else:
                waiting.done(request)

    def _stored_together(self, batch: Sequence[_Waiting]) -> list[_Step] | None:
        """Store the steps of a batch in one transaction; return None where that fails."""
        now = self._clock()
        try:
            steps = [self._step(waiting.entry, waiting.event, now) for waiting in batch]
            self._save(steps)
        except StoreError as error:
            log.debug("%d steps are tried one by one: %s", len(batch), error)
            return None
        except Exception:
            log.debug("%d steps are tried one by one", len(batch), exc_info=True)
            return None
        return steps

    def _take_or_delay(self, entry: Entry, event: MachineEvent) -> NextRequest:
        """Take one step; delay it if the directory cannot be written."""
        try:
            return self._take_alone(entry, event)
        except StoreError as error:
            before, now, waits = entry.registration, self._clock(), self.settings.waits
            after = only_noted(before, event, now, entry.account, waits)
            if before.in_flight is None or isinstance(event, _RESULTS):
                after = put_off(after, now, waits, error)
            entry.registration = after
            self._stepped(entry, before)
            return None

    def _take_alone(self, entry: Entry, event: MachineEvent) -> NextRequest:
        taken = self._step(entry, event, self._clock())
        self._save([taken])
        return self._take_effect(taken)

    def _step(self, entry: Entry, event: MachineEvent, now: float) -> _Step:
        before = entry.registration
        dice = Randomness(random.random(), secrets.token_hex(8))  # noqa: S311 - only for jitter
        after, actions = step(before, event, now, entry.account, dice, self.settings.waits)
        events = history.events(before, after, event, entry.last_logged)
        status = event.reply.status if isinstance(event, Answered) else None
        events += history.ignored_replies(before, actions, status)
        return _Step(entry, event, now, before, after, actions, events)

    def _save(self, steps: Sequence[_Step]) -> None:
        """Store steps in one transaction, but none of removed trunks. Raises: StoreError."""
        grace_s, listen = self.settings.grace_s, self.settings.sockets.listen
        rows = [
            RegistrationStep(
                one.entry.trunk.account_key,
                one.after,
                [a.with_grace(grace_s) if isinstance(a, Learn) else a for a in one.actions],
                str(one.entry.socket or listen[0]),
                one.at,
                events=one.events,
                contact=_learned_contact(one),
            )
            for one in steps
            if not one.entry.leaving
        ]
        if rows:
            self._directory.save_steps(rows)

    # What follows a step that is stored.

    def _take_effect(self, taken: _Step) -> NextRequest:
        """Set the state, log it and notify the observers; return the request of the step."""
        entry, event, actions = taken.entry, taken.event, taken.actions
        entry.registration = taken.after
        if not entry.leaving:
            self._report_events(entry, taken.events)
        self._stepped(entry, taken.before)
        if isinstance(event, Answered) and self._public.has_moved(
            entry, event, actions, self.settings.sockets
        ):
            self.register_soon(entry)
        return next((a for a in actions if isinstance(a, Send | Follow)), None)

    def register_soon(self, entry: Entry) -> None:
        """Bring the next REGISTER forward: it has another Contact."""
        registration = entry.registration
        if registration.state is State.REGISTERED and registration.next_at is not None:
            now = self._clock()
            entry.registration = registration._replace(next_at=min(registration.next_at, now))
            self._scheduler.schedule(entry)

    def _stepped(self, entry: Entry, before: Registration) -> None:
        """Log, schedule and publish the result of a step."""
        after = entry.registration
        self._report(entry, before, after)
        self._scheduler.schedule(entry)
        self._scheduler.watch(entry)
        if entry.pausing and after.in_flight is None:
            entry.pausing = False
            self._take_or_delay(entry, Pause())  # observers see the pause, not the failure
        else:
            self.changed(entry)

    def changed(self, entry: Entry) -> None:
        """Notify the observers of the state of a trunk."""
        if not entry.leaving:
            for observer in self._observers:
                observer.changed(entry.trunk, entry.registration)

    def gone(self, trunk_id: str) -> None:
        """Notify the observers of the removal of a trunk."""
        for observer in self._observers:
            observer.gone(trunk_id)

    def _report(self, entry: Entry, before: Registration, after: Registration) -> None:
        ended = before.in_flight is not None and after.in_flight is None
        if ended and after.state is State.REGISTERED:
            self.outcomes[AttemptOutcome.REGISTERED] += 1
        elif ended and after.state is not State.UNREGISTERED:  # this was requested
            self.outcomes[outcome_of(after)] += 1
        state = history.logged_state(after)
        if state is not None and state != entry.last_logged:
            entry.last_logged = shared(state)
            log.info("trunk %s: %s", after.trunk_id, history.log_text(after))

    def _report_events(self, entry: Entry, events: Sequence[HistoryEvent]) -> None:
        for observer in self._history_observers:
            observer.happened(entry.trunk.id, events)

    # The ends of grants.

    def expire(self, entries: Sequence[Entry], now: float) -> Sequence[Entry]:
        """Store that grants have ended; return those trunks for which that failed.

        An end is counted and reported when it happens, also where it cannot be stored.
        """
        self.flush()  # an answer of this pass may have renewed a grant
        ended = [entry for entry in entries if not entry.registration.granted(now)]
        steps = [self._expiry(entry, now) for entry in ended]
        try:
            self._save(steps)
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - a neighbour's fault, no bug of ours
            return [one.entry for one in steps if not self._expire_alone(one)]
        for one in steps:
            self._expired(one)
        return ()

    def _expiry(self, entry: Entry, now: float) -> _Step:
        # An attempt in flight continues, even if the directory cannot be written.
        before, waits = entry.registration, self.settings.waits
        after, actions = step(before, Expired(), now, entry.account, _NO_DICE, waits)
        events = history.events(before, after, Expired(), entry.last_logged)
        return _Step(entry, Expired(), now, before, after, actions, events)

    def _expire_alone(self, taken: _Step) -> bool:
        """Store one end; return False if that fails."""
        try:
            self._save([taken])
        except StoreError:
            if self._count_end(taken.entry):
                self._report_events(taken.entry, taken.events)
            return False
        self._expired(taken)
        return True

    def _expired(self, taken: _Step) -> None:
        entry = taken.entry
        if not entry.leaving:
            self._report_events(entry, taken.events)
        self._count_end(entry)
        entry.registration = taken.after
        self.changed(entry)

    def _count_end(self, entry: Entry) -> bool:
        """Count and log the end of a grant. Return False where that was done before."""
        ends_at = entry.registration.expires_at
        if entry.counted_end_at == ends_at:
            return False
        entry.counted_end_at = ends_at
        self.expirations += 1
        log.warning("trunk %s: expired: the grant ended without a refresh", entry.trunk.id)
        return True
