"""The shell around core/registration: it keeps every trunk registered, and carries out its steps.

One task waits for the next `next_at` of all; each request in flight is a task of its own. A step is
written to the directory, with the address that it learned, before anything else comes of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from whence.agent.registration.account import make_account
from whence.agent.registration.attempt import AttemptRunner, RegisterClient, TargetResolver
from whence.agent.registration.concurrency import ConcurrencyLimit
from whence.agent.registration.entry import (
    Entry,
    StoredTrunk,
    shared,
    with_learned,
)
from whence.agent.registration.observers import HistoryObserver, RegistrationObserver
from whence.agent.registration.orders import OperatorOrders, must_be_enabled
from whence.agent.registration.outcome import AttemptOutcome, outcome_of
from whence.agent.registration.scheduler import RegistrationScheduler
from whence.agent.registration.unwritten import only_noted, put_off
from whence.agent.runtime.tasks import Tasks
from whence.core.registration import history
from whence.core.registration.events import (
    Action,
    Answered,
    Due,
    Expired,
    Follow,
    KeepAliveFailed,
    Learn,
    MachineEvent,
    Pause,
    Randomness,
    Redirected,
    RegisterNow,
    Send,
    Unanswered,
    Unregister,
)
from whence.core.registration.keepalive import KeepAliveTarget
from whence.core.registration.learning import permit
from whence.core.registration.machine import resumed, step
from whence.core.registration.model import Registration, State
from whence.core.settings import RegistrationSettings, TrunkSettings
from whence.core.sip.transport_address import TransportAddress
from whence.errors import StoreError, UnknownTrunkError
from whence.store.directory import Directory

log = logging.getLogger(__name__)

IN_FLIGHT_LIMIT = 256
"""REGISTERs under way at once, of those that are answered soon: a cold start is no flood."""

_ENDS = (Answered, Unanswered, Redirected)
"""What ends, or goes on with, the attempt under way. All else is said meanwhile."""

STOP_S = 5.0
"""How long the end of the program waits for registrars to confirm what is unregistered."""


class RegistrationService:
    """All trunks' registrations. `run` it; provisioning adds, updates and removes trunks."""

    def __init__(
        self,
        directory: Directory,
        kamailio: RegisterClient,
        resolver: TargetResolver,
        clock: Callable[[], float] = time.time,
        *,
        observers: Sequence[RegistrationObserver] = (),
        history_observers: Sequence[HistoryObserver] = (),
    ) -> None:
        """Each observer is called in the order given here, after the directory is written."""
        self._directory = directory
        self._clock = clock
        self._settings = settings = RegistrationSettings()
        self._attempts = AttemptRunner(kamailio, resolver, settings.sockets, self._step, clock)
        self._waits = settings.waits
        self._entries: dict[str, Entry] = {}
        self._stopping = False
        self._places = ConcurrencyLimit(IN_FLIGHT_LIMIT)
        self._tasks = Tasks("a registration's task")
        self._scheduler = RegistrationScheduler(
            self._tasks, settings.rate, settings.rate_per_registrar, clock
        )
        self.orders = OperatorOrders(self._entry, self._written_step, self._start_unregistering)
        """What the operator may order of one trunk."""
        self.outcomes: Counter[AttemptOutcome] = Counter()
        """Attempts by outcome."""
        self.expirations = 0
        """Grants that ended without a refresh."""
        self._observers = observers
        self._history_observers = history_observers

    @property
    def rate_limited(self) -> int:
        """Attempts that are due, and were given a later slot."""
        return self._scheduler.rate_limited

    def __iter__(self) -> Iterator[tuple[TrunkSettings, Registration]]:
        return iter([(entry.trunk, entry.registration) for entry in self._entries.values()])

    # Trunks that are added, changed and removed. The directory has them, or has them no more.

    def configure(self, settings: RegistrationSettings) -> None:
        """Register by these settings from now on. The sockets stay those of the first ones."""
        self._settings = settings
        self._attempts.sockets = settings.sockets
        self._waits = settings.waits
        self._scheduler.set_rates(settings.rate, settings.rate_per_registrar)

    def trunks(self) -> dict[str, TrunkSettings]:
        """Trunk id → its settings, of all trunks."""
        return {id_: entry.trunk for id_, entry in self._entries.items()}

    def add(self, trunk: TrunkSettings, stored: StoredTrunk, *, at_once: bool = False) -> None:
        """Keep one more trunk registered, from where the last agent left it.

        `at_once`: register it now, since it has other credentials than when it was stored.
        """
        account = make_account(trunk, stored.token, self._settings.sockets)
        registration = self._restored(trunk.id, stored)
        wanted = trunk.enabled and registration.wanted
        entry = Entry(trunk, account, replace(registration, wanted=wanted))
        entry.last_reported = shared(history.standing(registration))
        self._scheduler.watch(entry)
        self._entries[trunk.id] = entry
        self._changed(entry)
        state, suspended = entry.registration.state, entry.registration.suspended
        if wanted:
            self._scheduler.schedule(entry)
        elif state.under_way if suspended and trunk.enabled else state is not State.UNREGISTERED:
            self._start_unregistering(entry)
        if at_once and wanted:
            self._step(entry, RegisterNow())

    def _restored(self, trunk_id: str, stored: StoredTrunk) -> Registration:
        if stored.registration is None:
            return Registration(trunk_id, secrets.token_hex(16))
        now = self._clock()
        known = with_learned(stored.registration, has_learned=stored.has_learned)
        registration = resumed(known, now, self._waits)
        if known != stored.registration and registration.wanted:
            return replace(registration, next_at=now)
        return registration

    def update(self, trunk: TrunkSettings, *, has_learned: bool) -> None:
        """Do what a change of a trunk needs: new credentials register at once, a new target does
        not. Its account key is the same: another one is another registration.

        `has_learned`: whether it still has a learned address. UnknownTrunkError where there is no
        such trunk.
        """
        entry = self._entry(trunk.id)
        before = entry.registration
        known = with_learned(before, has_learned=has_learned)
        if trunk == entry.trunk and known == before:
            return
        # The contact follows the socket of the next hop, and no new settings change the sockets.
        contact = entry.account.contact
        account = make_account(trunk, entry.account.token, self._settings.sockets)
        if trunk.contact == entry.trunk.contact:
            account = replace(account, contact=contact)
        learns = (trunk.learn_from, trunk.networks)
        permits_otherwise = learns != (entry.trunk.learn_from, entry.trunk.networks)
        entry.registration = known
        # Who answered last may be permitted now; or what he taught has ended.
        asks_otherwise = account != entry.account or (
            permits_otherwise and (before.unexpected is not None or before != entry.registration)
        )
        was_enabled = entry.trunk.enabled
        entry.trunk, entry.account = trunk, account
        self._changed(entry)
        if was_enabled and not trunk.enabled:
            self._start_unregistering(entry)
        elif entry.registration.suspended:
            return  # new settings do not undo what the operator said
        elif trunk.enabled and (asks_otherwise or not was_enabled):
            self._step(entry, RegisterNow())

    def remove(self, trunk_id: str) -> None:
        """Unregister a trunk, and forget it. UnknownTrunkError where there is none."""
        entry = self._entry(trunk_id)
        del self._entries[trunk_id]
        entry.leaving = True
        for observer in self._observers:
            observer.gone(trunk_id)
        self._start_unregistering(entry)

    # One trunk; UnknownTrunkError where there is none with this id.

    def __contains__(self, trunk_id: str) -> bool:
        return trunk_id in self._entries

    def __getitem__(self, trunk_id: str) -> tuple[TrunkSettings, Registration]:
        entry = self._entry(trunk_id)
        return entry.trunk, entry.registration

    def _entry(self, trunk_id: str) -> Entry:
        try:
            return self._entries[trunk_id]
        except KeyError:
            raise UnknownTrunkError(trunk_id) from None

    def must_be_enabled(self, trunk_id: str) -> None:
        """DisabledTrunkError where the file says that this trunk is not to be registered."""
        must_be_enabled(self._entry(trunk_id))

    def way(self, trunk_id: str) -> KeepAliveTarget | None:
        """How its server is reached; None where none granted, or a request is in flight."""
        entry = self._entries.get(trunk_id)
        if entry is None or entry.registration.home is None or entry.registration.in_flight:
            return None
        socket = self._attempts.socket_for(entry.registration.home)
        return KeepAliveTarget(entry.account, entry.registration.home, socket) if socket else None

    async def expects(
        self, trunk_id: str, next_hop: TransportAddress, source: TransportAddress
    ) -> bool:
        """Return whether a reply from `source` is from whom was asked, or from whom granted."""
        entry = self._entries.get(trunk_id)
        if entry is None:
            return False
        registrar = entry.registration.registrar
        if registrar is not None and registrar.ip == source.ip:
            return True
        expected = await self._attempts.expected(entry, next_hop, source)
        return permit(source, {next_hop.ip}, expected, self._clock()) is not None

    def bring_forward(self, trunk_id: str) -> None:
        """Refresh it now: its server leaves keep-alives unanswered."""
        if trunk_id in self._entries:
            self._step(self._entries[trunk_id], KeepAliveFailed())

    # The life of a registration.

    async def run(self) -> None:
        """Keep all trunks registered until cancelled."""
        await self._scheduler.run(self)

    def expire(self, entry: Entry, now: float) -> bool:
        """Write down that the grant has ended; False where the directory cannot be written."""
        # An attempt may be under way, and goes on whether this can be written down or not.
        before = entry.registration
        dice = Randomness(0.0, "")
        after, actions = step(before, Expired(), now, entry.account, dice, self._waits)
        events = history.events(before, after, Expired(), entry.last_reported)
        try:
            self._save(entry, after, actions, now, events)
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - a neighbour's fault, no bug of ours
            return False
        entry.registration = after
        self._changed(entry)
        self.expirations += 1
        log.warning("trunk %s: expired: nothing is granted any more", after.trunk_id)
        return True

    def sweep(self, now: float) -> None:
        """Remove the addresses that have ended from the directory."""
        try:
            self._directory.drop_expired(now)
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - a neighbour's fault, no bug of ours

    async def stop(self) -> None:
        """Unregister what is granted, unless the settings say that it is to be left.

        Who waits after a failure is left to wait: the next start must not try any sooner.
        """
        if not self._settings.unregisters_on_stop:
            return
        self._stopping = True
        now = self._clock()
        for entry in self._entries.values():
            if entry.registration.granted(now) or entry.registration.in_flight is not None:
                self._start_unregistering(entry)
        if not await self._tasks.over(STOP_S):
            log.warning("stopped before every registrar confirmed what was unregistered")

    async def attempt(self, entry: Entry) -> None:
        """Register a trunk whose attempt is due."""
        # Looked up before a place is taken: a name that nobody answers for holds up nobody.
        targets = await self._attempts.targets(entry.trunk.server)
        why = None if targets else self._attempts.why_none(entry.trunk.server)
        async with self._places.take():
            if self._stopping:
                return
            if not entry.is_due(self._clock()):  # it was asked meanwhile, or the clock was set back
                self._scheduler.schedule(entry)
                return
            entry.led_to = None
            await self._attempts.run(entry, Due(targets, why))

    def _start_unregistering(self, entry: Entry) -> None:
        self._tasks.start(self._unregister(entry))

    async def _unregister(self, entry: Entry) -> None:
        targets = await self._attempts.targets(entry.trunk.server)
        now = self._clock()
        if entry.registration.granted(now) and not self._stopping:
            # At the end of the program there is no time for it: few are in flight at once.
            await asyncio.sleep(self._scheduler.slot(entry.trunk.server.host, now) - now)
        async with self._places.take():
            # Meanwhile the trunk may be enabled again, or be wanted again, or be unregistered.
            registration = entry.registration
            suspended = registration.suspended and registration.state is not State.UNREGISTERED
            if entry.leaving or self._stopping or suspended or not entry.trunk.enabled:
                if entry.registration.in_flight is None:
                    entry.led_to = None
                await self._attempts.run(entry, Unregister(targets))

    def _step(self, entry: Entry, fact: MachineEvent) -> Send | Follow | None:
        """One step of the core, put off where it cannot be written down."""
        try:
            return self._written_step(entry, fact)
        except StoreError as error:
            before, now = entry.registration, self._clock()
            after = only_noted(before, fact, now, entry.account, self._waits)
            if before.in_flight is None or isinstance(fact, _ENDS):
                after = put_off(after, now, self._waits, error)
            entry.registration = after
            self._stepped(entry, before)
            return None

    def _written_step(self, entry: Entry, fact: MachineEvent) -> Send | Follow | None:
        """One step of the core: written down first, then told, then carried out.

        StoreError: it has not happened.
        """
        now, before = self._clock(), entry.registration
        dice = Randomness(random.random(), secrets.token_hex(8))  # noqa: S311 - spreads, hides nothing
        after, actions = step(before, fact, now, entry.account, dice, self._waits)
        events = history.events(before, after, fact, entry.last_reported)
        status = fact.reply.status if isinstance(fact, Answered) else None
        events += history.ignored(before, actions, status)
        self._save(entry, after, actions, now, events)
        entry.registration = after
        self._stepped(entry, before)
        return next((a for a in actions if isinstance(a, Send | Follow)), None)

    def _stepped(self, entry: Entry, before: Registration) -> None:
        """See to all that comes of a step."""
        after = entry.registration
        self._notify(entry, before, after)
        self._scheduler.schedule(entry)
        self._scheduler.watch(entry)
        self._changed(entry)
        if entry.pausing and after.in_flight is None:
            entry.pausing = False
            self._step(entry, Pause())

    def _save(
        self,
        entry: Entry,
        after: Registration,
        actions: Sequence[Action],
        now: float,
        events: Sequence[history.HistoryEvent],
    ) -> None:
        if entry.leaving:
            return
        grace_s = self._settings.grace_s
        lasting = [a.with_grace(grace_s) if isinstance(a, Learn) else a for a in actions]
        socket = entry.socket or self._settings.sockets.listen[0]
        self._directory.save(entry.trunk.account_key, after, lasting, socket, now, events)
        for observer in self._history_observers:
            observer.happened(entry.trunk.id, events)

    def _changed(self, entry: Entry) -> None:
        if not entry.leaving:
            for observer in self._observers:
                observer.changed(entry.trunk, entry.registration)

    def _notify(self, entry: Entry, before: Registration, after: Registration) -> None:
        ended = before.in_flight is not None and after.in_flight is None
        if ended and after.state is State.REGISTERED:
            self.outcomes[AttemptOutcome.REGISTERED] += 1
        elif ended and after.state is not State.UNREGISTERED:  # that was asked for
            self.outcomes[outcome_of(after)] += 1
        standing = history.standing(after)
        if standing is not None and standing != entry.last_reported:
            entry.last_reported = shared(standing)
            log.info("trunk %s: %s", after.trunk_id, history.sentence(after))
