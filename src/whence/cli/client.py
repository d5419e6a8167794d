"""A client of the agent's HTTP API."""

from __future__ import annotations

import os
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from whence.core.text import escape_untrusted
from whence.errors import OperatorError

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 10.0

_UNIX = "unix:"

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

    url = _base(api) + path
    try:
        with _client(api) as client:
            response = client.get(url) if question is None else client.post(url, json=question)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
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


def _base(api: str) -> str:
    """Return the URL before the path. Over a Unix socket, the host has no meaning."""
    return "http://localhost" if api.startswith(_UNIX) else api.rstrip("/")


def _client(api: str) -> httpx.Client:
    """Return a client for the API at this URL, with the token of the environment.

    Raises: OperatorError, where the token would be readable on the network.
    """
    import httpx

    token = _token()
    if token and not (api.startswith(("https:", _UNIX)) or _is_loopback(api)):
        raise OperatorError(
            f"{api} has no TLS, so the network could read the token; write an https:// URL"
        )
    verify: bool | ssl.SSLContext = False  # loading CA certificates is slow
    if api.startswith("https:"):
        verify = ssl.create_default_context(cafile=os.environ.get("WHENCE_CA_FILE"))
    transport = (
        httpx.HTTPTransport(uds=api.removeprefix(_UNIX))
        if api.startswith(_UNIX)
        else httpx.HTTPTransport(verify=verify)
    )
    # Without trust_env=False, a proxy of the environment could get requests to loopback.
    return httpx.Client(
        transport=transport,
        trust_env=False,
        timeout=TIMEOUT_S,
        headers={"authorization": f"Bearer {token}"} if token else {},
    )


def _token() -> str:
    """Return the token of the environment: of WHENCE_TOKEN_FILE, or WHENCE_TOKEN; empty: none.

    A token on the command line would be visible to all users. Raises: OperatorError.
    """
    file = os.environ.get("WHENCE_TOKEN_FILE")
    if not file:
        token = os.environ.get("WHENCE_TOKEN", "").strip()
    else:
        try:
            token = Path(file).read_text("ascii").strip()
        except (OSError, ValueError):
            raise OperatorError(
                f"WHENCE_TOKEN_FILE: {file} cannot be read; write the token into it"
            ) from None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise OperatorError("the token of the environment is not one word; write it as created")
    return token


def _is_loopback(api: str) -> bool:
    host = urlsplit(api).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


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
