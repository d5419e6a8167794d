"""Chooses the uac account of a call, without the accounts that `uac` no longer has."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from enum import StrEnum

from whence.core.identification.decision import NAMING, Decision, Identified, Refused
from whence.core.identification.request import Evidence

RECORDS_LIMIT = 16
"""How many removed accounts are passed over for one call, before it is declined."""


@dataclass(frozen=True, slots=True)
class ChosenAccount:
    """A decision that rests only on present accounts. `among_all`: no account was excluded."""

    decision: Decision
    evidence: Evidence
    among_all: bool


class Declined(StrEnum):
    """The code of why the drop-in gives a request to no trunk, without a decision.

    The include itself has the code `not_initial`.
    """

    UNREADABLE_REQUEST = "unreadable_request"
    UNREADABLE_REQUEST_URI = "unreadable_request_uri"
    ACCOUNT_MISSED = "account_missed"
    """`uac` does not list the account now, but may list it again in a moment."""
    ACCOUNT_GONE = "account_gone"
    TOO_MANY_ACCOUNTS_GONE = "too_many_accounts_gone"
    ACCOUNT_NOT_READY = "account_not_ready"
    DIRECTORY_UNAVAILABLE = "directory_unavailable"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class NoAccount:
    """A removed account may be the right one, so that no other account gets the call."""

    reason: Declined
    message: str


def choose(
    decide: Callable[[Set[str]], tuple[Decision, Evidence]],
    is_present: Callable[[str], bool],
    missed_lately: Callable[[str], bool],
) -> ChosenAccount | NoAccount:
    """Decide, and decide again without removed accounts, until all accounts involved are present.

    - `decide`: decides as if the given trunks had no address.
    - `is_present`: returns whether `uac` has the account, enabled.
    - `missed_lately`: returns whether `uac` does not list it now, but may do so in a moment.
    """
    without: set[str] = set()
    named = False
    while True:
        decision, evidence = decide(without)
        fallen = [id_ for id_ in _whose(decision) if not is_present(id_)]
        if not fallen:
            break
        if any(missed_lately(id_) for id_ in fallen):
            message = f"uac has no account {fallen[0]} now"
            return NoAccount(Declined.ACCOUNT_MISSED, message)
        named = named or _names_one(decision)
        without.update(fallen)
        if len(without) > RECORDS_LIMIT:
            message = "too many uac accounts of its address are gone"
            return NoAccount(Declined.TOO_MANY_ACCOUNTS_GONE, message)
    gone = isinstance(decision, Refused) and without.intersection(decision.steps[-1].left)
    if named and (gone or not _names_one(decision)):
        return NoAccount(Declined.ACCOUNT_GONE, "the uac account that it names is gone")
    return ChosenAccount(decision, evidence, among_all=not without)


def _whose(decision: Decision) -> tuple[str, ...]:
    """Return the trunks to which the call would belong."""
    if isinstance(decision, Identified):
        return (decision.trunk.id,)
    return decision.candidates if isinstance(decision, Refused) else ()


def _names_one(decision: Decision) -> bool:
    """Return whether the request names one or several trunks of its address."""
    return any(step.rule in NAMING and step.left for step in decision.steps)
