"""The explanation of a decision, step by step, as the API returns it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from whence.core.identification.decision import Compared, Identified, Reason, Refused, Rule
from whence.core.identification.explain import Lack, Nearest, fitting, nearest
from whence.core.identification.identify import identify
from whence.core.identification.request import Request
from whence.core.text import escape_untrusted
from whence.store.directory import Directory


class StepView(BaseModel):
    """One step of a decision: a rule, and what it compared."""

    rule: Rule
    compared: Compared
    values: list[str] = Field(description="the request's values: a number, tokens, a port")
    place: str | None = Field(description="their place: request-uri, or a header in small letters")
    message: str = Field(description="the comparison in words")
    left: list[str] = Field(description="the trunks that match")
    fitting: list[str] = Field(description="the value of each of these trunks, in order")


class MissingView(BaseModel):
    """One condition that the request did not meet."""

    code: Lack
    message: str


class NearestView(BaseModel):
    """The trunk that a request came nearest to, where no trunk gets it."""

    trunk: str | None
    missing: list[MissingView] = Field(description="the conditions that the request did not meet")


class Explanation(BaseModel):
    """The decision on a request, with its steps."""

    decision: Literal["identified", "refused", "unknown"]
    trunk: str | None
    reason: Rule | Reason = Field(description="the rule, or why no trunk gets it")
    message: str = Field(description="the reason in words")
    candidates: list[str]
    steps: list[StepView]
    nearest: NearestView | None = Field(
        description="where it is unknown or refused; null: no trunk is near"
    )


def explanation(directory: Directory, request: Request, at: float) -> Explanation:
    """Explain the decision on a request at `at`, and name the nearest trunk where no trunk gets it.

    `at` is now or in the past. The directory may no longer have all that it had then.
    The texts of the request are escaped.
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
                fitting=[
                    escape_untrusted(one) for one in fitting(step, request.source, evidence, at)
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
