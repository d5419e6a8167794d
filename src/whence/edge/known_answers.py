"""Known answers: calls that Kamailio gives to a trunk itself, because they were decided before.

A worker that decides a call writes the answer into Kamailio's table KNOWN. The route KNOWN of
kamailio.cfg gives the next call of the same key to the same trunk, without Python.

- The key is everything that the decision depends on, and the generation that was read before the
  directory. The answer ends with its whole key, and the route compares the whole key.
- A worker writes only what it decided itself, and only if Kamailio and Python read the same key. So
  no text that they read differently has an answer.
- An answer ends before the address that admitted the call.
- The look-out (look_out.py) publishes the valid generation. Without it, no answer is known.
- An answer has one place, by a hash of its key, and all have the same length. So the memory that
  they take is constant. In Kamailio 5.6, an entry that a longer one replaces never expires.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from whence.edge.base import Worker, text
from whence.edge.decision_cache import CachedDecision, CacheKey

TABLE = "known"
WIDTH = 640
"""The length of each entry. A longer one is not written."""

DAY_S = 86_400
MARGIN_S = 2
"""An entry is valid in all of its last second, and the second of now is not over."""

KEY, PLACE = "$var(key)", "$var(place)"
SEPARATOR = "|"
TO_URI, TO_USER, TO_USER_CALLED = "t", "u", "c"
"""The kinds of an answer: to a URI, or to a local user. With the last one the edge's
P-Called-Party-ID replaces that of the request."""

_GENERATION_DIGITS = 16
_EPOCH_DIGITS = 4


class Published(NamedTuple):
    """What the look-out publishes: the generation, its epoch, and the further number headers."""

    generation: bytes
    epoch: int
    headers: tuple[str, ...] = ()

    def text(self) -> str:
        """Write it as the first part of each key."""
        names = "".join(f",{name}" for name in self.headers)
        return f"{self.generation.hex()}{self.epoch % 0x10000:04x}{names}"

    @classmethod
    @lru_cache(maxsize=16)  # it is the same for all calls until the directory changes
    def parse(cls, text: str) -> Published | None:
        """Read what `text` wrote; None for anything else."""
        end = _GENERATION_DIGITS + _EPOCH_DIGITS
        try:
            generation = bytes.fromhex(text[:_GENERATION_DIGITS])
            epoch = int(text[_GENERATION_DIGITS:end], 16)
        except ValueError:
            return None
        found = cls(generation, epoch, tuple(text[end:].split(",")[1:]))
        return found if found.text() == text else None


class KnownCall(NamedTuple):
    """An entry of the table, as Kamailio passes it to Python."""

    trunk: str
    target: str
    is_ours: bool
    rule: str
    source: str
    ruri: str
    to: str
    p_called_party_id: str | None

    @classmethod
    def parse(cls, entry: str) -> KnownCall:
        """Read an entry. Raises ValueError."""
        _, target, kind, trunk, rule, key = entry.split(SEPARATOR)
        _, source, ruri, length, rest = key.split(" ", 4)
        to, called = rest, None
        if length != "-":
            to, called = rest[: int(length)], rest[int(length) + 1 :]
        return cls(trunk, target, kind != TO_URI, rule.rstrip(" "), source, ruri, to, called)


def key_text(published: str, key: CacheKey) -> str | None:
    """Write a key as the route KNOWN does; None where two keys could give the same text.

    A blank ends each part but the last one; To has its length if another part follows it.
    """
    source, ruri, to, called, others = key
    if not to or others or " " in source or " " in ruri:
        return None
    rest = f"- {to}" if called is None else f"{len(to)} {to} {called}"
    return f"{published} {source} {ruri} {rest}"


def entry_text(decision: CachedDecision, key: str) -> str | None:
    """Write an entry; None if its text is too long, or not what all programs read alike."""
    kind = TO_URI
    if decision.is_ours:
        kind = TO_USER_CALLED if decision.has_called_party else TO_USER
    lines = decision.headers.split("\r\n")
    parts = (decision.target, kind, decision.trunk, decision.rule)
    words = "".join((*lines, *parts, key))
    if not (words.isascii() and words.isprintable()) or SEPARATOR in words:
        return None
    content = SEPARATOR.join((decision.headers, *parts))
    fill = WIDTH - len(content) - len(SEPARATOR) - len(key)
    return None if fill < 0 else f"{content}{' ' * fill}{SEPARATOR}{key}"


class KnownAnswers:
    """Writes the answers of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def keep(self, key: CacheKey, decision: CachedDecision, now: float) -> None:
        """Write the answer to the current INVITE. Call it before another generation is read."""
        worker, ksr = self._worker, self._worker.ksr
        written = text(lambda: ksr.pv.get(KEY))
        if not written:
            return
        first = written.partition(" ")[0]
        published = Published.parse(first)
        if published is None or not worker.has_read(published.generation, published.headers):
            return
        if written != key_text(first, key):
            return
        lasts_s = int(min(decision.until, now + DAY_S) - now) - MARGIN_S
        entry = entry_text(decision, written)
        if entry is not None and lasts_s > 0:
            ksr.htable.sht_setxs(TABLE, str(ksr.pv.get(PLACE)), entry, lasts_s)
