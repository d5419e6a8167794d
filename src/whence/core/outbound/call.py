"""A user's call while its INVITE is under way: what the next try needs, as one text.

Kamailio keeps the text in a variable of the transaction, because its workers share no memory of
Python.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from whence.core.outbound.answers import FailureReason, TryNext
from whence.core.outbound.caller import Caller
from whence.core.outbound.model import TRY_S, OutboundUser
from whence.core.outbound.numbers import Called
from whence.core.outbound.rounds import NO_ROUNDS, Rounds


@dataclass(frozen=True, slots=True)
class OutboundCall:
    """A call to a number, with the trunk that is tried now, and those after it."""

    caller: Caller
    """Of the user it has only the name."""
    called: Called
    cseq: int
    """The phone's CSeq."""
    from_tag: str
    phone_from: str
    """The URI in the phone's From, as written."""
    phone_to: str
    contact: str
    """The URI in the phone's Contact, as written."""
    hidden: tuple[str, ...]
    """The phone's headers that no trunk gets."""
    cookie: str
    """The cookie of the dialog, for our Record-Route."""
    trunks: tuple[str, ...]
    """The ids of the trunks that were not tried yet, in their order."""
    trunk_id: str = ""
    """The trunk that is tried now."""
    rounds: Rounds = NO_ROUNDS
    """The challenges of this trunk."""
    tried: tuple[TryNext, ...] = ()
    """How the trunks before it failed."""
    try_s: float = TRY_S

    def with_next_trunk(self) -> OutboundCall | None:
        """Return the call at its next trunk; None if there is none left."""
        if not self.trunks:
            return None
        trunk_id, *left = self.trunks
        return replace(self, trunk_id=trunk_id, trunks=tuple(left), rounds=NO_ROUNDS)

    def with_failure(self, outcome: TryNext) -> OutboundCall:
        """Return the call after the failure of its trunk."""
        return replace(self, tried=(*self.tried, outcome))

    def with_rounds(self, rounds: Rounds) -> OutboundCall:
        """Return the call after a challenge of its trunk."""
        return replace(self, rounds=rounds)

    def to_text(self) -> str:
        """Write it as one text, for a variable of Kamailio's transaction."""
        caller, called = self.caller, self.called
        values = [
            [caller.user.name, *caller[1:]],
            [called.number, called.emergency],
            self.cseq,
            self.from_tag,
            self.phone_from,
            self.phone_to,
            self.contact,
            " ".join(self.hidden),
            self.cookie,
            " ".join(self.trunks),
            self.trunk_id,
            self.rounds.to_text(),
            [[one.reason, one.status, one.phrase] for one in self.tried],
            self.try_s,
        ]
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> OutboundCall:
        """Read what `to_text` wrote. Raises ValueError for other text."""
        (
            (name, *of_caller),
            (number, emergency),
            cseq,
            from_tag,
            phone_from,
            phone_to,
            contact,
            hidden,
            cookie,
            trunks,
            trunk_id,
            rounds,
            tried,
            try_s,
        ) = json.loads(text)
        return cls(
            Caller(OutboundUser(name), *of_caller),
            Called(number, emergency=emergency),
            cseq,
            from_tag,
            phone_from,
            phone_to,
            contact,
            tuple(hidden.split()),
            cookie,
            tuple(trunks.split()),
            trunk_id,
            Rounds.from_text(rounds),
            tuple(TryNext(FailureReason(r), status, phrase) for r, status, phrase in tried),
            try_s,
        )
