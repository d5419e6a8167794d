"""Answers of the API in the form that tests use: instants as numbers, lists without pages."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def numbers(answer: Any) -> Any:
    """Return an answer with each instant of RFC 3339 as seconds since the epoch."""
    if isinstance(answer, dict):
        return {key: numbers(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [numbers(value) for value in answer]
    if isinstance(answer, str) and _INSTANT.fullmatch(answer):
        return datetime.fromisoformat(answer).timestamp()
    return answer


def whole(path: str, get: Callable[[str], Any]) -> Any:
    """GET `path`, and return the answer with instants as numbers. A list has all its pages.

    A path with a `limit` has one page. `get`: returns the JSON of one GET.
    """
    answer = get(path)
    if not isinstance(answer, dict) or answer.keys() != {"items", "next"}:
        return numbers(answer)
    items = answer["items"]
    while answer["next"] is not None and "limit=" not in path:
        mark = "&" if "?" in path else "?"
        answer = get(f"{path}{mark}cursor={quote(answer['next'], safe='')}")
        items += answer["items"]
    return numbers(items)
