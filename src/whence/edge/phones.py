"""The phones of users: their REGISTERs."""

from __future__ import annotations

from whence.edge.base import ANSWERED, Handlers, Worker, answers, text
from whence.edge.guard import GuardHandlers
from whence.edge.phone_authentication import PhoneAuthentication

LOCATION = "location"
"""Kamailio's table of the users' contacts."""


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
        ksr.nathelper.fix_nated_register()
        if ksr.registrar.save(LOCATION, 0) < 0:
            ksr.sl.sl_reply_error()
        return ANSWERED
