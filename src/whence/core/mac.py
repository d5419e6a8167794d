"""Keyed hashes (MACs) over lists of texts."""

from __future__ import annotations

import hmac
from functools import lru_cache
from hashlib import blake2s


def is_same(mac: str, other: str) -> bool:
    """Compare two MACs in a time that does not depend on where they differ."""
    return hmac.compare_digest(mac.encode(), other.encode())


def mac(key: str, size: int, *parts: str) -> str:
    """Return a keyed hash of `size` bytes over the parts, in hex. `key` is hex, too."""
    # The length before each part: two different lists of parts never give the same text.
    text = "".join([f"{len(part)}:{part}" for part in parts])
    return blake2s(text.encode(), key=_bytes(key), digest_size=size).hexdigest()


@lru_cache(maxsize=4)
def _bytes(key: str) -> bytes:
    return bytes.fromhex(key)
