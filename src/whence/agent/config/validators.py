"""Validators for the values of the settings file. A ValueError has the fault and the right form."""

from __future__ import annotations

import re
import sys
from collections import Counter
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote, unquote, urlsplit

import httpx
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
)

from whence.agent.config import phone_numbers
from whence.core.sip.sockets import AUTO, Advertised, is_reachable
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_ip
from whence.core.sip.uri import Uri, host_text
from whence.ipc import decisions, headers

DAY_S = 86_400


SOCKET_PATH_LIMIT = 107
"""Longest path of a Unix socket on Linux, in bytes."""


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


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")


_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"


_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")
"""A host name or IPv4 address. Real names have `_`; the dot at the end is RFC 3261 25.1."""


_ADVERTISED_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


_TOP_LEVEL = re.compile(r"\.[A-Za-z][A-Za-z0-9-]*$")
"""The end of a name; an ip with a fault has none."""


_AOR_USER = re.compile(r"(?:[A-Za-z0-9_.!~*'()&=+$,;?/-]|%[0-9A-Fa-f]{2}){1,128}")  # RFC 3261 25.1


_UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()"


_USER_UNRESERVED = "&=+$,;?/"


STATE_PATH = re.compile(r"/[A-Za-z0-9_./+-]{1,200}")


EdgeTransport = Literal["udp", "tcp", "tls"]
"""The transports that kamailio.cfg.j2 supports. A file that names another one is refused, also if
the core has it.
"""


EDGE_TRANSPORTS = tuple(Transport(name) for name in get_args(EdgeTransport))


_WRITE_TRANSPORT = f"write {', '.join(EDGE_TRANSPORTS[:-1])} or {EDGE_TRANSPORTS[-1]}"


def _socket(text: Any) -> TransportAddress:
    try:
        socket = TransportAddress.parse(text if isinstance(text, str) else "")
    except ValueError:
        raise ValueError(
            f'"{text}" is not a socket; write transport:ip:port, "udp:192.0.2.1:5060"'
        ) from None
    if socket.transport not in EDGE_TRANSPORTS:
        raise ValueError(
            f'"{text}": the edge has no sockets for {socket.transport}; {_WRITE_TRANSPORT}'
        )
    if socket.ip.is_unspecified:
        raise ValueError(
            f'"{text}" means every address of the machine; write the address that providers reach, '
            '"udp:192.0.2.1:5060"'
        )
    return socket


def parse_ip_and_port(text: str, example: str = "192.0.2.1:5060") -> tuple[str, int]:
    """Return (ip, port) of `ip:port`. Raises ValueError with `example`."""
    try:
        address = TransportAddress.parse(f"udp:{text}")
    except ValueError:
        raise ValueError(f'"{text}" is not ip:port; write "{example}"') from None
    return str(address.ip), address.port


def _advertised_ip(text: str) -> Advertised | None:
    """Read an ip, with or without port; None for other texts. Raises ValueError."""
    try:
        advertised = Advertised(str(canonical_ip(text)))
    except ValueError:
        try:
            advertised = Advertised(*parse_ip_and_port(text))
        except ValueError:
            return None
    if "%" in text or not is_reachable(canonical_ip(advertised.host)):
        raise ValueError(
            f'"{text}" is no address that providers can reach; write the public one, "203.0.113.7"'
        )
    return advertised


def parse_advertised(text: str) -> Advertised | None:
    """Read an advertised address: `auto`, or an ip or a name, with or without port.

    None for an empty text. Raises ValueError.
    """
    if not text or text == AUTO:
        return Advertised(AUTO) if text else None
    ip_and_port = _advertised_ip(text)
    if ip_and_port is not None:
        return ip_and_port
    name, colon, digits = text.partition(":")
    port = int(digits) if re.fullmatch(r"[0-9]{1,5}", digits) else 0
    if (
        not _ADVERTISED_NAME.fullmatch(name)
        or not _TOP_LEVEL.search(name)
        or bool(colon) != bool(port)
    ):
        raise ValueError(
            f'"{text}" is not an address; write "203.0.113.7", "203.0.113.7:5060", '
            '"[2001:db8::7]:5060", "sip.example.net", or "auto"'
        )
    if port > 65535:
        raise ValueError(f'"{text}" has no valid port; write 1 to 65535')
    return Advertised(name.lower(), port or None)


def text_or_table(given: Any) -> Any:
    """Refuse what is neither a text nor a table of texts. Raises ValueError."""
    values = given.values() if isinstance(given, dict) else [given]
    if not all(isinstance(value, str) for value in values):
        raise ValueError(
            'is neither a text nor a table of texts; write "203.0.113.7", or '
            '{"udp:192.0.2.1:5060" = "203.0.113.7"}'
        )
    return given


def check_advertised(given: str | dict[str, str]) -> str | dict[str, str]:
    """Check the addresses that the edge advertises. Raises ValueError."""
    if isinstance(given, str):
        parse_advertised(given)
        return given
    for socket, text in given.items():
        _socket(socket)
        parse_advertised(text)
    return given


def check_nameserver(text: str) -> str:
    """Check the address of a name server; an empty text is none. Raises ValueError."""
    if text:
        parse_ip_and_port(text, "192.0.2.53:53")
    return text


def check_api_address(text: str) -> str:
    """Check the address that the API listens on. Raises ValueError."""
    host, _ = parse_ip_and_port(text)
    if not ip_address(host).is_loopback:
        raise ValueError(
            f'"{text}" can be reached from outside, but the API has no login; '
            'write a loopback address, "127.0.0.1:8088"'
        )
    return text


def check_keepalive(seconds: float) -> float:
    """Check an interval in seconds; 0 is off. Raises ValueError."""
    if seconds and not 1 <= seconds <= 3600:
        raise ValueError(
            f"{seconds:g} is not a valid interval; write 1 to 3600 seconds, or 0 for none"
        )
    return seconds


def check_webhook_url(text: str) -> str:
    """Check the URL of the webhook. Raises ValueError."""
    # A fault does not repeat the URL: the path of a webhook is often a secret.
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
        httpx.URL(text)
    except (ValueError, httpx.InvalidURL):
        url, host = urlsplit(""), ""
    if text and (url.scheme not in ("http", "https") or not host or _unfit_in_url(text)):
        raise ValueError('is not a URL; write "https://host/path"')
    if "@" in url.netloc or url.fragment:
        raise ValueError(
            "has a user, password or fragment; remove it, and write the path of a file with a "
            "token as webhook_token_file"
        )
    if url.scheme == "http" and not _is_loopback(host):
        raise ValueError(
            "is plain http to another machine, so the network can read it; write https://"
        )
    return text


def _unfit_in_url(text: str) -> bool:
    return not text.isascii() or not text.isprintable() or re.search(r'[\s\\<>"]', text) is not None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _matching(pattern: re.Pattern[str], what: str, example: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f'"{text}" is not {what}; write "{example}"')
        return text

    return AfterValidator(check)


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


def _is_no_server(host: str) -> bool:
    """Return whether a host is an ip that no server has, as 0.0.0.0 or a multicast address."""
    try:
        ip = canonical_ip(host)
    except ValueError:
        return False
    return ip.is_unspecified or ip.is_multicast


def check_server(text: str) -> str:
    """Check the URI of a server. Raises ValueError."""
    uri = Uri.parse(text)
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
        raise ValueError(f'"{text}": transport {transport} is not known; {_WRITE_TRANSPORT}')
    return sys.intern(text)  # thousands of trunks share one


def check_optional_server(text: str) -> str:
    """Check the URI of a server, or an empty text. Raises ValueError."""
    return check_server(text) if text else text


def check_target(text: str) -> str:
    """Check the URI that gets a trunk's calls. Raises ValueError."""
    uri = Uri.parse(text.replace("{number}", "0"))
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


def _number(text: str) -> str:
    phone_numbers.check(text)
    return text


def _country_code(text: str) -> str:
    return phone_numbers.country_code(text) if text else text


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


def check_printable(text: str) -> str:
    """Check that a text has no control characters. Raises ValueError."""
    if not text.isprintable():
        raise ValueError("has control characters; write it without them")
    return text


def state_path(text: str) -> str:
    """Return a valid path of a state directory. Raises ValueError with the right form."""
    # kamailio.cfg has it in quotes, and in the URL of a database.
    if not STATE_PATH.fullmatch(text):
        raise ValueError(
            f'"{text}" is not an absolute path of letters, digits and / _ . + -; '
            'write "/var/lib/whence"'
        )
    longest = SOCKET_PATH_LIMIT - len(f"/{decisions.SOCKET_FILE}")
    if len(text) > longest:
        raise ValueError(
            f'"{text}" is too long for the socket in it; write a path of at most {longest} '
            "characters"
        )
    return text


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or not text.isprintable():
        raise ValueError("is empty or has control characters; write the password in quotes")
    return value


Name = Annotated[str, _matching(_NAME, "a name (letters, digits, _ . + -)", "acme")]


Domain = Annotated[str, AfterValidator(_domain)]


OptionalDomain = Annotated[str, AfterValidator(_account_domain)]


AorUser = Annotated[str, AfterValidator(_aor_user)]


Number = Annotated[str, AfterValidator(_number)]


CountryCode = Annotated[str, AfterValidator(_country_code)]


NumberHeaders = Annotated[
    tuple[Annotated[str, AfterValidator(_header)], ...],
    BeforeValidator(_listed),
    AfterValidator(_headers),
]


RegisterHeaders = Annotated[dict[str, str], AfterValidator(_register_headers)]


Socket = Annotated[TransportAddress, BeforeValidator(_socket)]


Password = Annotated[SecretStr, AfterValidator(_secret)]


def _increasing(pair: list[float]) -> list[float]:
    if not 0 < pair[0] <= pair[1]:
        raise ValueError(f"{pair} does not increase; write [first, longest], both in seconds")
    return pair


def _share(pair: list[float]) -> list[float]:
    if not 0 < pair[0] <= pair[1] < 1:
        raise ValueError(f"{pair} are not two increasing shares between 0 and 1; write [0.7, 0.8]")
    return pair


Wait = Annotated[
    list[float], Field(min_length=2, max_length=2, strict=False), AfterValidator(_increasing)
]


Share = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_share)]
