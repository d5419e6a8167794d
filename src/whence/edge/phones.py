"""The phones of users: their REGISTERs."""

from __future__ import annotations

from whence.core.sip.transport_address import Transport, TransportAddress
from whence.core.sip.via import KEEPALIVE_FLAG, NAT_FLAG
from whence.edge.base import ANSWERED, Handlers, Worker, answers, text
from whence.edge.guard import GuardHandlers
from whence.edge.phone_authentication import PhoneAuthentication

LOCATION = "location"
"""Kamailio's table of the users' contacts."""

BEHIND_NAT = 1 | 2 | 16 | 64
"""Tests of nathelper.nat_uac_test: a private Contact; the source is not the Via, its ip or its
port; WebSocket."""


class PhoneHandlers(Handlers):
    """Registers the phones of local users."""

    def __init__(
        self, worker: Worker, guard: GuardHandlers, authentication: PhoneAuthentication
    ) -> None:
        super().__init__(worker)
        self._guard = guard
        self._authentication = authentication

    @answers
    def ksr_register(self, _message: object) -> int:
        """Authenticate a phone by the HA1 in the directory, and store its contacts in usrloc."""
        ksr, source = self.ksr, self.worker.source()
        if self._authentication.is_blocked(source):
            return ANSWERED  # without an answer: a guesser waits for one
        name = text(ksr.kx.gete_tuser)
        if not name or not ksr.is_myself_turi():
            self._guard.count_refused()
            return self.worker.answer(403, "Forbidden")
        if not self._authentication.accepts(name, source):
            self._guard.count_refused()
            return ANSWERED
        self._mark_nat(source)
        ksr.nathelper.fix_nated_register()
        if ksr.registrar.save(LOCATION, 0) < 0:
            ksr.sl.sl_reply_error()
        return ANSWERED

    def _mark_nat(self, source: TransportAddress) -> None:
        """Mark the contacts of a phone behind NAT; the edge sends OPTIONS to those over UDP.

        A connection keeps its own way open.
        """
        if self.ksr.nathelper.nat_uac_test(BEHIND_NAT) > 0:
            self.ksr.setbflag(NAT_FLAG)
            if source.transport is Transport.UDP:
                self.ksr.setbflag(KEEPALIVE_FLAG)
