"""Validators for the other values of the settings file: sockets, addresses, paths, secrets.

A ValueError has the fault and the right form.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
)

from whence.agent.config import phone_numbers
from whence.agent.config.uris import EDGE_TRANSPORTS, TOP_LEVEL, WRITE_TRANSPORT
from whence.core.sip.sockets import AUTO, Advertised, is_reachable
from whence.core.sip.transport_address import (
    WEBSOCKETS,
    Transport,
    TransportAddress,
    canonical_ip,
)
from whence.ipc import decisions

DAY_S = 86_400


SOCKET_PATH_LIMIT = 107
"""Longest path of a Unix socket on Linux, in bytes."""


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")


_ADVERTISED_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


STATE_PATH = re.compile(r"/[A-Za-z0-9_./+-]{1,200}")


def _socket(text: Any) -> TransportAddress:
    try:
        socket = TransportAddress.parse(text if isinstance(text, str) else "")
    except ValueError:
        raise ValueError(
            f'"{text}" is not a socket; write transport:ip:port, "udp:192.0.2.1:5060"'
        ) from None
    if socket.transport not in (*EDGE_TRANSPORTS, *WEBSOCKETS):
        raise ValueError(
            f'"{text}": the edge has no sockets for {socket.transport}; {WRITE_TRANSPORT}'
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
        or not TOP_LEVEL.search(name)
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


UNIX = "unix:"
"""The beginning of an address of the API that is a Unix socket."""


def check_api_address(text: str) -> str:
    """Check the address that the API listens on. Raises ValueError."""
    if text.startswith(UNIX):
        path = text.removeprefix(UNIX)
        if not STATE_PATH.fullmatch(path) or len(path) > SOCKET_PATH_LIMIT:
            raise ValueError(
                f'"{path}" is not an absolute path of letters, digits and / _ . + -, of at most '
                f'{SOCKET_PATH_LIMIT} characters; write "unix:/run/whence/api.sock"'
            )
        return text
    parse_ip_and_port(text, "127.0.0.1:8088")
    return text


def is_local_api(text: str) -> bool:
    """Return whether only this machine reaches the API at a checked address."""
    return text.startswith(UNIX) or ip_address(parse_ip_and_port(text)[0]).is_loopback


_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:]{2,45}\]")


def check_hosts(names: list[str]) -> list[str]:
    """Check the names of the API, as a Host has them without port. Raises ValueError."""
    for name in names:
        if not _HOST.fullmatch(name):
            raise ValueError(f'"{name}" is not a host name; write "whence.example.net"')
    return [name.lower() for name in names]


def check_keepalive(seconds: float) -> float:
    """Check an interval in seconds; 0 is off. Raises ValueError."""
    if seconds and not 1 <= seconds <= 3600:
        raise ValueError(
            f"{seconds:g} is not a valid interval; write 1 to 3600 seconds, or 0 for none"
        )
    return seconds


def check_hep(text: str) -> str:
    """Check the address of a capture server; an empty text is none. Raises ValueError."""
    if text:
        place = TransportAddress.parse(text)
        if place.transport is not Transport.UDP or place.ip.is_unspecified:
            raise ValueError(f'"{text}" is not an address over UDP; write "udp:192.0.2.60:9060"')
    return text


_MAIL_ADDRESS = re.compile(
    r"[A-Za-z0-9_+=.~][A-Za-z0-9_+=.~-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}"
)


def check_mail_address(text: str) -> str:
    """Check an e-mail address; an empty text is none. Raises ValueError.

    An address is an argument of a program and a part of headers, so it has plain characters only.
    """
    if text and _MAIL_ADDRESS.fullmatch(text) is None:
        raise ValueError(f'"{text}" is not an e-mail address; write "name@host.example"')
    return text


def check_webhook_url(text: str) -> str:
    """Check the URL of the webhook; an empty text is none. Raises ValueError."""
    if not text:
        return text
    import httpx  # noqa: PLC0415 - slow, and needed for a webhook only

    # A fault does not repeat the URL: the path of a webhook is often a secret.
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
        httpx.URL(text)
    except (ValueError, httpx.InvalidURL):
        url, host = urlsplit(""), ""
    if url.scheme not in ("http", "https") or not host or _unfit_in_url(text):
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


def _number(text: str) -> str:
    phone_numbers.check(text)
    return text


def _country_code(text: str) -> str:
    return phone_numbers.country_code(text) if text else text


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


Number = Annotated[str, AfterValidator(_number)]


CountryCode = Annotated[str, AfterValidator(_country_code)]


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
