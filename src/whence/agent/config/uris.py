"""Validators for users, domains, servers and targets.

A ValueError has the fault and the right form.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Annotated, Literal, get_args
from urllib.parse import quote, unquote

from pydantic import (
    AfterValidator,
)

from whence.core.sip.transport_address import Transport, canonical_ip
from whence.core.sip.uri import Uri, host_text

EdgeTransport = Literal["udp", "tcp", "tls"]
"""The transports that kamailio.cfg.j2 supports. A file that names another one is refused, also if
the core has it.
"""


EDGE_TRANSPORTS = tuple(Transport(name) for name in get_args(EdgeTransport))


WRITE_TRANSPORT = f"write {', '.join(EDGE_TRANSPORTS[:-1])} or {EDGE_TRANSPORTS[-1]}"


_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"


_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")
"""A host name or IPv4 address. Real names have `_`; the dot at the end is RFC 3261 25.1."""


MANY = 4096
"""How many results are kept, for the next trunk with the same server or target."""

TOP_LEVEL = re.compile(r"\.[A-Za-z][A-Za-z0-9-]*$")
"""The end of a name; an ip with a fault has none."""


_AOR_USER = re.compile(r"(?:[A-Za-z0-9_.!~*'()&=+$,;?/-]|%[0-9A-Fa-f]{2}){1,128}")  # RFC 3261 25.1


_UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()"


_USER_UNRESERVED = "&=+$,;?/"


@lru_cache(maxsize=MANY)
def _host_text(text: str) -> str:
    """Return a host for a URI: an IPv6 address in brackets. Empty: `text` is not a host."""
    literal = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return host_text(str(IPv6Address(literal))) if "%" not in literal else ""
    except ValueError:
        return text if _HOST.fullmatch(text) else ""


def _domain(text: str) -> str:
    host = _host_text(text)
    if not host:
        raise ValueError(f'"{text}" is not a domain without port; write "edge.example"')
    return host


def _account_domain(text: str) -> str:
    """Return the domain of an account, `host` or `host:port`, for a URI; empty: none."""
    host, colon, port = text.rpartition(":")
    if _host_text(text) or not colon:
        host, colon, port = text, "", ""
    written = _host_text(host)
    is_port = not colon or (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536)
    if text and not (written and is_port):
        raise ValueError(
            f'"{text}" is not a domain; write "provider.example", "provider.example:5070" or '
            '"[2001:db8::1]"'
        )
    return sys.intern(f"{written}{colon}{port}")


def _aor_user(text: str) -> str:
    """Return a user for a URI, with escapes only where RFC 3261 19.1.4 makes a difference."""
    if not _AOR_USER.fullmatch(text):
        escaped = quote(text, safe=_UNRESERVED + _USER_UNRESERVED + "%")
        user, at, _ = text.partition("@")
        right = f'"{user}", or "{escaped}" if the @ is part of the user' if at else f'"{escaped}"'
        if not _AOR_USER.fullmatch(escaped):
            right = '"acct1"'
        raise ValueError(f'"{text}" is not the user of an address-of-record; write {right}')
    try:
        is_text = unquote(text, errors="strict").isprintable()
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise ValueError(f'"{text}" escapes control characters; write it without them')
    return re.sub("%..", lambda escape: _least_escaped(escape[0]), text)


def _least_escaped(escape: str) -> str:
    character = unquote(escape)
    return character if character in _UNRESERVED else escape.upper()


@lru_cache(maxsize=MANY)
def _is_no_server(host: str) -> bool:
    """Return whether a host is an ip that no server has, as 0.0.0.0 or a multicast address."""
    try:
        ip = canonical_ip(host)
    except ValueError:
        return False
    return ip.is_unspecified or ip.is_multicast


@lru_cache(maxsize=MANY)
def own_uri(text: str) -> Uri | None:
    """Parse a URI that the operator wrote. Thousands of trunks share one."""
    return Uri.parse(text)


def target_uri(text: str) -> Uri | None:
    """Parse a target, with a 0 for the called number."""
    return own_uri(text.replace("{number}", "0"))


def check_server(text: str) -> str:
    """Check the URI of a server. Raises ValueError."""
    uri = own_uri(text)
    host = uri.host if uri else ""
    if (
        uri is None
        or uri.scheme != "sip"
        or uri.user
        or set(uri.params) - {"transport"}
        or re.search(r"[\s?]|;.*;", text)
        or not _host_text(host)
        or _is_no_server(host)
    ):
        raise ValueError(
            f'"{text}" is not a server; write "sip:host", "sip:host:port" or '
            '"sip:host:port;transport=tcp"'
        )
    transport = uri.params.get("transport", "udp")
    if transport not in EDGE_TRANSPORTS:
        raise ValueError(f'"{text}": transport {transport} is not known; {WRITE_TRANSPORT}')
    return sys.intern(text)  # thousands of trunks share one


def check_optional_server(text: str) -> str:
    """Check the URI of a server, or an empty text. Raises ValueError."""
    return check_server(text) if text else text


def check_target(text: str) -> str:
    """Check the URI that gets a trunk's calls. Raises ValueError."""
    uri = target_uri(text)
    plain = text.replace("{number}", "0")
    writable = plain.isascii() and plain.isprintable() and not re.search(r'[\s<>"{}]', plain)
    # The caller chooses the number, and must not choose where the call goes. A Request-URI has no
    # headers (RFC 3261 19.1.1).
    place = text.rpartition("@")[2]
    if (
        uri is None
        or uri.scheme == "tel"
        or not writable
        or "{number}" in place
        or "?" in place
        or _is_no_server(uri.host)
    ):
        raise ValueError(
            f'"{text}" is not a target; write "sip:alice@edge.example" or '
            '"sip:{number}@192.0.2.9:5060"'
        )
    return sys.intern(text)


Domain = Annotated[str, AfterValidator(_domain)]


OptionalDomain = Annotated[str, AfterValidator(_account_domain)]


AorUser = Annotated[str, AfterValidator(_aor_user)]
