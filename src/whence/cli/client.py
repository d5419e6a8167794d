"""A client of the agent's HTTP API."""

from __future__ import annotations

from typing import Any

from whence.core.text import escape_untrusted
from whence.errors import OperatorError

TIMEOUT_S = 10.0


def ask(api: str, path: str, question: dict[str, Any] | None = None) -> Any:
    """GET `path`, or POST `question` to it; return the JSON of the answer.

    Raises: OperatorError: there is no answer, or it is an error.
    """
    import httpx  # other commands need it not, and its import takes long

    url = api.rstrip("/") + path
    try:
        # Without trust_env=False, a proxy of the environment could get requests to loopback.
        with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
            response = client.get(url) if question is None else client.post(url, json=question)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OperatorError(
            f"no agent answers at {api} ({error}); start it with: whence run -c FILE, or name its "
            "API with --api URL"
        ) from None
    try:
        answer = response.json()
        if response.is_error and answer["detail"]:
            raise OperatorError(_sentence(answer["detail"]))
    except (ValueError, LookupError, TypeError):
        answer = None
    if response.is_error:
        raise OperatorError(
            f"{url} answered {response.status_code}: {escape_untrusted(response.text[:200])}"
        )
    if answer is None:
        raise OperatorError(
            f"the server at {api} is not Whence's API; name its URL with --api: api_listen in "
            "[agent] has the address"
        )
    return answer


def _sentence(detail: Any) -> str:
    """Return the error of the API: one sentence, or the faults of a request or a file."""
    return escape_untrusted(
        detail if isinstance(detail, str) else "; ".join(_fault(f) for f in detail)
    )


def _fault(fault: dict[str, Any]) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["loc"] == ["file"]:  # the message itself names the place
        return message
    return f"{fault['loc'][-1]}: {message}"
