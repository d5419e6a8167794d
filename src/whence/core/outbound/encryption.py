"""Encrypt values that a peer keeps for us, as in our Record-Route, so that only we can read them.

A value is its kind, one letter, and base32 in small letters: MAC (96 bits) and ciphertext. Some
parsers change capital letters in a URI. The key stream depends on the MAC, and the MAC on kind,
context and content. This is a synthetic initialization vector, as in RFC 5297. So no two contents
have the same key stream, and a value is valid in its own context only.
"""

from __future__ import annotations

import re
from hashlib import shake_256

from whence.core.mac import is_same, mac

_MAC_LENGTH = 12
_VALUE_LIMIT = 2_048
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_TEXT = re.compile(r"[0-9a-v]++", re.ASCII)


def encrypt(key: str, kind: str, context: tuple[str, ...], content: bytes) -> str:
    """Return `content` as a value. `key`: in hex. `context`: `decrypt` needs the same."""
    tag = _tag(key, kind, context, content)
    return kind + _base32(bytes.fromhex(tag) + _mixed(key, tag, content))


def decrypt(
    key: str, kind: str, context: tuple[str, ...], value: str, limit: int = _VALUE_LIMIT
) -> bytes | None:
    """Return the content of a value; None if it is not ours, or of another kind or context.

    `limit`: the longest value that is read.
    """
    is_whole = value.startswith(kind) and len(value) <= limit
    raw = _raw(value.removeprefix(kind)) if is_whole else None
    if raw is None:
        return None
    tag = raw[:_MAC_LENGTH].hex()
    content = _mixed(key, tag, raw[_MAC_LENGTH:])
    return content if is_same(tag, _tag(key, kind, context, content)) else None


def _base32(raw: bytes) -> str:
    """Encode bytes. Each two characters have ten bits; spare bits at the end are zero."""
    bits = len(raw) * 8
    pairs = -(-bits // 10)
    number = int.from_bytes(raw, "big") << pairs * 10 - bits
    text = "".join([_PAIRS[number >> at & 1023] for at in range(pairs * 10 - 10, -1, -10)])
    return text[: -(-bits // 5)]


def _raw(text: str) -> bytes | None:
    """Decode base32. None unless `encrypt` writes the same text for the result."""
    if not _TEXT.fullmatch(text):
        return None
    size, spare = divmod(len(text) * 5, 8)
    number = int(text, 32)
    if size < _MAC_LENGTH or spare >= 5 or number & (1 << spare) - 1:
        return None
    return (number >> spare).to_bytes(size, "big")


def _tag(key: str, kind: str, context: tuple[str, ...], content: bytes) -> str:
    return mac(key, _MAC_LENGTH, "outbound", kind, *context, content.decode("latin-1"))


def _mixed(key: str, tag: str, content: bytes) -> bytes:
    """Combine a content with the key stream; a second time restores it."""
    size = len(content)
    stream = shake_256(f"outbound:{key}:{tag}".encode()).digest(size)
    mixed = int.from_bytes(content, "big") ^ int.from_bytes(stream, "big")
    return mixed.to_bytes(size, "big")
