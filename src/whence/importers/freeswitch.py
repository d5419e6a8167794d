"""Read gateways of FreeSWITCH's XML. The XML may have no DTD, entities or external parts."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler, ErrorHandler
from xml.sax.xmlreader import AttributesImpl, InputSource, Locator

import defusedxml.sax
from defusedxml import DefusedXmlException

from whence.errors import ConfigError
from whence.importers.columns import EXPIRES_MOST
from whence.importers.records import (
    RECORDS_LIMIT,
    Findings,
    Place,
    Record,
    Source,
    too_long,
    without_empty,
)
from whence.importers.sip_values import UnusableValueError, address_of_record, number, server

_USED = frozenset(
    {
        *("username", "auth-username", "password", "realm", "proxy", "register-proxy"),
        *("outbound-proxy", "from-domain", "from-user", "expire-seconds", "register"),
        *("register-transport", "ping"),
    }
)
_TRUE = frozenset({"true", "yes", "on", "t", "1", "enabled", "active", "allow"})
_LEAST_EXPIRES, _LEAST_PING, _MOST_PING = 5, 5, 3_600

Params = dict[str, tuple[str, int]]
"""Name → value, and line."""


def read(source: Source, findings: Findings) -> None:
    """Add a record for each gateway of a file. Raises: ConfigError: the file is no safe XML."""
    reader = _Reader(source.name, findings)
    place = Place(source.name)
    try:
        _parse(source.text, reader)
    except DefusedXmlException:
        raise ConfigError(
            [f"{place}: has a DTD or entities, which may read other files; remove them"]
        ) from None
    except SAXParseException as error:
        place = Place(source.name, error.getLineNumber() or 0)
        raise ConfigError([f"{place}: is not XML: {error.getMessage()}"]) from None
    if not reader.gateways:
        findings.note(place, "has no gateway")


def _parse(text: str, reader: ContentHandler) -> None:
    parser = defusedxml.sax.make_parser()
    parser.setContentHandler(reader)
    parser.setErrorHandler(ErrorHandler())
    parser.forbid_dtd = parser.forbid_entities = parser.forbid_external = True
    source = InputSource()
    source.setEncoding("utf-8")  # the text is decoded, so its XML declaration does not count
    source.setByteStream(BytesIO(text.encode()))
    parser.parse(source)


class _Reader(ContentHandler):
    """Collects the gateways with the line of each parameter."""

    def __init__(self, file: str, findings: Findings) -> None:
        super().__init__()
        self.gateways = 0
        self._file, self._findings = file, findings
        self._locator: Locator | None = None
        self._gateway: tuple[str, Place, Params] | None = None

    def setDocumentLocator(self, locator: Locator) -> None:
        self._locator = locator

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        line = self._locator.getLineNumber() if self._locator else None
        place = Place(self._file, line or 0)
        local = name.rpartition(":")[2].lower()
        if local == "x-pre-process":
            what = f"{attrs.get('cmd', '')} {attrs.get('data', '').partition('=')[0]}".strip()
            self._findings.note(place, f"X-PRE-PROCESS {what}: is not followed")
        elif local == "include" and attrs.get("href"):
            self._findings.note(place, f"XInclude of {attrs['href']}: is not followed")
        elif local == "gateway":
            self._gateway = (attrs.get("name", ""), place, {})
            self.gateways += 1
            if self.gateways > RECORDS_LIMIT:
                raise ConfigError([f"{place}: more than {RECORDS_LIMIT} gateways"])
        elif local == "param" and self._gateway is not None:
            key = attrs.get("name", "").lower()
            self._gateway[2][key] = (attrs.get("value", ""), place.line)

    def endElement(self, name: str) -> None:
        if name.rpartition(":")[2].lower() == "gateway" and self._gateway is not None:
            _add(*self._gateway, self._findings)
            self._gateway = None


def _add(name: str, place: Place, params: Params, findings: Findings) -> None:
    given = {key: value for key, (value, _) in params.items()}
    for key in params.keys() - _USED:
        at = Place(place.file, params[key][1])
        findings.note(at, f'gateway "{name}": {key}: has no counterpart in Whence; it is left out')
    if given.get("register", "true").lower() not in _TRUE:
        at = Place(place.file, params["register"][1])
        findings.note(
            at, f'gateway "{name}": does not register, as each trunk of Whence does; it is left out'
        )
        return
    keys: dict[str, Any] = {"id": name, "password": given.get("password", "")}
    doubt = too_long(given.items()) or _variables(given)
    try:
        keys |= _servers(name, place, given, findings)
    except UnusableValueError as error:
        doubt = doubt or str(error)
    if given.get("auth-username"):
        keys["auth_user"] = given["auth-username"]
    keys |= _times(name, params, place, findings)
    findings.trunks.append(Record(place, without_empty(keys), doubt))


def _variables(given: dict[str, str]) -> str:
    """Return the doubt about values that FreeSWITCH replaces; empty: there is none."""
    for key in sorted(_USED & given.keys()):
        if "$${" in given[key] or "${" in given[key]:
            return f"{key} has a variable of FreeSWITCH; write its value"
    return ""


def _servers(name: str, place: Place, given: dict[str, str], findings: Findings) -> dict[str, str]:
    """Return registrar, proxy, user and domain.

    FreeSWITCH fills proxy from realm, and realm from the name of the gateway.
    """
    transport = given.get("register-transport", "")
    transport = "" if transport.lower() == "udp" else transport
    host = given.get("proxy") or given.get("realm") or name
    registrar, left_out = server(host, transport)
    if left_out:
        findings.note(place, f'gateway "{name}": proxy: {left_out} is left out')
    keys = {"registrar": registrar}
    keys["user"], _ = address_of_record(f"sip:{given.get('username', '')}@host")
    if given.get("from-domain"):
        keys["domain"] = given["from-domain"]
    other = given.get("from-user", "")
    if other not in ("", given.get("username")):
        findings.note(place, f'gateway "{name}": from-user: Whence writes username into From, too')
    next_hop = given.get("register-proxy") or given.get("outbound-proxy")
    if next_hop:
        proxy, left_out = server(next_hop, transport)
        if left_out not in ("", ";lr"):
            findings.note(place, f'gateway "{name}": register-proxy: {left_out} is left out')
        if proxy != registrar:
            keys["proxy"] = proxy
    return keys


def _times(name: str, params: Params, place: Place, findings: Findings) -> dict[str, int]:
    keys = {}
    for param, key, least, most in (
        ("expire-seconds", "expires", _LEAST_EXPIRES, EXPIRES_MOST),
        ("ping", "keepalive", _LEAST_PING, _MOST_PING),
    ):
        text, line = params.get(param, ("", 0))
        seconds = number(text, least, most)
        if seconds is not None:
            keys[key] = seconds
        elif text:
            at = Place(place.file, line)
            findings.note(at, f'gateway "{name}": {param}: is no time of {least} to {most} s')
    return keys
