"""The phones of users: their REGISTERs, and the limit of wrong passwords from one source."""

from __future__ import annotations

import time

from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.protection import blocks as block
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.core.sip.via import KEEPALIVE_FLAG, NAT_FLAG
from whence.edge.base import ANSWERED, PHONES, Handlers, Worker, answers, text
from whence.edge.guard import GuardHandlers, table_key
from whence.edge.notice_sender import NoticeSender

LOCATION = "location"
"""Kamailio's table of the users' contacts."""

FAILURES = "failures"
BLOCKS = "blocks"
BLOCKED = "blocked"
"""Tables: source → wrong passwords; number of blocks; 1 while it is blocked."""

HA1_GIVEN = 1
"""A flag of auth.pv_auth_check: the argument is an HA1, not a password."""
NONCE_STALE = frozenset({-4, -6})
"""Results of auth.pv_auth_check: the nonce is old or of another ip; the nonce was used before."""
WRONG_PASSWORD = -2
"""A result of auth.pv_auth_check: a wrong response to a fresh nonce of ours for this ip."""
QOP_AUTH = 1
"""A flag of auth.auth_challenge: offer qop="auth", so that responses count their use."""
SEND_STALE = 16
"""A flag of auth.auth_challenge: stale=true, so that the phone does not ask its user."""
BEHIND_NAT = 1 | 2 | 16 | 64
"""Tests of nathelper.nat_uac_test: a private Contact; the source is not the Via, its ip or its
port; WebSocket."""

UNUSABLE_HA1 = "0" * 32
"""The HA1 that the edge checks for an unknown user name. No password has it."""


class PhoneHandlers(Handlers):
    """Registers the phones of local users."""

    def __init__(
        self,
        worker: Worker,
        guard: GuardHandlers,
        notices: NoticeSender,
        domain: str,
        failures_limit: int,
    ) -> None:
        """`failures_limit`: wrong passwords before a source is blocked; 0: it never is."""
        super().__init__(worker)
        self._guard = guard
        self._notices = notices
        self._domain = domain
        self._failures_limit = failures_limit

    @answers
    def ksr_register(self, _message: object) -> int:
        """Authenticate a phone by the HA1 in the directory, and store its contacts in usrloc."""
        ksr, domain, source = self.ksr, self._domain, self.worker.source()
        if self._is_blocked(source):
            return ANSWERED  # without an answer: a guesser waits for one
        name = text(ksr.kx.gete_tuser)
        if not name or not ksr.is_myself_turi():
            self._guard.count_refused()
            return self.worker.answer(403, "Forbidden")
        ha1 = self.worker.directory.user_ha1(name, domain)
        # The edge checks and challenges an unknown name like a known one. So neither the answer nor
        # its delay shows which names exist.
        checked = ksr.auth.pv_auth_check(domain, ha1 or UNUSABLE_HA1, HA1_GIVEN, 0)
        if ha1 is None or checked < 0 or text(ksr.kx.gete_au) != name:
            stale = SEND_STALE if checked in NONCE_STALE else 0
            ksr.auth.auth_challenge(domain, QOP_AUTH | stale)
            if checked == WRONG_PASSWORD or (checked > 0 and ha1 is None):
                self._wrong_password(source, name, time.time())
            self._guard.count_refused()
            return ANSWERED
        self._registered(source)
        ksr.auth.consume_credentials()
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

    def _is_blocked(self, source: TransportAddress) -> bool:
        """Return whether a source is blocked. A phone that registered from there is not."""
        sht_get = self.ksr.htable.sht_get
        return (
            bool(self._failures_limit)
            and sht_get(BLOCKED, table_key(source.ip)) is not None
            and sht_get(PHONES, f"{source.ip}:{source.port}") is None
        )

    def _registered(self, source: TransportAddress) -> None:
        """Remember that a phone was authenticated from this source."""
        self.ksr.htable.sht_seti(PHONES, source.ip_text, 1)
        self.ksr.htable.sht_seti(PHONES, f"{source.ip}:{source.port}", 1)

    def _wrong_password(self, source: TransportAddress, user: str, now: float) -> None:
        """Count a wrong password, block its source if there were too many, and report it.

        The nonce is ours and for this ip, so the source received our challenge and is not forged.
        """
        htable, key = self.ksr.htable, table_key(source.ip)
        blocks = int(htable.sht_get(BLOCKS, key) or 0)
        failures = htable.sht_inc(FAILURES, key)  # atomic: guesses reach several workers
        blocked_s = 0
        if block.is_too_many(failures, blocks, self._failures_limit):
            blocked_s = block.lasts_s(blocks + 1)
            htable.sht_seti(BLOCKS, key, blocks + 1)
            htable.sht_rm(FAILURES, key)
            htable.sht_setxi(BLOCKED, key, 1, blocked_s)
        self._notices.send(NoticeReason.PASSWORD, source, now, blocked_s=blocked_s, detail=user)
