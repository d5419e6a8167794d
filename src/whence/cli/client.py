"""Asking the agent's HTTP API."""

from __future__ import annotations

from typing import Any

import httpx

from whence.core.text import escape_untrusted
from whence.errors import OperatorError

ANSWER_S = 10.0


def ask(api: str, path: str, question: dict[str, Any] | None = None) -> Any:
    """GET `path`, or POST `question` to it; the JSON answer. OperatorError where there is none."""
    url = api.rstrip("/") + path
    try:
        # trust_env: a proxy from the environment has no business between us and loopback.
        with httpx.Client(trust_env=False, timeout=ANSWER_S) as client:
            answer = client.get(url) if question is None else client.post(url, json=question)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OperatorError(
            f"no agent answers at {api} ({error}); start it with: whence run -c FILE, or name its "
            "API with --api URL"
        ) from None
    try:
        told = answer.json()
        if answer.is_error and told["detail"]:
            raise OperatorError(_sentence(told["detail"]))
    except (ValueError, LookupError, TypeError):
        told = None
    if answer.is_error:
        raise OperatorError(
            f"{url} answered {answer.status_code}: {escape_untrusted(answer.text[:200])}"
        )
    if told is None:
        raise OperatorError(
            f"what answers at {api} is not Whence's API; name that with --api URL, as it stands "
            "in [agent]"
        )
    return told


def _sentence(detail: Any) -> str:
    """What the API says is wrong: a sentence, or the faults of a question or a file."""
    return escape_untrusted(
        detail if isinstance(detail, str) else "; ".join(_fault(f) for f in detail)
    )


def _fault(fault: dict[str, Any]) -> str:
    said = str(fault["msg"]).removeprefix("Value error, ")
    if fault["loc"] == ["file"]:  # it says its place itself
        return said
    return f"{fault['loc'][-1]}: {said}"
