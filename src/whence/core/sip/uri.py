"""The parts of a SIP or tel URI that Whence looks at (RFC 3261 19.1, RFC 3966)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, unquote

_QUOTED_NAME = re.compile(r'^\s*"(?:[^"\\]|\\.)*"')

_SCHEMES = frozenset({"sip", "sips", "tel"})

_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class Uri(NamedTuple):
    """`scheme:user@host:port;params`. `user` is unescaped; a tel URI has its number there."""

    scheme: str
    user: str
    host: str
    port: int | None = None
    params: Mapping[str, str] = _NO_PARAMS

    @classmethod
    def parse(cls, text: str) -> Uri | None:
        """Read a URI; None for what is not one. Display name and angle brackets are not part of it.

        More than one `@` is refused: where two readers could see two different users, no decision
        may rest on either.
        """
        scheme, colon, rest = text.strip().partition(":")
        scheme = scheme.lower()
        if not colon or scheme not in _SCHEMES or rest.count("@") > 1:
            return None
        if "?" in rest:
            rest = _without_headers(rest)
        if scheme == "tel":
            number, *params = rest.split(";")
            return cls(scheme, unquote(number), "", None, _params(params)) if number else None
        userinfo, at, hostpart = rest.rpartition("@")
        user = unquote(userinfo.partition(":")[0])
        hostport, *params = hostpart.split(";")
        host, port = _host_and_port(hostport)
        if not host or port == -1 or (at and not userinfo):
            return None
        return cls(scheme, user, host, port, _params(params))

    @property
    def subscriber(self) -> tuple[str, str]:
        """(user, phone-context) of a URI that may call a number; the context may be empty.

        A sip URI has it in its user part (RFC 3261 19.1.6), and some write it behind the host.
        """
        if ";" not in self.user:
            return self.user, self.params.get("phone-context", "")
        user, *parts = self.user.split(";")
        context = _params(parts).get("phone-context") or self.params.get("phone-context", "")
        return user, context

    @classmethod
    def of_header(cls, text: str) -> Uri | None:
        """Read the URI of a header such as To: `"Name" <sip:…>;params`, or a bare URI.

        Parameters after a bare URI are the header's, not the URI's (RFC 3261 20.10).
        """
        if '"' in text:
            text = _QUOTED_NAME.sub("", text, count=1)
        _, bracket, rest = text.partition("<")
        return cls.parse(rest.partition(">")[0] if bracket else text.partition(";")[0])


def escape_user(text: str) -> str:
    """Write `text` so that it can stand in the user part of a URI and be nothing else there."""
    return quote(text, safe="-_.!~*'()&=+$,")  # RFC 3261 25.1, but for ; ? and /


def host_text(host: str) -> str:
    """`host` as it stands in a URI: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _without_headers(rest: str) -> str:
    # A `?` may stand in a user part; the one that begins the headers comes after the host.
    userinfo, at, hostpart = rest.rpartition("@")
    return userinfo + at + hostpart.partition("?")[0]


def _host_and_port(text: str) -> tuple[str, int | None]:
    """Split `host`, `host:port`, `[v6]`, `[v6]:port`; a port of -1 says that it is none."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return "", -1
        port = rest[1:]
        has_port = bool(rest)
    else:
        host, colon, port = text.partition(":")
        has_port = bool(colon)
    if not has_port:
        return host.lower(), None
    if port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536:
        return host.lower(), int(port)
    return host.lower(), -1


def _params(parts: list[str]) -> Mapping[str, str]:
    if not parts:
        return _NO_PARAMS
    params: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name:
            params.setdefault(name.strip().lower(), unquote(value.strip()))
    return params
