"""Nonces of our own digest challenges (RFC 7616 3.3). A nonce needs no storage before its use."""

from __future__ import annotations

from whence.core import mac

LIFETIME_S = 300
_MAC_BYTES = 16
_INSTANT = 8
"""Hex digits of the second at which a nonce was made."""
RANDOM = 16
"""Hex digits of the random part of a nonce."""


def make(key: str, at_s: int, random: str, *bound: str) -> str:
    """Return a nonce, in hex: its instant, a random part, and a MAC over both and `bound`.

    `at_s`: seconds of a clock that no step changes. `random`: RANDOM hex digits. `bound`: what the
    answer must have, as the ip of its sender.
    """
    head = f"{at_s:0{_INSTANT}x}{random}"
    return head + mac.mac(key, _MAC_BYTES, "nonce", head, *bound)


def is_valid(key: str, nonce: str, now_s: int, *bound: str) -> bool:
    """Return whether `make` made this nonce in the last LIFETIME_S seconds, for this `bound`."""
    head = nonce[: _INSTANT + RANDOM]
    if not mac.is_same(nonce, head + mac.mac(key, _MAC_BYTES, "nonce", head, *bound)):
        return False
    return 0 <= now_s - int(head[:_INSTANT], 16) <= LIFETIME_S


def random_of(nonce: str) -> str:
    """Return the random part of a valid nonce: its name, which no other nonce has."""
    return nonce[_INSTANT : _INSTANT + RANDOM]
