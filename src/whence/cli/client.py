"""A client of the agent's HTTP API."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from whence.core.text import escape_untrusted
from whence.errors import OperatorError

TIMEOUT_S = 10.0

PAGE = 1000
"""How many items of a list are asked for at once: the most that the API allows."""


def ask_all(api: str, path: str, **query: object) -> list[Any]:
    """GET all items of a list, page by page. `query`: further keys; None is left out.

    Raises: OperatorError: there is no answer, or it is an error.
    """
    found: list[Any] = []
    cursor: str | None = None
    while True:
        answer = ask(api, _path(path, limit=PAGE, cursor=cursor, **query))
        found += answer["items"]
        cursor = answer["next"]
        if cursor is None:
            return found


def ask_page(api: str, path: str, **query: object) -> list[Any]:
    """GET the items of the first page of a list. Raises: OperatorError."""
    items: list[Any] = ask(api, _path(path, **query))["items"]
    return items


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
    except ValueError:
        answer = None
    if response.is_error:
        shown = escape_untrusted(response.text[:200])
        raise OperatorError(
            _sentence(answer) or f"{url.partition('?')[0]} answered {response.status_code}: {shown}"
        )
    if not isinstance(answer, dict):
        raise OperatorError(
            f"the server at {api} is not Whence's API; name its URL with --api: api_listen in "
            "[agent] has the address"
        )
    return answer


def _path(path: str, **query: object) -> str:
    """Return a path with those keys of a query that have a value."""
    given = "&".join(
        f"{key}={quote(str(value), safe='')}" for key, value in query.items() if value is not None
    )
    return f"{path}?{given}" if given else path


def _sentence(problem: Any) -> str:
    """Return the error of the API in words; empty where the answer is none of the API."""
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return escape_untrusted(detail) if isinstance(detail, str) else ""
