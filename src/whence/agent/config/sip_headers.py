"""Validators for the headers of a trunk: those read for numbers, and those of its REGISTERs.

A ValueError has the fault and the right form.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from functools import lru_cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
)

from whence.ipc import headers

HEADERS_LIMIT = 8
"""Most number headers of one trunk."""


ALL_HEADERS_LIMIT = 16
"""Most different number headers of all trunks. The edge looks for each one in each call."""


_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]{1,64}")  # RFC 3261 25.1


_STRUCTURE_NAMES = (
    "accept accept-encoding accept-language allow allow-events authentication-info authorization"
    " call-id contact content-disposition content-encoding content-language content-length"
    " content-type cseq date event expires from max-forwards mime-version min-expires min-se path"
    " proxy-authenticate proxy-authorization proxy-require rack record-route require route rseq"
    " security-client security-server security-verify service-route session-expires supported"
    " timestamp unsupported user-agent server via warning www-authenticate"
    " request-uri a b c d e f i k l m o r s t u v x y"
)


_STRUCTURE = frozenset(_STRUCTURE_NAMES.split())
"""Headers that never name a called number, and compact forms."""


_MAY_BE_ADDED = frozenset(
    {"accept", "accept-encoding", "accept-language", "allow", "allow-events", "supported"}
    | {"server", "user-agent"}
)
"""Headers of `_STRUCTURE` that a trunk may add to its REGISTERs, or replace in them."""


_WRITTEN_BY_WHENCE = (_STRUCTURE | {"to"}) - _MAY_BE_ADDED


REGISTER_HEADERS_LIMIT = 16
"""Most headers that one trunk may add to its REGISTERs."""


HEADER_VALUE_LIMIT = 500
"""Longest value of such a header. A REGISTER must fit into one UDP datagram."""


def _header(name: str) -> str:
    small = name.lower()
    if not _TOKEN.fullmatch(name):
        raise ValueError(
            f'"{name}" is not the name of a header; write "P-Called-Party-ID", "To" or "X-Called"'
        )
    if small in _STRUCTURE or small.startswith(headers.PREFIX):
        raise ValueError(
            f'"{name}" never names a called number; write "P-Called-Party-ID", "To", "Diversion", '
            '"History-Info" or a header of the provider; the Request-URI always comes first'
        )
    return sys.intern(small)


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(f'is not a list; write ["{value}"]')  # noqa: TRY004 - pydantic's
    return tuple(value) if isinstance(value, list) else value


def _headers(names: tuple[str, ...]) -> tuple[str, ...]:
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f'"{name}" occurs {times} times; write it once')
    if len(names) > HEADERS_LIMIT:
        raise ValueError(f"has more than {HEADERS_LIMIT} headers; write at most {HEADERS_LIMIT}")
    return _same(names)


@lru_cache(maxsize=1024)
def _same(names: tuple[str, ...]) -> tuple[str, ...]:
    return names  # thousands of trunks share one


def _register_headers(given: dict[str, str]) -> dict[str, str]:
    for name, times in Counter(name.lower() for name in given).items():
        if times > 1:
            raise ValueError(f'"{name}" occurs {times} times; write it once')
    if len(given) > REGISTER_HEADERS_LIMIT:
        raise ValueError(
            f"has more than {REGISTER_HEADERS_LIMIT} headers; write at most "
            f"{REGISTER_HEADERS_LIMIT}"
        )
    for name, value in given.items():
        _check_register_header(name, value)
    return given


def _check_register_header(name: str, value: str) -> None:
    small = name.lower()
    if not _TOKEN.fullmatch(name):
        raise ValueError(f'"{name}" is not the name of a header; write "User-Agent" or "X-Account"')
    if small.startswith(headers.PREFIX) or small in _WRITTEN_BY_WHENCE:
        raise ValueError(
            f'"{name}" is written by Whence; write "User-Agent", "Allow", "Supported" or a header '
            "of the provider"
        )
    if not value.strip() or value != value.strip() or not value.isprintable():
        raise ValueError(
            f'the value of "{name}" is empty, or has control characters or blanks at an end; write '
            "it in one line without them"
        )
    if len(value) > HEADER_VALUE_LIMIT:
        raise ValueError(
            f'the value of "{name}" is too long; write at most {HEADER_VALUE_LIMIT} characters'
        )


NumberHeaders = Annotated[
    tuple[Annotated[str, AfterValidator(_header)], ...],
    BeforeValidator(_listed),
    AfterValidator(_headers),
]


RegisterHeaders = Annotated[dict[str, str], AfterValidator(_register_headers)]
