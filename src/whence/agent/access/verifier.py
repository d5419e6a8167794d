"""Verifies the tokens of requests, without blocking the event loop and within bounds.

A hash of argon2 is slow on purpose. So a token that was verified is remembered by a keyed hash in
memory. Only a token with a public part that exists costs a slow hash, one at a time. For any other
the agent looks into a table, and no more.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from whence.agent.access.tokens import StoredToken, TokenFile, id_of
from whence.core.access import Caller, WrongTokens, source_network
from whence.errors import OperatorError, WhenceError

log = logging.getLogger(__name__)

CACHE = 256
"""How many verified tokens are remembered."""

WAITING = 8
"""How many slow hashes may wait."""

LINES_A_MINUTE = 60
"""How many wrong tokens a minute the log has."""

TIME_COST, MEMORY_KIB = 2, 19_456
"""The costs of argon2id. A token has 256 random bits, so higher costs add nothing."""


class WrongTokenError(WhenceError):
    """The token is wrong, has expired or was revoked."""

    def __init__(self) -> None:
        super().__init__("the token is wrong, has expired or was revoked; use another one")


class TooManyWrongTokensError(WhenceError):
    """The source is locked, or too many tokens are being verified. `retry_s`: how long to wait."""

    def __init__(self, retry_s: float) -> None:
        self.retry_s = retry_s
        super().__init__("too many wrong tokens came from this source; wait, and try again")


def hashed(token: str) -> str:
    """Return the hash of a token that is stored (argon2id)."""
    from argon2 import PasswordHasher  # noqa: PLC0415 - needed with tokens only

    hasher = PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=1)
    return hasher.hash(token)


def matches(stored: str, token: str) -> bool:
    """Return whether a stored hash is that of a token. It takes some 20 ms of CPU time."""
    from argon2 import PasswordHasher  # noqa: PLC0415
    from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415

    try:
        return PasswordHasher().verify(stored, token)
    except (VerificationError, InvalidHashError):
        return False


class TokenVerifier:
    """Finds the caller of a token."""

    def __init__(
        self,
        file: TokenFile,
        clock: Callable[[], float] = time.time,
        matches: Callable[[str, str], bool] = matches,
    ) -> None:
        """`matches`: compares a stored hash with a token, slowly."""
        self.wrong = WrongTokens()
        self._file = file
        self._clock = clock
        self._matches = matches
        self._key = secrets.token_bytes(32)
        self._read: object = ()  # no file has this identity
        self._tokens: dict[str, StoredToken] = {}
        self._verified: OrderedDict[bytes, str] = OrderedDict()
        self._one_at_a_time = asyncio.Semaphore(1)
        self._waiting = 0
        self._minute, self._lines = 0, 0

    @property
    def has_tokens(self) -> bool:
        """Whether a token exists."""
        self._refresh()
        return bool(self._tokens)

    async def caller(self, token: str, source: str) -> Caller:
        """Return the caller of a token.

        `source`: the ip of the sender, or another text that names it. A verified token is accepted
        from a locked source, too: others may send wrong ones from the same address.
        Raises: WrongTokenError, TooManyWrongTokensError.
        """
        self._refresh()
        digest = blake2b(token.encode("utf-8", "replace"), key=self._key).digest()
        stored = self._tokens.get(self._verified.get(digest, ""))
        if stored is None:
            stored = await self._verify(token, source_network(source))
            self._verified[digest] = stored.id
            while len(self._verified) > CACHE:
                self._verified.popitem(last=False)
        else:
            self._verified.move_to_end(digest)
        if not stored.valid(self._clock()):
            raise WrongTokenError
        return Caller(stored.name, stored.role, stored.id)

    async def _verify(self, token: str, source: str) -> StoredToken:
        self._raise_if_locked(source)
        stored = self._tokens.get(id_of(token) or "")
        if stored is None or not stored.valid(self._clock()):
            raise self._failed(source)
        if self._waiting >= WAITING:
            raise TooManyWrongTokensError(1.0)
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                self._raise_if_locked(source)
                is_right = await asyncio.to_thread(self._matches, stored.hash, token)
        finally:
            self._waiting -= 1
        self._refresh()
        if not is_right or self._tokens.get(stored.id) != stored:  # it may have been revoked
            raise self._failed(source)
        self.wrong.succeeded(source)
        return stored

    def _raise_if_locked(self, source: str) -> None:
        locked_s = self.wrong.locked_for(source, self._clock())
        if locked_s > 0:
            raise TooManyWrongTokensError(locked_s)

    def _failed(self, source: str) -> WrongTokenError:
        now = self._clock()
        locked_s = self.wrong.failed(source, now)
        if int(now / 60) != self._minute:
            self._minute, self._lines = int(now / 60), 0
        self._lines += 1
        if self._lines <= LINES_A_MINUTE:
            log.warning("api_token_wrong source=%s locked_s=%.0f", source, locked_s)
        return WrongTokenError()

    def _refresh(self) -> None:
        """Read the file again if it has changed. An unreadable file has no tokens."""
        identity = self._file.identity()
        if identity == self._read:
            return
        before, self._tokens = self._tokens, {}
        try:
            self._tokens = self._file.read()
        except OperatorError as error:
            log.error("no token is accepted: %s", error)  # noqa: TRY400 - no bug of ours
        # The other tokens stay verified: their source may be locked now.
        for digest, id_ in list(self._verified.items()):
            if id_ not in before or self._tokens.get(id_) != before[id_]:
                del self._verified[digest]
        self._read = identity
