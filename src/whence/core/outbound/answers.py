"""What a trunk's final answer to a user's call means: another try, the next trunk, or an answer.

Another trunk is tried only if this trunk failed, and never if the called party refused the call.
The phone gets no challenge of a trunk, because it cannot answer it. It gets no redirect, because
it would call past the edge. It gets no 503, which would mean that the edge is down (RFC 3261 16.7).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from whence.core.outbound.rounds import ChallengeFault, Rounds
from whence.core.sip.digest import Challenge, Credentials


class FailureReason(StrEnum):
    """Why a trunk did not carry a call."""

    NO_ANSWER = "no_answer"
    """It sent nothing in time."""
    NOT_SENT = "not_sent"
    """Nothing could be sent to it: its TCP connection is refused."""
    UNAVAILABLE = "unavailable"
    """503"""
    SERVER_ERROR = "server_error"
    TIMED_OUT = "timed_out"
    """408, or a provisional answer and no final one"""
    FORBIDDEN = "forbidden"
    NO_USABLE_CHALLENGE = "no_usable_challenge"
    CREDENTIALS_REJECTED = "credentials_rejected"
    CHALLENGED_TOO_OFTEN = "challenged_too_often"
    CHALLENGE_FROM_ELSEWHERE = "challenge_from_elsewhere"
    """The source of a challenge is no address of the trunk. Somebody may want a digest of it."""

    @property
    def is_of_trunk(self) -> bool:
        """Return whether the trunk fails for all calls, and not only for this number or call."""
        return self in _OF_TRUNK


_OF_TRUNK = {
    FailureReason.NO_ANSWER,
    FailureReason.NOT_SENT,
    FailureReason.UNAVAILABLE,
    FailureReason.NO_USABLE_CHALLENGE,
    FailureReason.CREDENTIALS_REJECTED,
    FailureReason.CHALLENGED_TOO_OFTEN,
}


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """The final answer of a trunk, or Kamailio's own one in place of it."""

    status: int
    challenges: tuple[Challenge, ...] = ()
    """Of a 401 or 407."""
    from_trunk: bool = False
    """Whether its source is an address of the trunk."""
    timed_out: bool = False
    """Whether Kamailio made it, because the trunk sent no final answer in time."""
    had_provisional: bool = False
    """Whether the trunk sent a provisional answer before."""


@dataclass(frozen=True, slots=True)
class AnswerChallenge:
    """Send the request again to the same trunk, with credentials."""

    rounds: Rounds


@dataclass(frozen=True, slots=True)
class TryNext:
    """Try the next trunk; without one, answer with `status`."""

    reason: FailureReason
    status: int
    phrase: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer the phone with this status, instead of the trunk's."""

    status: int
    phrase: str


@dataclass(frozen=True, slots=True)
class Pass:
    """Pass the trunk's answer to the phone."""


PASS = Pass()
NOT_SENT = TryNext(FailureReason.NOT_SENT, 500, "Server Internal Error")
"""What follows where nothing can be sent to a trunk."""

TERMINATED = Answer(487, "Request Terminated")

Outcome = AnswerChallenge | TryNext | Answer | Pass

_CHALLENGES = frozenset({401, 407})
_PHRASES = {
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    504: "Server Time-out",
    513: "Message Too Large",
    580: "Precondition Failure",
}


def initial_answer(
    answer: FinalAnswer, rounds: Rounds, credentials: Credentials, *, canceled: bool
) -> Outcome:
    """Return what follows a trunk's final answer to the INVITE of a call.

    `canceled`: whether the phone has canceled it. A CANCEL may arrive before the challenge, or
    while a trunk fails. No other trunk may ring then.
    """
    outcome = _initial(answer, rounds, credentials)
    return TERMINATED if canceled and isinstance(outcome, AnswerChallenge | TryNext) else outcome


def _initial(answer: FinalAnswer, rounds: Rounds, credentials: Credentials) -> Outcome:
    status = answer.status
    if status in _CHALLENGES:
        return _challenged(answer, rounds, credentials)
    if answer.timed_out and not answer.had_provisional:
        return TryNext(FailureReason.NO_ANSWER, 408, "Request Timeout")
    if answer.timed_out or status == 408:
        return TryNext(FailureReason.TIMED_OUT, 408, "Request Timeout")
    if status == 403:
        return TryNext(FailureReason.FORBIDDEN, 403, "Forbidden")
    if status == 503:
        return _fault(FailureReason.UNAVAILABLE)
    if 500 <= status < 600:
        return TryNext(FailureReason.SERVER_ERROR, status, _PHRASES.get(status, "Server Error"))
    return Answer(480, "Temporarily Unavailable") if 300 <= status < 400 else PASS


def dialog_answer(
    answer: FinalAnswer, rounds: Rounds, credentials: Credentials, *, to_trunk: bool
) -> Outcome:
    """Return what follows the final answer to a request inside a dialog.

    `to_trunk`: whether the phone sent the request. The dialog leads where the peer's Contact leads,
    so an answer may come from a foreign server. It gets no digest, and the phone gets a 403.
    """
    status = answer.status
    if to_trunk and status in _CHALLENGES:
        outcome = _challenged(answer, rounds, credentials)
        return outcome if isinstance(outcome, AnswerChallenge) else Answer(403, "Forbidden")
    if to_trunk and 300 <= status < 400:  # a 488 leaves the dialog as it is
        return Answer(488, "Not Acceptable Here")
    return Answer(500, "Server Internal Error") if status == 503 else PASS


def final_answer(tried: Iterable[TryNext]) -> Answer:
    """Return the answer to a call that none of its trunks carried. `tried`: in their order.

    The last trunk to which the edge could send decides. A fault that the phone cannot repair is
    answered by 500.
    """
    outcomes = list(tried)
    for outcome in reversed(outcomes):
        if outcome.reason is not FailureReason.NOT_SENT:
            return Answer(outcome.status, outcome.phrase)
    return Answer(NOT_SENT.status, NOT_SENT.phrase)


def _challenged(
    answer: FinalAnswer, rounds: Rounds, credentials: Credentials
) -> AnswerChallenge | TryNext:
    if not answer.from_trunk:
        return _fault(FailureReason.CHALLENGE_FROM_ELSEWHERE)
    following = rounds.challenged(answer.challenges, credentials)
    if isinstance(following, ChallengeFault):
        return _fault(FailureReason(following))
    return AnswerChallenge(following)


def _fault(reason: FailureReason) -> TryNext:
    return TryNext(reason, 500, "Server Internal Error")
