"""Which account of `uac` a call is for."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from enum import StrEnum

from whence.core.identification.decision import NAMING, Decision, Identified, Refused
from whence.core.identification.request import Evidence

# Whose a call is, among the accounts that `uac` still has.

RECORDS_LIMIT = 16
"""How many accounts are looked through that are no more, before a call is given up."""


@dataclass(frozen=True, slots=True)
class ChosenAccount:
    """A decision in which every account stands. `among_all`: none had to be left out for it."""

    decision: Decision
    evidence: Evidence
    among_all: bool


class Declined(StrEnum):
    """The code of why the drop-in says of a request that it is no trunk's, before any decision.

    The include says `not_initial` itself.
    """

    UNREADABLE_REQUEST = "unreadable_request"
    UNREADABLE_REQUEST_URI = "unreadable_request_uri"
    ACCOUNT_MISSED = "account_missed"
    """`uac` has no such account just now, and may have it again in a moment."""
    ACCOUNT_GONE = "account_gone"
    TOO_MANY_ACCOUNTS_GONE = "too_many_accounts_gone"
    ACCOUNT_NOT_READY = "account_not_ready"
    DIRECTORY_UNAVAILABLE = "directory_unavailable"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class NoAccount:
    """An account is gone, and the call may have been its own: it is not another's."""

    reason: Declined
    message: str


def choose(
    decide: Callable[[Set[str]], tuple[Decision, Evidence]],
    stands: Callable[[str], bool],
    missed_lately: Callable[[str], bool],
) -> ChosenAccount | NoAccount:
    """Decide, and decide anew without the accounts that are no more, until all that it rests on
    are.

    `decide`: as if some trunks had no address there. `stands`: whether `uac` has an
    enabled account. `missed_lately`: whether it has none just now and may have it again in a
    moment.
    """
    without: set[str] = set()
    named = False
    while True:
        decision, evidence = decide(without)
        fallen = [id_ for id_ in _whose(decision) if not stands(id_)]
        if not fallen:
            break
        if any(missed_lately(id_) for id_ in fallen):
            message = f"uac has no account {fallen[0]} just now"
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
    """The trunks whose call it would be."""
    if isinstance(decision, Identified):
        return (decision.trunk.id,)
    return decision.candidates if isinstance(decision, Refused) else ()


def _names_one(decision: Decision) -> bool:
    """Whether the request's own words name a trunk of its address, or several."""
    return any(step.rule in NAMING and step.left for step in decision.steps)
