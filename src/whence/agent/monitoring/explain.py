"""How a request would be decided, step by step."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from whence.core.identification.decision import Compared, Identified, Reason, Refused, Rule
from whence.core.identification.explain import Lack, Nearest, matched, nearest
from whence.core.identification.identify import identify
from whence.core.identification.request import Request
from whence.core.text import escape_untrusted
from whence.store.directory import Directory


class StepView(BaseModel):
    """One rule applied."""

    rule: Rule
    compared: Compared
    values: list[str] = Field(description="what the request has of it: a number, tokens, a port")
    place: str | None = Field(description="where: request-uri, or a header in small letters")
    message: str = Field(description="what was compared, in words")
    left: list[str] = Field(description="the trunks that fit")
    against: list[str] = Field(description="what of each of them it was compared with, in order")


class MissingView(BaseModel):
    """One thing that was missing for a request to be a trunk's."""

    code: Lack
    message: str


class NearestView(BaseModel):
    """Who came nearest, where a request is given to no trunk."""

    trunk: str | None
    missing: list[MissingView] = Field(description="what was missing for the request to be its own")


class Explanation(BaseModel):
    """The decision on a request, and each step to it."""

    decision: Literal["identified", "refused", "unknown"]
    trunk: str | None
    reason: Rule | Reason = Field(description="the rule, or why it is given to no trunk")
    message: str = Field(description="the reason in words")
    candidates: list[str]
    steps: list[StepView]
    nearest: NearestView | None = Field(
        description="of what is unknown or refused; null: no trunk has to do with it"
    )


def explanation(directory: Directory, request: Request, at: float) -> Explanation:
    """Tell how a request would be decided and, where it is given to nobody, who came nearest.

    `at`: now, or an instant before: then by what stood in the directory at that time, as far as it
    still tells. What came from outside is `shown`.
    """
    evidence = directory.evidence(request, at).as_of(at)
    decision = identify(request, evidence, at)
    near: Nearest | None = None
    if not isinstance(decision, Identified):
        neighbours = [one.as_of(at) for one in directory.neighbours(request, evidence)]
        near = nearest(request, decision, neighbours, at)
    kinds: dict[type[Any], Literal["identified", "refused"]] = {
        Identified: "identified",
        Refused: "refused",
    }
    return Explanation(
        decision=kinds.get(type(decision), "unknown"),
        trunk=decision.trunk.id if isinstance(decision, Identified) else None,
        reason=decision.reason,
        message=decision.message,
        candidates=list(decision.candidates) if isinstance(decision, Refused) else [],
        steps=[
            StepView(
                rule=step.rule,
                compared=step.compared,
                values=[escape_untrusted(str(value)) for value in step.values],
                place=step.place,
                message=escape_untrusted(step.message),
                left=list(step.left),
                against=[
                    escape_untrusted(one) for one in matched(step, request.source, evidence, at)
                ],
            )
            for step in decision.steps
        ],
        nearest=_nearest_view(near) if near else None,
    )


def _nearest_view(near: Nearest) -> NearestView:
    missing = [
        MissingView(code=one.code, message=escape_untrusted(one.message)) for one in near.missing
    ]
    return NearestView(trunk=near.trunk_id, missing=missing)
