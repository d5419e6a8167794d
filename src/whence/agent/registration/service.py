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
from enum import StrEnum
from functools import lru_cache
from itertools import count
from typing import Protocol

from whence.agent.config.models import Config
from whence.agent.config.trunk import TrunkConfig
from whence.agent.registration.concurrency import ConcurrencyLimit
from whence.agent.registration.entry import BEGUN_AT_REGISTRAR, BEGUN_LIMIT, FULL_S, SWEEP_S, Entry
from whence.agent.runtime.tasks import Tasks
from whence.core.registration import history
from whence.core.registration.backoff import WAITS, Failure
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
from whence.core.registration.learning import NOBODY_ELSE, ExpectedSources, ips, permit
from whence.core.registration.machine import resumed, step
from whence.core.registration.model import Account, AccountKey, NextHop, Registration, State
from whence.core.registration.rate_limit import RequestLimiter
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.errors import DisabledTrunkError, StoreError, UnknownTrunkError
from whence.store.directory import Directory
from whence.store.registrations import StoredRegistration

log = logging.getLogger(__name__)

IN_FLIGHT_LIMIT = 256
"""REGISTERs under way at once, of those that are answered soon: a cold start is no flood."""

_ENDS = (Answered, Unanswered, Redirected)
"""What ends, or goes on with, the attempt under way. All else is said meanwhile."""

STOP_S = 5.0
"""How long the end of the program waits for registrars to confirm what is taken back."""


class AttemptOutcome(StrEnum):
    """How an attempt to register ended."""

    REGISTERED = "registered"
    WRONG_CREDENTIALS = "wrong_credentials"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNWRITTEN = "unwritten"
    """The directory could not be written: a full disk, for example."""


_OF_FAILURE = {
    Failure.WRONG_CREDENTIALS: AttemptOutcome.WRONG_CREDENTIALS,
    Failure.REFUSED: AttemptOutcome.REFUSED,
    Failure.UNREACHABLE: AttemptOutcome.UNREACHABLE,
}


class RegisterClient(Protocol):
    """Who sends a REGISTER and waits for its answer: the neighbour Kamailio."""

    async def register(
        self, account: Account, send: Send, call_id: str, socket: TransportAddress
    ) -> Answered | Unanswered:
        """Send it from the edge's `socket`; the final answer, or why there is none."""


class TargetResolver(Protocol):
    """Who says where a server is now: the neighbour DNS."""

    async def targets(self, server: Uri) -> tuple[NextHop, ...]:
        """Its next hops, best first; none where it has none, or nobody says."""

    async def everywhere(self, server: Uri) -> tuple[tuple[NextHop, ...], float]:
        """All its next hops, and for how many seconds that is good."""

    def why_none(self, server: Uri) -> Why:
        """Say why there were none just now."""


class RegistrationObserver(Protocol):
    """Who acts on how registrations stand. Called in the loop; it must not wait, nor raise."""

    def changed(self, trunk: TrunkConfig, registration: Registration) -> None:
        """It was taken up at a start, or a step of it has been written down."""

    def gone(self, trunk_id: str) -> None:
        """The trunk is in the file no more, or is another account now: `changed` follows then."""


def account_key(trunk: TrunkConfig) -> AccountKey:
    """For whom, and where: what makes a registration another one, where it changes."""
    return AccountKey(trunk.aor, trunk.proxy or trunk.registrar)


class RegistrationService:
    """All trunks' registrations. `run` it, and `apply` each new settings."""

    def __init__(
        self,
        directory: Directory,
        kamailio: RegisterClient,
        resolver: TargetResolver,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._kamailio = kamailio
        self._resolver = resolver
        self._clock = clock
        self._settings = Config()
        self._waits = WAITS
        self._entries: dict[str, Entry] = {}
        self._due: list[tuple[float, int, Entry, float | None]] = []
        """(when, tie-breaker, trunk, the `next_at` that was given this slot by the pace)."""
        self._ends: list[tuple[float, int, Entry]] = []
        """(when, tie-breaker, trunk): when grants end. One of a trunk counts: its `watched_at`."""
        self._ties = count()
        self._pace = RequestLimiter(1000, 50)
        self.waiting_for_pace = 0
        """Attempts that are due, and were given a later slot."""
        self._stopping = False
        self._wake = asyncio.Event()
        self._begun = Counter[str]()
        """Registrar → attempts at it that have begun."""
        self._begun_in_all = 0
        self._places = ConcurrencyLimit(IN_FLIGHT_LIMIT)
        self._tasks = Tasks("a registration's task")
        self.outcomes: Counter[AttemptOutcome] = Counter()
        """Attempts by outcome."""
        self.lapses = 0
        """Grants that ended without a refresh."""
        self.watchers: list[RegistrationObserver] = []
        self.happened: Callable[[str, Sequence[history.HistoryEvent]], None] = lambda *_: None
        """Told what has been written into a trunk's history; it must not wait, nor raise."""

    def __iter__(self) -> Iterator[tuple[TrunkConfig, Registration]]:
        return iter([(entry.trunk, entry.registration) for entry in self._entries.values()])

    # Settings, at the start and at each reload.

    def apply(self, settings: Config) -> None:
        """Make the registrations those of `settings`; what did not change goes on as it was.

        StoreError, and then nothing has changed.
        """
        after = {trunk.id: account_key(trunk) for trunk in settings.trunk}
        leaving = [
            entry
            for id_, entry in self._entries.items()
            if after.get(id_) != account_key(entry.trunk)
        ]
        stored = self._directory.registrations()
        others = {id_ for id_, known in stored.items() if after.get(id_) != known.account}
        others.update(entry.trunk.id for entry in leaving)
        renewed = self._directory.install(settings, others=others)
        tokens, stored = self._directory.tokens(), self._directory.registrations()
        learned = self._directory.have_learned()
        self._settings = settings
        self._waits = settings.registration.waits()
        limits = settings.registration.rate, settings.registration.rate_per_registrar
        if limits != (self._pace.total, self._pace.registrar):
            self._pace = RequestLimiter(*limits)
        for entry in leaving:
            self._let_go(entry)
        for trunk in settings.trunk:
            if trunk.id in self._entries:
                self._change(self._entries[trunk.id], trunk, learned)
            else:
                self._take_up(trunk, tokens[trunk.id], stored.get(trunk.id), learned)
                if trunk.id in renewed and self._entries[trunk.id].registration.wanted:
                    self._step(self._entries[trunk.id], RegisterNow())
        for id_ in others - after.keys() - {entry.trunk.id for entry in leaving}:
            log.info("trunk %s: gone from the file", id_)

    def _let_go(self, entry: Entry) -> None:
        del self._entries[entry.trunk.id]
        entry.leaving = True
        for watcher in self.watchers:
            watcher.gone(entry.trunk.id)
        self._tasks.start(self._take_back(entry))

    def _change(self, entry: Entry, trunk: TrunkConfig, learned: frozenset[str]) -> None:
        """Do what the change needs: new credentials register at once, a new target does not.

        `learned`: the trunks that still have a learned address.
        """
        # The contact follows the socket of the next hop, and no new file changes the sockets.
        contact = entry.account.contact
        account = self._account(trunk, entry.account.token)
        if trunk.contact == entry.trunk.contact:
            account = replace(account, contact=contact)
        learns = (trunk.learn_from, trunk.networks)
        permits_otherwise = learns != (entry.trunk.learn_from, entry.trunk.networks)
        before, entry.registration = entry.registration, _with_learned(entry.registration, learned)
        # Who answered last may be permitted now; or what he taught has ended.
        asks_otherwise = account != entry.account or (
            permits_otherwise and (before.unexpected is not None or before != entry.registration)
        )
        was_enabled = entry.trunk.enabled
        entry.trunk, entry.account = trunk, account
        self._changed(entry)
        if was_enabled and not trunk.enabled:
            self._tasks.start(self._take_back(entry))
        elif entry.registration.held:
            return  # a new file does not undo what the operator said
        elif trunk.enabled and (asks_otherwise or not was_enabled):
            self._step(entry, RegisterNow())

    def _account(self, trunk: TrunkConfig, token: str) -> Account:
        edge = self._settings.edge
        transport = trunk.server.params.get("transport", "udp")
        socket = next((s for s in edge.listen if s.transport == transport), edge.listen[0])
        return Account(
            trunk.aor,
            self._contact(trunk, token, socket),
            trunk.credentials(),
            trunk.expires,
            trunk.server.host,
            trunk.rewrites_contact,
        )

    def _contact(self, trunk: TrunkConfig, token: str, socket: TransportAddress) -> Uri:
        host, port = self._settings.edge.place_of(socket)
        params = {} if socket.transport == "udp" else {"transport": str(socket.transport)}
        if trunk.contact == "line":
            return Uri("sip", trunk.user, host, port, params | {"line": token})
        return Uri("sip", token, host, port, params)

    def _take_up(
        self,
        trunk: TrunkConfig,
        token: str,
        stored: StoredRegistration | None,
        learned: frozenset[str],
    ) -> None:
        now = self._clock()
        account = self._account(trunk, token)
        entry = Entry(trunk, account, Registration(trunk.id, secrets.token_hex(16)))
        if stored is not None:
            known = _with_learned(stored.registration, learned)
            entry.registration = resumed(known, now, self._waits)
            if known != stored.registration and entry.registration.wanted:
                entry.registration = replace(entry.registration, next_at=now)
        entry.told = _same(history.said(entry.registration))
        wanted = trunk.enabled and entry.registration.wanted
        entry.registration = replace(entry.registration, wanted=wanted)
        self._watch(entry)
        self._entries[trunk.id] = entry
        self._changed(entry)
        state, held = entry.registration.state, entry.registration.held
        if wanted:
            self._schedule(entry)
        elif state.under_way if held and trunk.enabled else state is not State.UNREGISTERED:
            self._tasks.start(self._take_back(entry))

    # What the operator says of one trunk; UnknownTrunkError where there is none with this
    # id, StoreError where it cannot be written down, and then nothing has changed.

    def __contains__(self, trunk_id: str) -> bool:
        return trunk_id in self._entries

    def __getitem__(self, trunk_id: str) -> tuple[TrunkConfig, Registration]:
        entry = self._entry(trunk_id)
        return entry.trunk, entry.registration

    def _entry(self, trunk_id: str) -> Entry:
        try:
            return self._entries[trunk_id]
        except KeyError:
            raise UnknownTrunkError(trunk_id) from None

    def must_be_enabled(self, trunk_id: str) -> None:
        """DisabledTrunkError where the file says that this trunk is not to be registered."""
        if not self._entry(trunk_id).trunk.enabled:
            raise DisabledTrunkError(
                f"trunk {trunk_id} is disabled in the file; write enabled = true, and reload"
            )

    def want(self, trunk_id: str) -> None:
        """Register it now, whatever came before; DisabledTrunkError where the file says no."""
        self.must_be_enabled(trunk_id)
        entry = self._entry(trunk_id)
        self._written_step(entry, RegisterNow())
        entry.parking = False

    def unregister(self, trunk_id: str) -> None:
        """Take it back, and leave it so until it is wanted again; its addresses end at once."""
        entry = self._entry(trunk_id)
        self._written_step(entry, Unregister(None, held=True))
        entry.parking = False
        self._tasks.start(self._take_back(entry))

    def way(self, trunk_id: str) -> KeepAliveTarget | None:
        """How its server is reached; None where none granted, or a request is in flight."""
        entry = self._entries.get(trunk_id)
        if entry is None or entry.registration.home is None or entry.registration.in_flight:
            return None
        socket = self._socket_for(entry.registration.home)
        return KeepAliveTarget(entry.account, entry.registration.home, socket) if socket else None

    async def expects(self, trunk_id: str, asked: NextHop, source: TransportAddress) -> bool:
        """Return whether a reply from `source` is from whom was asked, or from whom granted."""
        entry = self._entries.get(trunk_id)
        if entry is None:
            return False
        registrar = entry.registration.registrar
        if registrar is not None and registrar.ip == source.ip:
            return True
        expected = await self._expected(entry, asked, source)
        return permit(source, ips(asked.ip), expected, self._clock()) is not None

    def bring_forward(self, trunk_id: str) -> None:
        """Refresh it now: its server leaves keep-alives unanswered."""
        if trunk_id in self._entries:
            self._step(self._entries[trunk_id], KeepAliveFailed())

    def park(self, trunk_id: str) -> None:
        """Send no more REGISTERs for it, once the attempt under way is over."""
        entry = self._entry(trunk_id)
        if entry.registration.in_flight is not None:
            entry.parking = True
        else:
            self._written_step(entry, Pause())

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
        if self._settings.agent.on_stop == "leave":
            return
        self._stopping = True
        now = self._clock()
        for entry in self._entries.values():
            if entry.registration.granted(now) or entry.registration.in_flight is not None:
                self._tasks.start(self._take_back(entry))
        if not await self._tasks.over(STOP_S):
            log.warning("stopped before every registrar confirmed what was taken back")

    def _is_full(self, host: str) -> bool:
        """Whether there is no room for one more attempt, at this registrar or at all."""
        return self._begun[host] >= BEGUN_AT_REGISTRAR or self._begun_in_all >= BEGUN_LIMIT

    async def _attempt(self, entry: Entry, host: str) -> None:
        try:
            # Looked up before a place is taken: a name that nobody answers for holds up nobody.
            targets = await self._targets(entry.trunk.server)
            why = None if targets else self._resolver.why_none(entry.trunk.server)
            async with self._places.take():
                # The heap may have held it twice; and what is asked for at the end is not wanted.
                if _is_due(entry, self._clock()) and not self._stopping:
                    entry.led_to = None
                    await self._go(entry, Due(targets, why))
        finally:
            self._begun_in_all -= 1
            self._begun[host] -= 1
            if not self._begun[host]:
                del self._begun[host]

    async def _take_back(self, entry: Entry) -> None:
        targets = await self._targets(entry.trunk.server)
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
                await self._go(entry, Unregister(targets))

    async def _targets(self, server: Uri) -> tuple[NextHop, ...]:
        found = await self._resolver.targets(server)
        return tuple(t for t in found if self._socket_for(t) is not None)

    def _socket_for(self, target: NextHop) -> TransportAddress | None:
        version = 6 if ":" in target.ip else 4
        return self._settings.edge.socket_for(target.transport, version)

    async def _go(self, entry: Entry, fact: MachineEvent) -> None:
        """Take a step, and those that come of it, until nothing is in flight."""
        await self._carry_on(entry, self._step(entry, fact))

    async def _carry_on(self, entry: Entry, asks: Send | Follow | None) -> None:
        while asks is not None:
            if isinstance(asks, Follow):
                entry.led_to = asks.to
                outcome: MachineEvent = Redirected(await self._targets(asks.to))
            else:
                outcome = await self._register(entry, asks)
            asks = self._step(entry, outcome)

    async def _register(self, entry: Entry, send: Send) -> Answered | Unanswered:
        entry.socket = self._socket_for(send.next_hop)
        if entry.socket is None:
            return Unanswered(
                Why(RegistrationReason.NO_SOCKET, "the edge has no socket for it any more")
            )
        contact = self._contact(entry.trunk, entry.account.token, entry.socket)
        entry.account = replace(entry.account, contact=contact)
        outcome = await self._kamailio.register(
            entry.account, send, entry.registration.call_id, entry.socket
        )
        if isinstance(outcome, Answered) and outcome.reply.status < 400:
            expected = await self._expected(entry, send.next_hop, outcome.source)
            outcome = replace(outcome, expected=expected)
        return outcome

    async def _expected(
        self, entry: Entry, asked: NextHop, source: TransportAddress
    ) -> ExpectedSources:
        """Return from where a reply to the trunk's requests counts, besides from whom was asked.

        DNS is asked only where the reply comes from elsewhere. What it said last is used while it
        is silent; where it never said anything, it names nobody.
        """
        trunk = entry.trunk
        if source.ip in ips(asked.ip):
            return NOBODY_ELSE
        servers = trunk.servers + ((entry.led_to,) if entry.led_to is not None else ())
        named = await asyncio.gather(*(self._resolver.everywhere(server) for server in servers))
        return ExpectedSources(
            ips(*(hop.ip for hops, _ in named for hop in hops)),
            trunk.pinned(self._clock()),
            trunk.learn_from == "any",
        )

    def _step(self, entry: Entry, fact: MachineEvent) -> Send | Follow | None:
        """One step of the core, put off where it cannot be written down."""
        try:
            return self._written_step(entry, fact)
        except StoreError as error:
            before, now = entry.registration, self._clock()
            after = self._only_noted(entry, fact)
            if before.in_flight is None or isinstance(fact, _ENDS):
                after = self._put_off(after, now, error)
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

    def _only_noted(self, entry: Entry, fact: MachineEvent) -> Registration:
        """Keep in mind what is wanted; an attempt under way goes on, and its outcome is written."""
        now, before = self._clock(), entry.registration
        after, _ = step(before, fact, now, entry.account, Randomness(0.0, ""), self._waits)
        return replace(before, wanted=after.wanted, held=after.held, again=after.again)

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
        grace_s = self._settings.agent.grace
        lasting = [a.with_grace(grace_s) if isinstance(a, Learn) else a for a in actions]
        socket = entry.socket or self._settings.edge.listen[0]
        self._directory.save(account_key(entry.trunk), after, lasting, socket, now, events)
        self.happened(entry.trunk.id, events)

    def _put_off(self, before: Registration, now: float, error: StoreError) -> Registration:
        """What is not written down has not happened: nothing is sent, and it is tried again."""
        return replace(
            before,
            in_flight=None,
            state=State.WAITING,
            since=now,
            next_at=now + self._waits.unreachable.first_s if before.wanted else None,
            reason=RegistrationReason.NOT_WRITTEN,
            message=str(error),
        )

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
            self.outcomes[_outcome(after)] += 1
        said = history.said(after)
        if said is not None and said != entry.told:
            entry.told = _same(said)
            log.info("trunk %s: %s", after.trunk_id, history.sentence(after))


def _outcome(failed: Registration) -> AttemptOutcome:
    if failed.failure is None or failed.reason is RegistrationReason.NOT_WRITTEN:
        return AttemptOutcome.UNWRITTEN
    return _OF_FAILURE[failed.failure]


@lru_cache(maxsize=1024)
def _same(standing: history.Standing | None) -> history.Standing | None:
    """Return one value for all that are equal: thousands of trunks stand alike."""
    return standing


def _with_learned(registration: Registration, learned: frozenset[str]) -> Registration:
    """Return what stands of it, where only these trunks have a learned address."""
    if registration.learned_until is None or registration.trunk_id in learned:
        return registration
    return replace(registration, learned_until=None)


def _is_due(entry: Entry, now: float) -> bool:
    next_at = entry.registration.next_at
    return next_at is not None and next_at <= now and not entry.leaving
