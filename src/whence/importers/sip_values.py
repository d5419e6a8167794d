"""Bring servers and sockets of other programs into the form of the settings file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from whence.core.sip.uri import Uri, escape_user, host_text
from whence.errors import WhenceError

_SCHEME = re.compile(r"^(?:sips?:)", re.IGNORECASE)
_SOCKET = re.compile(r"(?P<transport>udp|tcp|tls):(?P<place>.+:[0-9]{1,5})", re.IGNORECASE)


class UnusableValueError(WhenceError, ValueError):
    """A value that has no counterpart in the settings file. The message says why."""


def server(text: str, transport: str = "") -> tuple[str, str]:
    """Return the URI of a server, and which parts of `text` it leaves out; empty: none.

    `text`: a SIP URI, or a host with or without port. `transport`: that of a text that has none.

    Raises: UnusableValueError.
    """
    given = text.strip().strip("<>")
    uri = Uri.parse(given if _SCHEME.match(given) else f"sip:{given}")
    if uri is None:
        raise UnusableValueError(f'"{text}" is no SIP URI')
    left_out = list(_unused_parts(uri))
    over = (uri.params.get("transport") or transport or "").lower()
    if uri.scheme == "sips":
        over = "tls"
    if over not in ("", "udp", "tcp", "tls"):
        raise UnusableValueError(f"Whence does not register over {over}")
    port = "" if uri.port is None else f":{uri.port}"
    # UDP is what a name without NAPTR and SRV gets; written, it would forbid the others.
    is_default = over == "udp" and "transport" not in uri.params
    params = f";transport={over}" if over and not is_default else ""
    return f"sip:{host_text(uri.host)}{port}{params}", ", ".join(left_out)


def _unused_parts(uri: Uri) -> Iterator[str]:
    if uri.user:
        yield "the user"  # it may have a password, so the note does not repeat it
    for name, value in uri.params.items():
        if name != "transport":
            yield f";{name}={value}" if value else f";{name}"


def address_of_record(text: str) -> tuple[str, str]:
    """Return (user, domain) of a SIP URI: the user with its escapes, the domain with its port.

    Raises: UnusableValueError.
    """
    given = text.strip().strip("<>")
    uri = Uri.parse(given if _SCHEME.match(given) else f"sip:{given}")
    if uri is None or not uri.user:
        raise UnusableValueError(f'"{text}" is no address-of-record: it has no user or no host')
    host = host_text(uri.host)
    return escape_user(uri.user), host if uri.port is None else f"{host}:{uri.port}"


def socket(text: str) -> str:
    """Return a socket as `transport:ip:port`; empty: the text is none."""
    found = _SOCKET.fullmatch(text.strip())
    return f"{found['transport'].lower()}:{found['place']}" if found else ""


def number(text: str, least: int, most: int) -> int | None:
    """Return a whole number within bounds; None for other texts."""
    digits = text.strip()
    if not re.fullmatch(r"[0-9]{1,9}", digits, re.ASCII) or not least <= int(digits) <= most:
        return None
    return int(digits)
