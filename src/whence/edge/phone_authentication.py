"""Authenticates phones of local users by digest, and blocks sources of too many wrong passwords."""

from __future__ import annotations

import time

from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.protection import blocks as block
from whence.core.sip.transport_address import TransportAddress
from whence.edge.base import PHONES, Worker, text
from whence.edge.guard import table_key
from whence.edge.notice_sender import NoticeSender
from whence.edge.phone_sha256 import Result, Sha256

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
UNUSABLE_HA1 = "0" * 32
"""The HA1 that the edge checks for an unknown user name. No password has it."""


class PhoneAuthentication:
    """Checks the digest of the current request."""

    def __init__(
        self,
        worker: Worker,
        notices: NoticeSender,
        domain: str,
        failures_limit: int,
        *,
        sha256: bool,
    ) -> None:
        """`failures_limit`: wrong passwords before a source is blocked; 0: it never is.

        `sha256`: whether the edge offers SHA-256, besides MD5.
        """
        self._worker = worker
        self._ksr = worker.ksr
        self._notices = notices
        self._domain = domain
        self._failures_limit = failures_limit
        self._sha256 = Sha256(worker, domain, is_offered=sha256)

    def is_blocked(self, source: TransportAddress) -> bool:
        """Return whether a source is blocked. A phone that was authenticated there is not."""
        sht_get = self._ksr.htable.sht_get
        return (
            bool(self._failures_limit)
            and sht_get(BLOCKED, table_key(source.ip)) is not None
            and sht_get(PHONES, f"{source.ip}:{source.port}") is None
        )

    def accepts(self, name: str, source: TransportAddress) -> bool:
        """Return whether the request has the digest of the user `name`; else challenge it.

        The edge checks and challenges an unknown name like a known one. So neither the answer nor
        its delay shows which names exist.
        """
        sha256 = self._sha256.check(name, source)
        result = sha256 if sha256 is not None else self._check_md5(name)
        if result is Result.RIGHT:
            self._remember(source)
            return True
        is_stale = result is Result.STALE
        self._sha256.add_challenge(source, stale=is_stale)  # the strongest is the first: RFC 8760
        flags = QOP_AUTH | (SEND_STALE if is_stale else 0)
        self._ksr.auth.auth_challenge(self._domain, flags)
        if result is Result.WRONG:
            self._wrong_password(source, name, time.time())
        return False

    def _check_md5(self, name: str) -> Result:
        """Check the answer to a challenge of Kamailio, which has its own nonces."""
        ksr, domain = self._ksr, self._domain
        ha1 = self._worker.directory.user_ha1(name, domain)
        checked = ksr.auth.pv_auth_check(domain, ha1 or UNUSABLE_HA1, HA1_GIVEN, 0)
        if ha1 is not None and checked > 0 and text(ksr.kx.gete_au) == name:
            return Result.RIGHT
        if checked in NONCE_STALE:
            return Result.STALE
        is_wrong = checked == WRONG_PASSWORD or (checked > 0 and ha1 is None)
        return Result.WRONG if is_wrong else Result.NONE

    def _remember(self, source: TransportAddress) -> None:
        """Remember that a phone was authenticated from this source."""
        self._ksr.htable.sht_seti(PHONES, source.ip_text, 1)
        self._ksr.htable.sht_seti(PHONES, f"{source.ip}:{source.port}", 1)

    def _wrong_password(self, source: TransportAddress, user: str, now: float) -> None:
        """Count a wrong password, block its source if there were too many, and report it.

        The nonce is ours and for this ip, so the source received our challenge and is not forged.
        """
        htable, key = self._ksr.htable, table_key(source.ip)
        blocks = int(htable.sht_get(BLOCKS, key) or 0)
        failures = htable.sht_inc(FAILURES, key)  # atomic: guesses reach several workers
        blocked_s = 0
        if block.is_too_many(failures, blocks, self._failures_limit):
            blocked_s = block.lasts_s(blocks + 1)
            htable.sht_seti(BLOCKS, key, blocks + 1)
            htable.sht_rm(FAILURES, key)
            htable.sht_setxi(BLOCKED, key, 1, blocked_s)
        self._notices.send(NoticeReason.PASSWORD, source, now, blocked_s=blocked_s, detail=user)
