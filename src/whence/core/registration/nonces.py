"""How often each nonce of a registrar was used: a nonce count must never repeat (RFC 7616 3.4).

A registrar may send the same nonce again: after a grant, a failure or a restart of the agent. So
the counts outlive the challenge, and the directory stores them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from whence.core.sip.digest import Challenge

LIMIT = 16
"""How many nonces of one trunk are counted; the one used longest ago is dropped first."""

_KEY_DIGITS = 12


@dataclass(frozen=True, slots=True)
class NonceCounts:
    """The counts of the last nonces of one trunk.

    `text`: `KEY:COUNT` of each with blanks between, in the order of use. A key is a hash.
    """

    text: str = ""

    def used(self, challenge: Challenge) -> tuple[int, NonceCounts]:
        """Count one more use of a challenge's nonce; return its count and the new counts."""
        key = _key(challenge)
        others = [entry for entry in self.text.split() if not entry.startswith(key)]
        count = self._count(key) + 1
        return count, NonceCounts(" ".join([*others, f"{key}:{count}"][-LIMIT:]))

    def _count(self, key: str) -> int:
        for entry in self.text.split():
            known, _, count = entry.partition(":")
            if known == key:
                return int(count)
        return 0


def _key(challenge: Challenge) -> str:
    text = f"{challenge.proxy} {challenge.realm} {challenge.nonce}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:_KEY_DIGITS]
