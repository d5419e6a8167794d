"""Explains a user's call before it is made: which trunks get it, in which order, and what of it.

The edge takes the same steps by the same functions of the core. Kamailio alone counts calls and
failures of trunks. So limits on counts, and trunks that failed lately, have no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from whence.core.outbound.caller import Caller, caller_of
from whence.core.outbound.explain import explain_plan, refusal_message, standing_message
from whence.core.outbound.identity import Identity, identity
from whence.core.outbound.model import OutboundTrunk, OutboundUser, Routing
from whence.core.outbound.numbers import Called, called_party
from whence.core.outbound.selection import Plan, Standing, candidates, plan_call
from whence.core.sip.uri import Uri
from whence.core.text import escape_untrusted
from whence.errors import UnknownUserError
from whence.store.directory import Directory

NOT_FOUND = "neither_user_nor_number"
"""The reason of a call that calls neither a user of ours nor a number."""


class ConsideredView(BaseModel):
    """A trunk that the call may use, and why it gets the call or not."""

    trunk: str
    standing: Standing
    message: str = Field(description="the standing in words")


class TryView(BaseModel):
    """What a trunk gets. The edge tries it if those before it fail."""

    trunk: str
    request_uri: str
    from_: str = Field(serialization_alias="from", description="its From, without the tag")
    to: str
    headers: list[str] = Field(description="further headers with the caller's identity")


class CallOutExplanation(BaseModel):
    """What the edge would do with a user's call."""

    decision: Literal["trunks", "user", "refused"]
    user: str | None = Field(description="the called user; null: a number is called")
    number: str | None = Field(description="the called number as rules compare it")
    emergency: bool
    route: int | None = Field(
        description="the number of the [[route]] that decides; null: the user's own trunks"
    )
    considered: list[ConsideredView]
    tries: list[TryView] = Field(description="in the order in which the edge tries them")
    status: int | None = Field(description="the answer to the phone, if no trunk gets the call")
    reason: str | None = Field(description="why no trunk gets the call")
    message: str = Field(description="the decision in words")
    steps: list[str] = Field(description="each step in words")


@dataclass(frozen=True, slots=True)
class CallOutQuestion:
    """A call that a phone would make."""

    user: str
    """The name of the user whose password the phone has."""
    to: str
    """What it dials: a number, a user, or a URI."""
    headers: Mapping[str, Sequence[str]]
    """Headers by which the phone chooses its number or privacy: lower-case name → values."""


class CallsOut:
    """Explains users' calls from the directory."""

    def __init__(self, directory: Directory, domain: str, hosts: frozenset[str]) -> None:
        """`domain`: the realm of the users. `hosts`: those that are ours in a URI, lower case."""
        self._directory = directory
        self._domain = domain
        self._hosts = hosts

    def explain(self, question: CallOutQuestion, now: float) -> CallOutExplanation:
        """Return what the edge would do. Raises: UnknownUserError, StoreError."""
        found = self._directory.user(question.user, self._domain)
        if found is None:
            raise UnknownUserError(question.user)
        user, routing = found.caller, self._directory.routing()
        called = self._called(question.to, routing)
        if called is None:
            return _not_found(question.to)
        if called.user:
            return _to_user(called)
        ids = candidates(called, user, routing)
        access = self._directory.trunk_access(ids)
        status = {id_: a.status(now, emergency=called.emergency) for id_, a in access.items()}
        plan = plan_call(called, user, routing, status, now)
        caller = caller_of(user, question.headers, routing.plan, emergency=called.emergency)
        return _to_number(plan, called, user, routing, caller)

    def _called(self, text: str, routing: Routing) -> Called | None:
        uri = _dialled(text, self._domain)
        is_ours = uri is not None and uri.host.lower() in self._hosts

        def is_user(name: str) -> bool:
            return self._directory.user(name, self._domain) is not None

        return called_party(uri, is_ours, is_user, routing.emergency.numbers, routing.plan)


def _dialled(text: str, domain: str) -> Uri | None:
    """Return the Request-URI that a phone makes of what its user dials."""
    if ":" in text:
        return Uri.parse(text)
    return Uri.parse(f"sip:{text}") if "@" in text else Uri("sip", text, domain)


def _not_found(text: str) -> CallOutExplanation:
    message = f"{escape_untrusted(text)} is neither a user here nor a number"
    return CallOutExplanation(
        decision="refused",
        user=None,
        number=None,
        emergency=False,
        route=None,
        considered=[],
        tries=[],
        status=404,
        reason=NOT_FOUND,
        message=message,
        steps=[f"the edge answers 404 Not Found: {message}"],
    )


def _to_user(called: Called) -> CallOutExplanation:
    message = f"user {called.user} is called at its phones; no trunk gets the call"
    return CallOutExplanation(
        decision="user",
        user=called.user,
        number=None,
        emergency=False,
        route=None,
        considered=[],
        tries=[],
        status=None,
        reason=None,
        message=message,
        steps=[message],
    )


def _to_number(
    plan: Plan, called: Called, user: OutboundUser, routing: Routing, caller: Caller
) -> CallOutExplanation:
    def shown(trunk: OutboundTrunk) -> Identity | None:
        return identity(trunk, caller, called)

    tries = [_try(trunk, what) for trunk in plan.trunks if (what := shown(trunk)) is not None]
    order = ", then ".join(one.trunk for one in tries)
    refusal = plan.refusal
    return CallOutExplanation(
        decision="refused" if refusal is not None else "trunks",
        user=None,
        number=called.number,
        emergency=called.emergency,
        route=plan.route + 1 if plan.route is not None else None,
        considered=[
            ConsideredView(trunk=id_, standing=standing, message=standing_message(standing))
            for id_, standing in plan.considered
        ],
        tries=tries,
        status=refusal.status if refusal is not None else None,
        reason=refusal.reason if refusal is not None else None,
        message=refusal_message(plan, called, user) or f"the edge tries {order}",
        steps=explain_plan(plan, called, user, routing, shown),
    )


def _try(trunk: OutboundTrunk, what: Identity) -> TryView:
    return TryView(
        trunk=trunk.id,
        request_uri=what.request_uri,
        from_=what.from_,
        to=what.to,
        headers=[f"{name}: {value}" for name, value in what.headers],
    )
