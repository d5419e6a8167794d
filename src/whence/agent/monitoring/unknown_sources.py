"""Unknown sources, as the edge reports them; and how the operator allows one for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from whence.agent.registration.status import RegistrationStatus
from whence.core.identification.address import Address, Origin
from whence.core.identification.networks import checked_network
from whence.core.monitoring.unknown_sources import UnknownSourceTable as Kept
from whence.core.monitoring.unknown_sources import WindowCounter
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
        """More than `limit` requests came within a minute; `last` is the one that exceeds it."""


@dataclass(frozen=True)
class UnknownSourceCounter:
    """Counts who asks and is not known."""

    kept: Kept
    rate: WindowCounter
    observers: Sequence[UnknownRateObserver] = ()

    def receive(self, report: DecisionReport, _data: bytes) -> None:
        """Count one decision, if it was on an unknown source."""
        if report.kind is not DecisionKind.UNKNOWN:
            return
        self.kept.saw(report.source, escape_untrusted(report.ruri), report.at)
        if self.rate.exceeds(report.at):
            for observer in self.observers:
                observer.too_many_unknown_requests(report, self.rate.limit)


@dataclass(frozen=True)
class UnknownSources:
    """Who asked and is not known, and what the operator does about it."""

    directory: Directory
    trunks: RegistrationStatus
    kept: Kept
    clock: Callable[[], float] = time.time

    def allow(self, source: TransportAddress, trunk_id: str, for_s: float, note: str) -> Address:
        """Let calls from a source's ip in as the trunk's, for a while.

        It may come from any port, and over its transport or a stronger one. UnknownTrunkError;
        DisabledTrunkError for one that takes no calls; StoreError where it cannot be written.
        ValueError for an ip that is nobody's.
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
        said = f"{source.ip} over {source.transport} for {for_s:.0f} s, by the operator"
        event = HistoryEvent(EventKind.ALLOWED, f"{said}: {note}" if note else said)
        self.directory.pin(trunk_id, address, note, event)
        self.kept.forget(str(source.ip))
        log.info("trunk %s: allowed: %s", trunk_id, event.message)
        return address

    def revoke(self, source: TransportAddress, trunk_id: str) -> bool:
        """Take back what let a source's ip in as the trunk's; False where nothing did.

        What the file pins stays. UnknownTrunkError; StoreError where it cannot be written.
        """
        if trunk_id not in self.trunks:
            raise UnknownTrunkError(trunk_id)
        event = HistoryEvent(EventKind.REVOKED, f"{source.ip}, by the operator")
        done = self.directory.unpin(trunk_id, source.ip, self.clock(), event)
        if done:
            log.info("trunk %s: revoked: %s", trunk_id, event.message)
        return done
