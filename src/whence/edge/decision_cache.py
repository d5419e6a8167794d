"""What this worker has decided already: good until the directory moves, or an address ends.

Who writes the directory has a *generation*, eight bytes mapped into every worker, move before and
after each change that could change an answer. So a call that was asked about before costs no query;
and a trunk that is taken away is gone with the next call. Only identified calls are kept: a
stranger cannot fill the place of others.
"""

from __future__ import annotations

from typing import NamedTuple

from whence.core.identification.decision import Rule
from whence.store.generation import GenerationReader

LIMIT = 10_000
"""How many answers a worker keeps, about a kilobyte each; one more, and it begins anew."""

LONGEST = 1_000
"""Characters of what is asked: nobody's long URIs fill a worker's memory."""


LOOK_S = 1.0
"""How often it is looked whether the generation is still the file that is there."""


class CacheKey(NamedTuple):
    """All that a decision can rest on, as the request says it; its source as transport:ip:port."""

    source: str
    ruri: str
    to: str | None
    p_called_party_id: str | None
    others: str = ""
    """Further headers that some trunk has in its `number_headers`: `number_headers.text_of`."""


class CachedDecision(NamedTuple):
    """Whose an identified call is, where it goes, and what is said of it.

    `trunk`: its trunk's id; `rule`: why. `headers`: the lines that are added to it. `is_ours`:
    whether `target` is a user of ours. `until`: when to ask anew.
    `told`: what the agent is told of every such call (ipc/decisions.py).
    `says_called`: whether there is a P-Called-Party-ID in `headers`, in the place of the request's.
    """

    trunk: str
    rule: Rule
    headers: str
    target: str
    is_ours: bool
    until: float
    told: str
    says_called: bool = False


class DecisionCache:
    """The answers of one worker."""

    def __init__(self, generation: GenerationReader) -> None:
        self._generation = generation
        self._seen: bytes | None = None
        self._look_at = 0.0
        self._answers: dict[CacheKey, CachedDecision] = {}

    @property
    def seen(self) -> bytes | None:
        """The generation that was looked at last; None: there was none."""
        return self._seen

    def get(self, asked: CacheKey, now: float) -> CachedDecision | None:
        """The answer, if it is known and still good. Ask this *before* the directory is read."""
        if not self.stands(now):
            return None
        answer = self._answers.get(asked)
        return answer if answer is not None and now < answer.until else None

    def stands(self, now: float) -> bool:
        """Whether the directory is as it was when this was asked last; else all is forgotten."""
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._generation.look()
        generation = self._generation.now()
        if generation is None or generation != self._seen:
            self._answers.clear()
            self._seen = generation
            return False
        return True

    def generation(self) -> bytes | None:
        """Return the directory's generation; None while it has none."""
        return self._generation.now()

    def keep(self, asked: CacheKey, answer: CachedDecision) -> None:
        """Keep an answer that was read from the directory after the last `get`; not of what is
        too long.
        """
        if self._seen is None or sum([len(text or "") for text in asked]) > LONGEST:
            return
        if len(self._answers) >= LIMIT:
            self._answers.clear()
        self._answers[asked] = answer
