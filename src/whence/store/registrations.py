"""The registrations in the directory, and the histories of trunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whence.core.registration.events import Action
from whence.core.registration.history import HistoryEvent
from whence.core.registration.model import AccountKey, Registration
from whence.core.sip.transport_address import TransportAddress
from whence.errors import DiskFullError
from whence.store import learning, statements
from whence.store.connection import DirectoryConnection
from whence.store.learning import RegistrationStep
from whence.store.rows import event_of, registration_of


@dataclass(frozen=True, slots=True)
class StoredRegistration:
    """A registration as it is stored, and its account."""

    account: AccountKey
    registration: Registration


class Registrations(DirectoryConnection):
    """Reads and writes registrations, with the addresses that they taught."""

    _exact: frozenset[str] = frozenset()
    """Ids of trunks whose learned addresses admit only the port that answered."""

    def registrations(self) -> dict[str, StoredRegistration]:
        """Return trunk id → its stored registration."""
        rows = self._fetch(statements.REGISTRATIONS)
        return {row[0]: StoredRegistration(*registration_of(row)) for row in rows}

    def save(
        self,
        account: AccountKey,
        registration: Registration,
        actions: Sequence[Action],
        socket: TransportAddress,
        now: float,
        events: Sequence[HistoryEvent] = (),
    ) -> None:
        """Write one step of a registration, as `save_steps`. Raises StoreError."""
        step = RegistrationStep(account, registration, actions, str(socket), now, events=events)
        self.save_steps([step])

    def save_steps(self, steps: Sequence[RegistrationStep]) -> None:
        """Write steps of different trunks, their addresses and events, in one transaction.

        `Learn` actions have their own `expires_at`, which includes the grace.
        Raises: StoreError; then no step is written.
        """
        steps = [s._replace(exact=True) if s.trunk_id in self._exact else s for s in steps]
        with self._reading():
            moves = any(learning.changes_answers(self._db, step) for step in steps)
        try:
            self._write_steps(steps, moves=moves)
        except DiskFullError:  # the log is empty now, and SQLite overwrites it
            self._write_steps(steps, moves=moves)

    def _write_steps(self, steps: Sequence[RegistrationStep], *, moves: bool) -> None:
        with self._changing() if moves else self._transaction():
            learning.write_steps(self._db, steps)

    def events(self, trunk_id: str) -> list[tuple[float, HistoryEvent]]:
        """Return (instant, event) for the stored events of a trunk, the oldest first."""
        rows = self._fetch(statements.EVENTS_OF_TRUNK, (trunk_id,))
        return [(at, event_of(event)) for at, *event in rows]
