"""How the trunks stand that Kamailio's own `uac` registers: as its workers wrote it down.

It registers nothing. It looks at what the workers wrote, writes down what ends by itself, and tells
what happened.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from whence.agent.registration.observers import HistoryObserver
from whence.core.registration import history
from whence.core.registration.history import EventKind
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.text import escape_untrusted
from whence.errors import DisabledTrunkError, StoreError, UnknownTrunkError
from whence.store.observer import DirectoryObserver
from whence.store.uac import SharedDirectory, UacTrunkRow

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""How often it is looked whether the workers wrote something."""

NOT_YET = Why(RegistrationReason.NOT_REGISTERED_YET, "uac has not registered it yet")

_TOLD_BY_WHO_DID_IT = frozenset({EventKind.ALLOWED, EventKind.REVOKED})

SWEEP_S = 60.0
"""How often addresses that have ended are swept out of the directory."""


@dataclass(frozen=True, slots=True)
class TrackedTrunk:
    """One trunk; its numbers as they are written in the file."""

    id: str
    aor: str
    target: str
    numbers: tuple[str, ...]
    unmatched: Literal["accept", "refuse"]
    fallback: bool
    enabled: bool


class RegistrationMonitor:
    """All trunks of the directory. `run` it."""

    def __init__(
        self,
        directory: SharedDirectory,
        numbers: Mapping[str, Sequence[str]],
        clock: Callable[[], float] = time.time,
        *,
        observers: Sequence[DirectoryObserver] = (),
        history_observers: Sequence[HistoryObserver] = (),
    ) -> None:
        """`observers` learn that the workers wrote something."""
        self._directory = directory
        self._observers = observers
        self._history_observers = history_observers
        self._clock = clock
        self.numbers = numbers
        """Trunk id → its numbers, as the file has them now."""
        self.expirations = 0
        self._began_at = clock()
        self._seen = directory.last_event()
        self._changes = directory.changes()

    # Standings.

    def __iter__(self) -> Iterator[tuple[TrackedTrunk, Registration]]:
        stored, now = self._directory.registrations(), self._clock()
        pairs = []
        for row in self._directory.trunks():
            known = stored.get(row.id)
            account = None if known is None else known.account
            before = Registration(
                row.id,
                "",
                since=self._began_at,
                next_at=None,
                reason=NOT_YET.reason,
                message=NOT_YET.message,
            )
            standing = before if known is None else _standing(known.registration, now)
            pairs.append((self._trunk(row, account), standing))
        return iter(pairs)

    def __contains__(self, trunk_id: str) -> bool:
        return self._directory.has_trunk(trunk_id)

    def __getitem__(self, trunk_id: str) -> tuple[TrackedTrunk, Registration]:
        for trunk, registration in self:
            if trunk.id == trunk_id:
                return trunk, registration
        raise UnknownTrunkError(trunk_id)

    def must_be_enabled(self, trunk_id: str) -> None:
        """UnknownTrunkError where there is none; DisabledTrunkError where it takes no calls."""
        if not self[trunk_id][0].enabled:
            raise DisabledTrunkError(
                f"trunk {trunk_id} is disabled in uac; enable it: "
                f"kamcmd uac.reg_enable l_uuid s:{trunk_id}"
            )

    def _trunk(self, row: UacTrunkRow, account: AccountKey | None) -> TrackedTrunk:
        aor = account.aor if account is not None else ""
        return TrackedTrunk(
            row.id,
            aor or (f"sip:{row.aor_user}" if row.aor_user else ""),
            row.target,
            tuple(self.numbers.get(row.id, ())),
            cast(Literal["accept", "refuse"], row.unmatched),
            row.fallback,
            row.enabled,
        )

    def lives(self) -> bool:
        """Whether Kamailio keeps at least one registration, of those that it began with."""
        now = self._clock()
        kept = [
            one.registration
            for one in self._directory.registrations().values()
            if one.registration.state is not State.UNREGISTERED
        ]
        return not kept or any(one.granted(now) for one in kept)

    # The work.

    async def run(self) -> None:
        """Look, until cancelled."""
        swept_at = self._clock()
        while True:
            try:
                self.look()
                if self._clock() - swept_at > SWEEP_S:
                    swept_at = self._clock()
                    self._directory.drop_expired(swept_at)
            except StoreError as error:
                log.error("the directory: %s", error)  # noqa: TRY400 - a neighbour's fault
                await asyncio.sleep(SWEEP_S)
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Tell what happened since it was looked last; StoreError where it cannot be."""
        self._directory.expire(self._clock())
        changes = self._directory.changes()
        if changes != self._changes:
            self._changes = changes
            for observer in self._observers:
                observer.directory_changed()
        for number, trunk_id, event in self._directory.events_after(self._seen):
            self._seen = number
            self.expirations += event.what is EventKind.EXPIRED
            if event.what not in _TOLD_BY_WHO_DID_IT:
                log.info(
                    "trunk %s: %s: %s",
                    escape_untrusted(trunk_id),
                    event.what,
                    escape_untrusted(event.message),
                )
            for history_observer in self._history_observers:
                history_observer.happened(trunk_id, [event])


def _standing(registration: Registration, now: float) -> Registration:
    if registration.state is State.REGISTERED and not registration.granted(now):
        message = history.EXPIRED.message
        return replace(
            registration, state=State.WAITING, reason=RegistrationReason.EXPIRED, message=message
        )
    r = registration  # what the registrar said stands in it
    return replace(
        r, message=escape_untrusted(r.message), last_phrase=escape_untrusted(r.last_phrase)
    )
