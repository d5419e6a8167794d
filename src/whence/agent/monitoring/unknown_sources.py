"""Unknown sources, as the edge reports them. The operator allows one for a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from whence.agent.registration.status import RegistrationStatus
from whence.core.identification.address import Address, Origin
from whence.core.identification.decision import Reason
from whence.core.identification.networks import checked_network
from whence.core.monitoring.unknown_sources import UnknownSourceTable, WindowCounter
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.sip.transport_address import TransportAddress
from whence.core.text import escape_untrusted
from whence.errors import UnknownTrunkError
from whence.ipc.decisions import DecisionKind, DecisionReport
from whence.store.directory import Directory

log = logging.getLogger(__name__)


class UnknownRateObserver(Protocol):
    """Acts on too many requests of unknown sources.

    Called in the loop; it must not wait, nor raise.
    """

    def too_many_unknown_requests(self, last: DecisionReport, limit: int) -> None:
        """Act on the request `last`, which exceeds the `limit` of a minute."""


@dataclass(frozen=True)
class UnknownSourceCounter:
    """Counts the requests of unknown sources."""

    table: UnknownSourceTable
    rate: WindowCounter
    observers: Sequence[UnknownRateObserver] = ()

    def receive(self, report: DecisionReport, _record: bytes) -> None:
        """Count a decision on an unknown source; ignore any other decision.

        Notices count the requests of unknown sources that the edge refused for another reason.
        """
        if report.kind is not DecisionKind.UNKNOWN or report.reason is not Reason.UNKNOWN_ADDRESS:
            return
        self.table.saw(report.source, escape_untrusted(report.ruri), report.at)
        if self.rate.exceeds(report.at):
            for observer in self.observers:
                observer.too_many_unknown_requests(report, self.rate.limit)


@dataclass(frozen=True)
class UnknownSources:
    """The unknown sources, and the operator's orders to allow or revoke one."""

    directory: Directory
    trunks: RegistrationStatus
    table: UnknownSourceTable
    clock: Callable[[], float] = time.time

    def allow(self, source: TransportAddress, trunk_id: str, for_s: float, note: str) -> Address:
        """Admit calls from a source's ip as the trunk's, for `for_s` seconds.

        This admits any port, and the source's transport or a stronger one.
        Raises: UnknownTrunkError; DisabledTrunkError; StoreError where it cannot be written;
        ValueError for an ip that no peer can have.
        """
        checked_network(str(source.ip))
        self.trunks.must_be_enabled(trunk_id)
        now = self.clock()
        address = Address(
            ip=source.ip,
            port=None,
            transport=source.transport,
            origin=Origin.PINNED,
            socket="",
            learned_at=now,
            expires_at=now + for_s,
        )
        message = f"{source.ip} over {source.transport} for {for_s:.0f} s, by the operator"
        event = HistoryEvent(EventKind.ALLOWED, f"{message}: {note}" if note else message)
        self.directory.pin(trunk_id, address, note, event)
        self.table.forget(str(source.ip))
        log.info("trunk %s: allowed: %s", trunk_id, event.message)
        return address

    def revoke(self, source: TransportAddress, trunk_id: str) -> bool:
        """Remove the allowed address of a source's ip. Return False where there is none.

        An address that the file pins stays.
        Raises: UnknownTrunkError; StoreError where it cannot be written.
        """
        if trunk_id not in self.trunks:
            raise UnknownTrunkError(trunk_id)
        event = HistoryEvent(EventKind.REVOKED, f"{source.ip}, by the operator")
        removed = self.directory.unpin(trunk_id, source.ip, self.clock(), event)
        if removed:
            log.info("trunk %s: revoked: %s", trunk_id, event.message)
        return removed
