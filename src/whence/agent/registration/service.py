"""The service that keeps every trunk registered: it runs the state machine of core/registration.

One task waits for the earliest `next_at`; each request in flight is a task of its own. `steps.py`
first stores a step in the directory, with its learned address. Then it takes effect.
"""

from __future__ import annotations

import asyncio
import logging
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
from whence.agent.registration.outcome import AttemptOutcome
from whence.agent.registration.public_address import PublicAddresses
from whence.agent.registration.scheduler import RegistrationScheduler
from whence.agent.registration.steps import RegistrationSteps
from whence.agent.runtime.tasks import Tasks
from whence.core.clock import ClockOffset
from whence.core.registration import history
from whence.core.registration.events import (
    ClockStepped,
    Due,
    KeepAliveFailed,
    Randomness,
    RegisterNow,
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
"""REGISTERs in flight at once, of those that are answered soon, so a cold start is no flood."""

STOP_S = 5.0
"""How long the stop of the agent waits for the answers to unregistering REGISTERs."""


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
        """The observers are called in their order, after the directory is written."""
        self._directory = directory
        self._clock = clock
        self._settings = settings = RegistrationSettings()
        self._waits = settings.waits
        self._entries: dict[str, Entry] = {}
        self._stopping = False
        self._places = ConcurrencyLimit(IN_FLIGHT_LIMIT)
        self._tasks = Tasks("a registration's task")
        self._scheduler = RegistrationScheduler(
            self._tasks, settings.rate, settings.rate_per_registrar, clock
        )
        public = self._public = PublicAddresses(resolver, clock)
        self._steps = RegistrationSteps(
            directory, self._scheduler, public, settings, clock, observers, history_observers
        )
        self._attempts = AttemptRunner(
            kamailio, resolver, settings.sockets, self._steps.take, public, clock
        )
        self.orders = OperatorOrders(self._entry, self._steps, self._start_unregistering)
        """The operator's orders for one trunk."""

    @property
    def outcomes(self) -> Counter[AttemptOutcome]:
        """The number of attempts by outcome."""
        return self._steps.outcomes

    @property
    def expirations(self) -> int:
        """The number of grants that ended without a refresh."""
        return self._steps.expirations

    @property
    def rate_limited(self) -> int:
        """The number of attempts that are due, and wait for a later slot."""
        return self._scheduler.rate_limited

    def __iter__(self) -> Iterator[tuple[TrunkSettings, Registration]]:
        return iter([(entry.trunk, entry.registration) for entry in self._entries.values()])

    # Trunks that are added, changed and removed; the directory has already changed.

    def configure(self, settings: RegistrationSettings) -> None:
        """Use these settings from now on, except for the sockets of registered trunks."""
        self._settings = self._steps.settings = settings
        self._attempts.sockets = settings.sockets
        self._waits = settings.waits
        self._scheduler.set_rates(settings.rate, settings.rate_per_registrar)

    def trunks(self) -> dict[str, TrunkSettings]:
        """Return trunk id → its settings, of all trunks."""
        return {id_: entry.trunk for id_, entry in self._entries.items()}

    def add(self, trunk: TrunkSettings, stored: StoredTrunk, *, at_once: bool = False) -> None:
        """Add a trunk, with the state that the last agent stored.

        `at_once`: register it now, since its credentials have changed since then.
        """
        account = make_account(trunk, stored.token, self._settings.sockets)
        registration = self._restored(trunk.id, stored)
        wanted = trunk.enabled and registration.wanted
        if registration.wanted != wanted:
            registration = registration._replace(wanted=wanted)
        entry = Entry(trunk, account, registration)
        entry.last_logged = shared(history.logged_state(registration))
        self._scheduler.watch(entry)
        self._entries[trunk.id] = entry
        self._steps.changed(entry)
        state, suspended = entry.registration.state, entry.registration.suspended
        if wanted:
            self._scheduler.schedule(entry)
        elif state.under_way if suspended and trunk.enabled else state is not State.UNREGISTERED:
            self._start_unregistering(entry)
        if at_once and wanted:
            self._steps.take_soon(entry, RegisterNow())

    def _restored(self, trunk_id: str, stored: StoredTrunk) -> Registration:
        if stored.registration is None:
            return Registration(trunk_id, secrets.token_hex(16))
        now = self._clock()
        known = with_learned(stored.registration, has_learned=stored.has_learned)
        registration = resumed(known, now, self._waits)
        if known != stored.registration and registration.wanted:
            return registration._replace(next_at=now)
        return registration

    def update(self, trunk: TrunkSettings, *, has_learned: bool) -> None:
        """Apply new settings of a trunk with the same account key.

        New credentials register at once; a new target sends nothing.

        `has_learned`: whether the directory still has a learned address of it.
        Raises: UnknownTrunkError.
        """
        entry = self._entry(trunk.id)
        before = entry.registration
        known = with_learned(before, has_learned=has_learned)
        if trunk == entry.trunk and known == before:
            return
        # The Contact has the socket of the last next hop. New settings do not change the sockets.
        contact = entry.account.contact
        account = make_account(trunk, entry.account.token, self._settings.sockets)
        if (trunk.contact, trunk.socket) == (entry.trunk.contact, entry.trunk.socket):
            account = replace(account, contact=contact)
        learns = (trunk.learn_from, trunk.networks)
        permits_changed = learns != (entry.trunk.learn_from, entry.trunk.networks)
        entry.registration = known
        # The source of the last answer may be expected now; or its learned address has ended.
        must_register = account != entry.account or (
            permits_changed and (before.unexpected is not None or before != entry.registration)
        )
        was_enabled = entry.trunk.enabled
        entry.trunk, entry.account = trunk, account
        self._steps.changed(entry)
        if was_enabled and not trunk.enabled:
            self._start_unregistering(entry)
        elif entry.registration.suspended:
            return  # new settings do not undo the operator's order
        elif trunk.enabled and (must_register or not was_enabled):
            self._steps.take_soon(entry, RegisterNow())

    def remove(self, trunk_id: str) -> None:
        """Unregister a trunk, and drop it. Raises: UnknownTrunkError."""
        entry = self._entry(trunk_id)
        del self._entries[trunk_id]
        entry.leaving = True
        self._steps.gone(trunk_id)
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
        """Raise UnknownTrunkError or DisabledTrunkError, if one fits."""
        must_be_enabled(self._entry(trunk_id))

    def keepalive_target(self, trunk_id: str) -> KeepAliveTarget | None:
        """Return where an OPTIONS is sent; None without a grant, or during a REGISTER."""
        entry = self._entries.get(trunk_id)
        if entry is None or entry.registration.home is None or entry.registration.in_flight:
            return None
        socket = self._attempts.socket_for(entry.registration.home, entry.trunk)
        return KeepAliveTarget(entry.account, entry.registration.home, socket) if socket else None

    async def expects(
        self, trunk_id: str, next_hop: TransportAddress, source: TransportAddress
    ) -> bool:
        """Return whether a reply from `source` counts as one of the server that was asked."""
        entry = self._entries.get(trunk_id)
        if entry is None:
            return False
        registrar = entry.registration.registrar
        if registrar is not None and registrar.ip == source.ip:
            return True
        expected = await self._attempts.expected(entry, next_hop, source)
        return permit(source, {next_hop.ip}, expected, self._clock()) is not None

    def bring_forward(self, trunk_id: str) -> None:
        """Refresh now, since the server does not answer keep-alives."""
        if trunk_id in self._entries:
            self._steps.take_soon(self._entries[trunk_id], KeepAliveFailed())

    # Attempts, and the ends of grants.

    async def run(self, check_clock: Callable[[], None] = lambda: None) -> None:
        """Keep all trunks registered until cancelled.

        `check_clock` corrects all instants if the system clock was set. It is called before any is
        compared with the present one: a clock that was set forward ends no grant.
        """
        await self._scheduler.run(self, check_clock)

    def expire(self, entries: Sequence[Entry], now: float) -> Sequence[Entry]:
        """Store that grants have ended; return those trunks for which that failed."""
        return self._steps.expire(entries, now)

    def sweep(self, now: float) -> None:
        """Remove ended addresses from the directory."""
        try:
            self._directory.drop_expired(now)
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - a neighbour's fault, no bug of ours

    def clock_stepped(self, step_s: float, offset: ClockOffset) -> None:
        """Correct all instants after a step of the system clock, and refresh all trunks.

        Raises: StoreError; then nothing has changed.
        """
        now, event = self._clock(), ClockStepped(step_s)
        stepped = {
            entry: step(
                entry.registration, event, now, entry.account, Randomness(0.0, ""), self._waits
            )[0]
            for entry in self._entries.values()
        }
        self._directory.shift_clock(step_s, str(offset), now)
        for entry, after in stepped.items():
            entry.registration = after
        self._scheduler.clock_stepped(stepped)
        for entry in stepped:
            self._steps.changed(entry)

    async def stop(self) -> None:
        """Unregister all granted trunks, if `unregisters_on_stop`.

        A trunk that waits after a failure keeps its wait: the next start must not try sooner.
        """
        if not self._settings.unregisters_on_stop:
            return
        self._stopping = True
        now = self._clock()
        for entry in self._entries.values():
            if entry.registration.granted(now) or entry.registration.in_flight is not None:
                self._start_unregistering(entry)
        if not await self._tasks.over(STOP_S):
            log.warning("stopped before every registrar confirmed the unregistering")
        self._steps.flush()

    async def attempt(self, entry: Entry) -> None:
        """Register a trunk whose attempt is due."""
        # The look-up comes first: a name without an answer must hold no place.
        targets = await self._attempts.targets(entry.trunk.server, entry.trunk)
        why = None if targets else self._attempts.why_none(entry.trunk.server)
        async with self._places.take():
            if self._stopping:
                return
            if not entry.is_due(self._clock()):  # sent, or put off, in the meantime
                self._scheduler.schedule(entry)
                return
            entry.led_to = ()
            await self._attempts.run(entry, Due(targets, why))

    def _start_unregistering(self, entry: Entry) -> None:
        self._tasks.start(self._unregister(entry))

    async def _unregister(self, entry: Entry) -> None:
        targets = await self._attempts.targets(entry.trunk.server, entry.trunk)
        now = self._clock()
        if entry.registration.granted(now) and not self._stopping:
            # There is no time for slots when the agent stops; the concurrency limit remains.
            await asyncio.sleep(self._scheduler.slot(entry.trunk.server.host, now) - now)
        async with self._places.take():
            # The state may have changed during the wait: enabled, wanted or unregistered.
            registration = entry.registration
            suspended = registration.suspended and registration.state is not State.UNREGISTERED
            if entry.leaving or self._stopping or suspended or not entry.trunk.enabled:
                if entry.registration.in_flight is None:
                    entry.led_to = ()
                await self._attempts.run(entry, Unregister(targets))

    async def follow_names(self) -> None:
        """Resolve the advertised names until cancelled; register again where one has moved."""
        while True:
            moved, valid_s = await self._public.resolve(self._settings.sockets)
            for entry in self._entries.values():
                if entry.socket in moved:
                    self._steps.register_soon(entry)
            await asyncio.sleep(valid_s)
