"""Read the digest challenges of a 401 or 407 (RFC 7235 4.1, RFC 7616 3.3, RFC 8760)."""

from __future__ import annotations

import re
from functools import lru_cache

from whence.core.sip.digest import Challenge
from whence.core.sip.grammar import QUOTED, unquote

HEADER_LIMIT = 2_048
"""The longest header that is read; a longer one could cost seconds of CPU time."""

_PARAM = re.compile(rf'(?<![\w-])([\w-]+)\s*=\s*(?:({QUOTED})|([^\s,"]+))', re.ASCII)
_QUOTED = re.compile(QUOTED)
_SCHEME = re.compile(r"(?:^|,)\s*([\w-]+)\s+(?=[\w-]+\s*=)", re.ASCII)


def parse_challenges(text: str, *, proxy: bool) -> list[Challenge]:
    """Return the Digest challenges of one header; it may have several.

    A header with control or bidirectional characters has none. Parts of a challenge are copied into
    our own headers, and shown to the operator.
    """
    text = text.replace("\t", " ")
    if len(text) > HEADER_LIMIT or not text.isprintable():
        return []
    found = list(_SCHEME.finditer(text))
    if [match.start() for match in found] != [0]:  # one in quotes is none
        found = list(_SCHEME.finditer(_QUOTED.sub(_masked, text)))
    starts = [(m.start(1), m.end(), m[1]) for m in found]
    ends = [start for start, _, _ in starts[1:]] + [len(text)]
    return [
        _challenge(text[begin:end], proxy=proxy)
        for (_, begin, scheme), end in zip(starts, ends, strict=False)
        if scheme.lower() == "digest"
    ]


def _masked(quoted: re.Match[str]) -> str:
    return '"' + "_" * (len(quoted[0]) - 2) + '"'


def parse_params(text: str) -> dict[str, str]:
    """Return name in lower case → value of `name=value` pairs; the first of each name counts."""
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAM.findall(text):
        found.setdefault(name.lower(), plain or unquote(quoted))
    return found


def repeats_param(text: str) -> bool:
    """Return whether a name occurs twice in the `name=value` pairs."""
    names = [name.lower() for name, _, _ in _PARAM.findall(text)]
    return len(set(names)) != len(names)


def _challenge(text: str, *, proxy: bool) -> Challenge:
    found = parse_params(text)
    # Each trunk keeps its own nonce; equal realms of thousands of trunks share one string.
    return Challenge(
        realm=_shared(found.get("realm", "")),
        nonce=found.get("nonce", ""),
        algorithm=_shared(found.get("algorithm", "MD5")),
        qop=_qop(found.get("qop", "")),
        opaque=found.get("opaque"),
        stale=found.get("stale", "").lower() == "true",
        proxy=proxy,
    )


@lru_cache(maxsize=1024)
def _shared(text: str) -> str:
    return text


@lru_cache(maxsize=64)
def _qop(text: str) -> tuple[str, ...]:
    return tuple(q.strip().lower() for q in text.split(",") if q.strip())
