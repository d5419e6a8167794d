"""The shell around core/registration: it keeps every trunk registered, and carries out its steps.

One task waits for the next `next_at` of all; each request in flight is a task of its own. A step is
written to the directory, with the address that it learned, before anything else comes of it.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Protocol

from whence.agent.registration.account import make_account
from whence.agent.registration.attempt import AttemptRunner, RegisterClient, TargetResolver
from whence.agent.registration.concurrency import ConcurrencyLimit
from whence.agent.registration.entry import (
    BEGUN_AT_REGISTRAR,
    BEGUN_LIMIT,
    FULL_S,
    SWEEP_S,
    Entry,
    StoredTrunk,
    shared,
    with_learned,
)
from whence.agent.registration.orders import OperatorOrders, must_be_enabled
from whence.agent.registration.outcome import AttemptOutcome, outcome_of
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
from whence.core.registration.learning import ips, permit
from whence.core.registration.machine import resumed, step
from whence.core.registration.model import NextHop, Registration, State
from whence.core.registration.rate_limit import RequestLimiter
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
"""How long the end of the program waits for registrars to confirm what is taken back."""


class RegistrationObserver(Protocol):
    """Who acts on how registrations stand. Called in the loop; it must not wait, nor raise."""

    def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
        """It was taken up at a start, or a step of it has been written down."""

    def gone(self, trunk_id: str) -> None:
        """The trunk is in the file no more, or is another account now: `changed` follows then."""


class RegistrationService:
    """All trunks' registrations. `run` it; provisioning adds, updates and removes trunks."""

    def __init__(
        self,
        directory: Directory,
        kamailio: RegisterClient,
        resolver: TargetResolver,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._settings = settings = RegistrationSettings()
        self._attempts = AttemptRunner(kamailio, resolver, settings.sockets, self._step, clock)
        self._waits = settings.waits
        self._entries: dict[str, Entry] = {}
        self._due: list[tuple[float, int, Entry, float | None]] = []
        """(when, tie-breaker, trunk, the `next_at` that was given this slot by the pace)."""
        self._ends: list[tuple[float, int, Entry]] = []
        """(when, tie-breaker, trunk): when grants end. One of a trunk counts: its `watched_at`."""
        self._ties = count()
        self._pace = RequestLimiter(settings.rate, settings.rate_per_registrar)
        self.waiting_for_pace = 0
        """Attempts that are due, and were given a later slot."""
        self._stopping = False
        self._wake = asyncio.Event()
        self._begun = Counter[str]()
        """Registrar → attempts at it that have begun."""
        self._begun_in_all = 0
        self._places = ConcurrencyLimit(IN_FLIGHT_LIMIT)
        self._tasks = Tasks("a registration's task")
        self.orders = OperatorOrders(self._entry, self._written_step, self._start_taking_back)
        """What the operator may order of one trunk."""
        self.outcomes: Counter[AttemptOutcome] = Counter()
        """Attempts by outcome."""
        self.lapses = 0
        """Grants that ended without a refresh."""
        self.watchers: list[RegistrationObserver] = []
        self.happened: Callable[[str, Sequence[history.HistoryEvent]], None] = lambda *_: None
        """Told what has been written into a trunk's history; it must not wait, nor raise."""

    def __iter__(self) -> Iterator[tuple[TrunkSettings, Registration]]:
        return iter([(entry.trunk, entry.registration) for entry in self._entries.values()])

    # Trunks that are added, changed and removed. The directory has them, or has them no more.

    def configure(self, settings: RegistrationSettings) -> None:
        """Register by these settings from now on. The sockets stay those of the first ones."""
        self._settings = settings
        self._attempts.sockets = settings.sockets
        self._waits = settings.waits
        limits = settings.rate, settings.rate_per_registrar
        if limits != (self._pace.total, self._pace.registrar):
            self._pace = RequestLimiter(*limits)

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
        entry.told = shared(history.said(registration))
        self._watch(entry)
        self._entries[trunk.id] = entry
        self._changed(entry)
        state, held = entry.registration.state, entry.registration.held
        if wanted:
            self._schedule(entry)
        elif state.under_way if held and trunk.enabled else state is not State.UNREGISTERED:
            self._start_taking_back(entry)
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
            self._start_taking_back(entry)
        elif entry.registration.held:
            return  # new settings do not undo what the operator said
        elif trunk.enabled and (asks_otherwise or not was_enabled):
            self._step(entry, RegisterNow())

    def remove(self, trunk_id: str) -> None:
        """Unregister a trunk, and forget it. UnknownTrunkError where there is none."""
        entry = self._entry(trunk_id)
        del self._entries[trunk_id]
        entry.leaving = True
        for watcher in self.watchers:
            watcher.gone(trunk_id)
        self._start_taking_back(entry)

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

    async def expects(self, trunk_id: str, asked: NextHop, source: TransportAddress) -> bool:
        """Return whether a reply from `source` is from whom was asked, or from whom granted."""
        entry = self._entries.get(trunk_id)
        if entry is None:
            return False
        registrar = entry.registration.registrar
        if registrar is not None and registrar.ip == source.ip:
            return True
        expected = await self._attempts.expected(entry, asked, source)
        return permit(source, ips(asked.ip), expected, self._clock()) is not None

    def bring_forward(self, trunk_id: str) -> None:
        """Refresh it now: its server leaves keep-alives unanswered."""
        if trunk_id in self._entries:
            self._step(self._entries[trunk_id], KeepAliveFailed())

    # The life of a registration.

    async def run(self) -> None:
        """Keep all trunks registered until cancelled."""
        swept_at = self._clock()
        while True:
            now = self._clock()
            self._find_lapsed(now)
            while self._due and self._due[0][0] <= now:
                due_at, _, entry, next_at = heapq.heappop(self._due)
                has_slot = next_at is not None
                self.waiting_for_pace -= has_slot
                wanted_at = next_at if has_slot else due_at
                if entry.registration.next_at != wanted_at or not _is_due(entry, now):
                    continue
                host = entry.trunk.server.host
                slot = now if has_slot else self._pace.slot(host, now)
                if slot <= now and self._is_full(host):
                    slot = now + FULL_S
                if slot > now:
                    heapq.heappush(self._due, (slot, next(self._ties), entry, wanted_at))
                    self.waiting_for_pace += 1
                    continue
                self._begun[host] += 1
                self._begun_in_all += 1
                self._tasks.start(self._attempt(entry, host))
            if now - swept_at > SWEEP_S:
                swept_at = now
                self._sweep(now)
            next_ats = [heap[0][0] for heap in (self._due, self._ends) if heap]
            wait_s = min([at - now for at in next_ats] + [SWEEP_S])
            self._wake.clear()
            try:
                async with asyncio.timeout(max(wait_s, 0.0)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _watch(self, entry: Entry) -> None:
        """Look at it when its grant ends: one place in the heap serves all later grants."""
        ends_at = entry.registration.expires_at
        if ends_at is None or entry.leaving:
            return
        if entry.watched_at is None or ends_at < entry.watched_at:
            entry.watched_at = ends_at
            heapq.heappush(self._ends, (ends_at, next(self._ties), entry))
            self._wake.set()

    def _find_lapsed(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            looked_at, _, entry = heapq.heappop(self._ends)
            if looked_at != entry.watched_at:
                continue  # a shorter grant came after it
            entry.watched_at = None
            if entry.registration.granted(now):
                self._watch(entry)
            elif entry.registration.expires_at is not None and not entry.leaving:
                self._lapse(entry, now)

    def _lapse(self, entry: Entry, now: float) -> None:
        # An attempt may be under way, and goes on whether this can be written down or not.
        before = entry.registration
        dice = Randomness(0.0, "")
        after, actions = step(before, Expired(), now, entry.account, dice, self._waits)
        events = history.events(before, after, Expired(), entry.told)
        try:
            self._save(entry, after, actions, now, events)
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - a neighbour's fault, no bug of ours
            entry.watched_at = now + SWEEP_S
            heapq.heappush(self._ends, (entry.watched_at, next(self._ties), entry))
            return
        entry.registration = after
        self._changed(entry)
        self.lapses += 1
        log.warning("trunk %s: lapsed: nothing is granted any more", after.trunk_id)

    def _sweep(self, now: float) -> None:
        try:
            self._directory.drop_expired(now)
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400 - a neighbour's fault, no bug of ours

    async def stop(self) -> None:
        """Take back what is granted, unless the settings say that it is to be left.

        Who waits after a failure is left to wait: the next start must not try any sooner.
        """
        if not self._settings.unregisters_on_stop:
            return
        self._stopping = True
        now = self._clock()
        for entry in self._entries.values():
            if entry.registration.granted(now) or entry.registration.in_flight is not None:
                self._start_taking_back(entry)
        if not await self._tasks.over(STOP_S):
            log.warning("stopped before every registrar confirmed what was taken back")

    def _is_full(self, host: str) -> bool:
        """Whether there is no room for one more attempt, at this registrar or at all."""
        return self._begun[host] >= BEGUN_AT_REGISTRAR or self._begun_in_all >= BEGUN_LIMIT

    async def _attempt(self, entry: Entry, host: str) -> None:
        try:
            # Looked up before a place is taken: a name that nobody answers for holds up nobody.
            targets = await self._attempts.targets(entry.trunk.server)
            why = None if targets else self._attempts.why_none(entry.trunk.server)
            async with self._places.take():
                # The heap may have held it twice; and what is asked for at the end is not wanted.
                if _is_due(entry, self._clock()) and not self._stopping:
                    entry.led_to = None
                    await self._attempts.run(entry, Due(targets, why))
        finally:
            self._begun_in_all -= 1
            self._begun[host] -= 1
            if not self._begun[host]:
                del self._begun[host]

    def _start_taking_back(self, entry: Entry) -> None:
        self._tasks.start(self._take_back(entry))

    async def _take_back(self, entry: Entry) -> None:
        targets = await self._attempts.targets(entry.trunk.server)
        now = self._clock()
        if entry.registration.granted(now) and not self._stopping:
            # At the end of the program there is no time for it: few are in flight at once.
            await asyncio.sleep(self._pace.slot(entry.trunk.server.host, now) - now)
        async with self._places.take():
            # Meanwhile the trunk may have been enabled again, or be wanted again, or be taken back.
            held = entry.registration.held and entry.registration.state is not State.UNREGISTERED
            if entry.leaving or self._stopping or held or not entry.trunk.enabled:
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
        told = history.events(before, after, fact, entry.told)
        status = fact.reply.status if isinstance(fact, Answered) else None
        told += history.ignored(before, actions, status)
        self._save(entry, after, actions, now, told)
        entry.registration = after
        self._stepped(entry, before)
        return next((a for a in actions if isinstance(a, Send | Follow)), None)

    def _stepped(self, entry: Entry, before: Registration) -> None:
        """See to all that comes of a step."""
        after = entry.registration
        self._tell(entry, before, after)
        self._schedule(entry)
        self._watch(entry)
        self._changed(entry)
        if entry.parking and after.in_flight is None:
            entry.parking = False
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
        self.happened(entry.trunk.id, events)

    def _changed(self, entry: Entry) -> None:
        if not entry.leaving:
            for watcher in self.watchers:
                watcher.changed(entry.trunk, entry.registration)

    def _schedule(self, entry: Entry) -> None:
        if entry.registration.next_at is not None and not entry.leaving:
            heapq.heappush(self._due, (entry.registration.next_at, next(self._ties), entry, None))
            self._wake.set()

    def _tell(self, entry: Entry, before: Registration, after: Registration) -> None:
        ended = before.in_flight is not None and after.in_flight is None
        if ended and after.state is State.REGISTERED:
            self.outcomes[AttemptOutcome.REGISTERED] += 1
        elif ended and after.state is not State.UNREGISTERED:  # that was asked for
            self.outcomes[outcome_of(after)] += 1
        said = history.said(after)
        if said is not None and said != entry.told:
            entry.told = shared(said)
            log.info("trunk %s: %s", after.trunk_id, history.sentence(after))


def _is_due(entry: Entry, now: float) -> bool:
    next_at = entry.registration.next_at
    return next_at is not None and next_at <= now and not entry.leaving
