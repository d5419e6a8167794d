"""The registrations of the directory, and the histories of trunks."""

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
    """A registration as the directory keeps it, and the account that it is for."""

    account: AccountKey
    registration: Registration


class Registrations(DirectoryConnection):
    """How trunks are registered, and what that taught."""

    _exact: frozenset[str] = frozenset()
    """Trunks whose learned addresses admit the port that answered, and no other."""

    def registrations(self) -> dict[str, StoredRegistration]:
        """Trunk id → what is known of its registration from before."""
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
        """Write one step down, with what it taught and what is told of it, in one transaction.

        `Learn` addresses carry their own `expires_at`, grace included. `socket` is ours.
        """
        exact = registration.trunk_id in self._exact
        step = RegistrationStep(account, registration, actions, str(socket), now, exact)
        with self._reading():
            moves = learning.changes_answers(self._db, step)
        try:
            self._write_step(step, events, moves=moves)
        except DiskFullError:  # the log is empty now, and SQLite overwrites it
            self._write_step(step, events, moves=moves)

    def _write_step(
        self, step: RegistrationStep, events: Sequence[HistoryEvent], *, moves: bool
    ) -> None:
        with self._changing() if moves else self._transaction():
            learning.write_step(self._db, step, events)

    def events(self, trunk_id: str) -> list[tuple[float, HistoryEvent]]:
        """(when, what) happened to a trunk, the oldest first; the last ones only."""
        rows = self._fetch(statements.EVENTS_OF_TRUNK, (trunk_id,))
        return [(at, event_of(event)) for at, *event in rows]
