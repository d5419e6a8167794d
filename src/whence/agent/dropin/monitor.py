"""The registrations of Kamailio's `uac`, as its workers stored them in the directory.

The monitor registers nothing. It polls the directory, stores that a grant expired, and reports
events to the log and the alarms.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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

POLL_S = 0.5
"""The interval between looks at the directory."""

NOT_YET = Why(RegistrationReason.NOT_REGISTERED_YET, "uac has not registered it yet")

_LOGGED_ELSEWHERE = frozenset({EventKind.ALLOWED, EventKind.REVOKED})
"""Events that the API logs as it makes them."""

SWEEP_S = 60.0
"""The interval between removals of expired addresses."""


@dataclass(frozen=True, slots=True)
class TrackedTrunk:
    """One uac account, as a trunk. `numbers` are as drop-in.toml writes them."""

    id: str
    aor: str
    target: str
    numbers: tuple[str, ...]
    unmatched: Literal["accept", "refuse"]
    fallback: bool
    enabled: bool


class RegistrationMonitor:
    """All trunks of the directory, with their registrations. `run` polls for changes."""

    def __init__(
        self,
        directory: SharedDirectory,
        numbers: Mapping[str, Sequence[str]],
        clock: Callable[[], float] = time.time,
        *,
        check_clock: Callable[[], None] = lambda: None,
        observers: Sequence[DirectoryObserver] = (),
        history_observers: Sequence[HistoryObserver] = (),
    ) -> None:
        """`observers` are called when the workers wrote to the directory.

        `check_clock` corrects all instants if the system clock was set. Each poll calls it first:
        a clock that was set forward ends no grant.
        """
        self._directory = directory
        self._observers = observers
        self._history_observers = history_observers
        self._clock = clock
        self._check_clock = check_clock
        self.numbers = numbers
        """Trunk id → its numbers, as drop-in.toml has them now."""
        self.expirations = 0
        self._started_at = clock()
        self._last_event = directory.last_event()
        self._changes = directory.changes()

    # The registrations.

    def __iter__(self) -> Iterator[tuple[TrackedTrunk, Registration]]:
        stored, now = self._directory.registrations(), self._clock()
        pairs = []
        for row in self._directory.trunks():
            known = stored.get(row.id)
            account = None if known is None else known.account
            unregistered = Registration(
                row.id,
                "",
                since=self._started_at,
                next_at=None,
                reason=NOT_YET.reason,
                message=NOT_YET.message,
            )
            registration = unregistered if known is None else _shown(known.registration, now)
            pairs.append((self._trunk(row, account), registration))
        return iter(pairs)

    def __contains__(self, trunk_id: str) -> bool:
        return self._directory.has_trunk(trunk_id)

    def __getitem__(self, trunk_id: str) -> tuple[TrackedTrunk, Registration]:
        for trunk, registration in self:
            if trunk.id == trunk_id:
                return trunk, registration
        raise UnknownTrunkError(trunk_id)

    def must_be_enabled(self, trunk_id: str) -> None:
        """Check that a trunk takes calls.

        Raises: UnknownTrunkError, DisabledTrunkError.
        """
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
        """Return whether a grant is valid, of the registrations that were not unregistered.

        True if there are none.
        """
        now = self._clock()
        expected = [
            one.registration
            for one in self._directory.registrations().values()
            if one.registration.state is not State.UNREGISTERED
        ]
        return not expected or any(one.granted(now) for one in expected)

    # Polling.

    async def run(self) -> None:
        """Poll until cancelled."""
        swept_at = self._clock()
        while True:
            try:
                self.poll()
                if self._clock() - swept_at > SWEEP_S:
                    swept_at = self._clock()
                    self._directory.drop_expired(swept_at)
            except StoreError as error:
                log.error("the directory: %s", error)  # noqa: TRY400 - the disk's fault, no bug
                await asyncio.sleep(SWEEP_S)
            await asyncio.sleep(POLL_S)

    def poll(self) -> None:
        """Report the events since the last poll.

        Raises: StoreError: the directory cannot be read or written.
        """
        self._check_clock()
        self._directory.expire(self._clock())
        changes = self._directory.changes()
        if changes != self._changes:
            self._changes = changes
            for observer in self._observers:
                observer.directory_changed()
        for number, trunk_id, event in self._directory.events_after(self._last_event):
            self._last_event = number
            self.expirations += event.what is EventKind.EXPIRED
            if event.what not in _LOGGED_ELSEWHERE:
                log.info(
                    "trunk %s: %s: %s",
                    escape_untrusted(trunk_id),
                    event.what,
                    escape_untrusted(event.message),
                )
            for history_observer in self._history_observers:
                history_observer.happened(trunk_id, [event])


def _shown(registration: Registration, now: float) -> Registration:
    """Return a stored registration as it is now, and safe to show."""
    if registration.state is State.REGISTERED and not registration.granted(now):
        message = history.EXPIRED.message
        return registration._replace(
            state=State.WAITING, reason=RegistrationReason.EXPIRED, message=message
        )
    # The registrar chose the words of both.
    return registration._replace(
        message=escape_untrusted(registration.message),
        last_phrase=escape_untrusted(registration.last_phrase),
    )
