"""The parts of a SIP or tel URI that Whence looks at (RFC 3261 19.1, RFC 3966)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, unquote

from whence.core.sip.grammar import parse_params, split_name_addr

_SCHEMES = frozenset({"sip", "sips", "tel"})

_UNFIT = re.compile(r'[\x00-\x20\x7f"<>]')
"""Characters that no URI has: they would end it, or the header, for some parsers."""

_HOST = re.compile(r"[a-z0-9_.-]*[a-z0-9_][a-z0-9_.-]*", re.ASCII)
"""A host name or IPv4 address in small letters. Real names have `_`, and may end with a dot."""

_IPV6 = re.compile(r"[0-9a-f:.]{2,45}", re.ASCII)

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
        """Parse a URI, without display name and angle brackets; None for other texts.

        A URI with more than one `@` is invalid: two parsers could read two different users. Escapes
        in the user are resolved (RFC 3261 19.1.4), and an IPv6 address has its shortest form. The
        user may have characters that the grammar wants escaped, as `#`: phones send them.
        """
        text = text.strip(" \t\r\n")
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if not colon or scheme not in _SCHEMES or rest.count("@") > 1 or _UNFIT.search(text):
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
        """Return (user, phone-context) of a URI that may call a number; the context may be empty.

        A sip URI has it in its user part (RFC 3261 19.1.6); some write it behind the host.
        """
        if ";" not in self.user:
            return self.user, self.params.get("phone-context", "")
        user, *parts = self.user.split(";")
        context = _params(parts).get("phone-context") or self.params.get("phone-context", "")
        return user, context

    @classmethod
    def of_header(cls, text: str) -> Uri | None:
        """Parse the URI of a header such as To: `"Name" <sip:…>;params`, or a bare URI.

        None where the value is not valid as a whole.
        """
        found = split_name_addr(text)
        if found is None or (found[1] and parse_params(found[1]) is None):
            return None
        return cls.parse(found[0])


def escape_user(text: str) -> str:
    """Escape `text` for the user part of a URI, so that no part of it is a delimiter."""
    return quote(text, safe="-_.!~*'()&=+$,")  # RFC 3261 25.1, but for ; ? and /


def host_text(host: str) -> str:
    """Return `host` for a URI: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _without_headers(rest: str) -> str:
    # A `?` may stand in a user part; the one that begins the headers comes after the host.
    userinfo, at, hostpart = rest.rpartition("@")
    return userinfo + at + hostpart.partition("?")[0]


def _host_and_port(text: str) -> tuple[str, int | None]:
    """Split `host`, `host:port`, `[v6]`, `[v6]:port`. An invalid host is empty; a port is -1."""
    if text.startswith("["):
        written, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return "", -1
        host, has_port, port = _ipv6(written.lower()), bool(rest), rest[1:]
    else:
        written, colon, port = text.partition(":")
        host, has_port = written.lower(), bool(colon)
        if not _HOST.fullmatch(host):
            return "", -1
    if not has_port:
        return host, None
    if port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536:
        return host, int(port)
    return host, -1


@lru_cache(maxsize=1024)
def _ipv6(text: str) -> str:
    """Return the shortest form of an IPv6 address; empty if `text` is not one."""
    try:
        return str(IPv6Address(text)) if _IPV6.fullmatch(text) else ""
    except ValueError:
        return ""


def _params(parts: list[str]) -> Mapping[str, str]:
    if not parts:
        return _NO_PARAMS
    params: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name:
            params.setdefault(name.strip().lower(), unquote(value.strip()))
    return params
