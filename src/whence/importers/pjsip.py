"""Read trunks and users from Asterisk's pjsip.conf.

A section of type registration is a trunk. Its auth, its endpoint, and the identify of that endpoint
belong to it. An endpoint with auth (not outbound_auth) is a user: a phone that registers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from whence.importers.asterisk_config import Section, Setting, sections
from whence.importers.columns import EXPIRES_MOST
from whence.importers.records import Findings, Place, Record, Source, too_long, without_empty
from whence.importers.sip_values import UnusableValueError, address_of_record, number, server

_USED = {
    "registration": {
        *("type", "server_uri", "client_uri", "outbound_auth", "outbound_proxy", "expiration"),
        *("transport", "endpoint", "line"),
    },
    "auth": {"type", "auth_type", "username", "password", "md5_cred", "realm"},
    "endpoint": {"type", "aors", "auth", "outbound_auth", "transport"},
    "identify": {"type", "endpoint", "match"},
    "transport": {"type", "protocol"},
    "aor": {"type"},
}
"""Type of a section → the settings that a record uses, or that say nothing more."""

_REASONS = {
    "registration": "Whence has its own waits and its own Contact",
    "auth": "has no counterpart in Whence",
    "endpoint": "is for Asterisk's dialplan and media; Whence carries signalling only",
    "identify": "Whence compares addresses only",
    "transport": "write the sockets as listen of [edge]",
    "aor": "Whence keeps what a phone registers, and sends no calls to fixed contacts",
}


@dataclass(slots=True)
class _Objects:
    """The sections of all files by type, and by name within a type."""

    by_type: dict[str, dict[str, Section]] = field(default_factory=lambda: defaultdict(dict))
    used: set[int] = field(default_factory=set)
    """The sections that a record uses, by `id()`."""

    def find(self, kind: str, name: str) -> Section | None:
        """Return a section that a record uses."""
        section = self.by_type[kind].get(name)
        if section is not None:
            self.used.add(id(section))
        return section

    def all(self, kind: str) -> list[Section]:
        return list(self.by_type[kind].values())


def read(sources: Iterable[Source], findings: Findings) -> None:
    """Add the records of files that belong together, as a file and those that it includes."""
    objects = _Objects()
    for source in sources:
        for section in sections(source, findings):
            _sort_in(section, objects, findings)
    for registration in objects.all("registration"):
        findings.trunks.append(_trunk(registration, objects, findings))
    for endpoint in objects.all("endpoint"):
        if endpoint.get("auth"):
            findings.users.append(_user(endpoint, objects, findings))
    _note_unused(objects, findings)


def _sort_in(section: Section, objects: _Objects, findings: Findings) -> None:
    kind = section.get("type").lower()
    if kind not in _USED:
        if kind not in ("global", "system"):
            what = f"type {kind}" if kind else "no type"
            findings.note(section.place, f"[{section.name}]: {what}; it is left out")
    elif section.name in objects.by_type[kind]:
        findings.note(
            section.place, f"[{section.name}]: there is a section {kind} of that name already"
        )
    else:
        objects.by_type[kind][section.name] = section


def _trunk(registration: Section, objects: _Objects, findings: Findings) -> Record:
    objects.used.add(id(registration))
    keys: dict[str, Any] = {"id": registration.name}
    doubt = _too_long(registration)
    try:
        keys |= _servers(registration, objects, findings)
    except UnusableValueError as error:
        doubt = doubt or str(error)
    keys |= _expires(registration, findings)
    auth = objects.find("auth", registration.get("outbound_auth"))
    if auth is None:
        doubt = doubt or f'there is no auth "{registration.get("outbound_auth")}"'
    else:
        username, secret, why = _credentials(auth, findings)
        doubt = doubt or why or _too_long(auth)
        keys |= secret
        if username != keys.get("user"):
            keys["auth_user"] = username
    keys["networks"] = list(_networks(registration, objects, findings))
    return Record(registration.place, without_empty(keys), doubt)


def _servers(registration: Section, objects: _Objects, findings: Findings) -> dict[str, str]:
    named = registration.get("transport")
    transport = objects.find("transport", named)
    protocol = transport.get("protocol").lower() if transport else ""
    if named and transport is None:
        findings.note(registration.place, f"transport: there is no transport {named}")
    keys: dict[str, str] = {}
    for setting, key in (("server_uri", "registrar"), ("outbound_proxy", "proxy")):
        text = registration.get(setting)
        if text or key == "registrar":
            keys[key], left_out = server(text, "" if protocol == "udp" else protocol)
            if left_out not in ("", ";lr"):
                findings.note(registration.place, f"{setting}: {left_out} is left out")
    keys["user"], keys["domain"] = address_of_record(registration.get("client_uri"))
    if keys["registrar"].partition(";")[0] == f"sip:{keys['domain']}":
        del keys["domain"]
    return keys


def _expires(registration: Section, findings: Findings) -> dict[str, int]:
    text = registration.get("expiration")
    seconds = number(text, 1, EXPIRES_MOST) if text else None
    if text and seconds is None:
        findings.note(registration.place, f"expiration: is no time of 1 to {EXPIRES_MOST} s")
    return {"expires": seconds} if seconds is not None else {}


def _credentials(auth: Section, findings: Findings) -> tuple[str, dict[str, Any], str]:
    """Return the user name of an auth, its secret as keys, and a doubt."""
    kind = auth.get("auth_type").lower() or "userpass"
    realm = auth.get("realm")
    if kind == "md5" or (auth.get("md5_cred") and not auth.get("password")):
        if not realm:
            findings.note(auth.place, f"[{auth.name}]: md5_cred is for one realm; write realm")
        ha1 = auth.get("md5_cred").lower()
        return auth.get("username"), {"ha1": {"md5": ha1}, "realm": realm}, ""
    if kind not in ("userpass", "digest"):
        return "", {}, f"[{auth.name}]: Whence has no auth_type {kind}"
    return auth.get("username"), {"password": auth.get("password"), "realm": realm}, ""


def _networks(registration: Section, objects: _Objects, findings: Findings) -> Iterator[str]:
    """Yield what the identify of the trunk's endpoint matches."""
    names = _endpoints_of(registration, objects)
    for identify in objects.all("identify"):
        if identify.get("endpoint") not in names:
            continue
        objects.used.add(id(identify))
        for match in identify.all("match"):
            for text in filter(None, map(str.strip, match.value.split(","))):
                try:
                    network = ip_network(text, strict=False)
                except ValueError:
                    place = Place(identify.place.file, match.line)
                    findings.note(
                        place,
                        f"match: {text} is no ip or network; it is left out: while the trunk is "
                        "registered, its registrar's addresses in DNS admit calls",
                    )
                    continue
                host = network.num_addresses == 1
                yield str(network.network_address) if host else str(network)


def _endpoints_of(registration: Section, objects: _Objects) -> set[str]:
    """Return the names of the endpoints of a trunk: the named one, or that of the same auth."""
    named = registration.get("endpoint")
    names = {named} if named else {registration.name}
    for endpoint in objects.all("endpoint"):
        auth = endpoint.get("outbound_auth")
        if endpoint.name in names or (auth and auth == registration.get("outbound_auth")):
            names.add(endpoint.name)
            objects.used.add(id(endpoint))
            for aor in endpoint.get("aors").split(","):
                objects.find("aor", aor.strip())
    return names


def _user(endpoint: Section, objects: _Objects, findings: Findings) -> Record:
    objects.used.add(id(endpoint))
    for aor in endpoint.get("aors").split(","):
        objects.find("aor", aor.strip())
    name, doubt = endpoint.name, _too_long(endpoint)
    auth = objects.find("auth", endpoint.get("auth"))
    if auth is None:
        return Record(endpoint.place, {"name": name}, f'there is no auth "{endpoint.get("auth")}"')
    username, secret, why = _credentials(auth, findings)
    secret.pop("realm", None)
    doubt = doubt or why or _too_long(auth)
    if "ha1" in secret:
        doubt = doubt or "md5_cred is for Asterisk's realm; Whence has its domain: write a password"
    if username and username != name:
        doubt = doubt or (
            f'the phone authenticates as "{username}", and Whence wants the name of the user; '
            "write one name into both"
        )
    return Record(endpoint.place, without_empty({"name": name, **secret}), doubt)


def _note_unused(objects: _Objects, findings: Findings) -> None:
    """Add a note for each section that no record uses, and for settings without use."""
    for kind, used in _USED.items():
        for section in objects.all(kind):
            if id(section) not in objects.used:
                findings.note(
                    section.place,
                    f"[{section.name}]: no registration uses this {kind}; it is left out",
                )
                continue
            left = [one for one in section.settings if one.key not in used]
            if left:
                findings.note(
                    section.place,
                    f"[{section.name}]: {_listed(left)}: left out: {_REASONS[kind]}",
                )


def _listed(settings: list[Setting]) -> str:
    lines: dict[str, list[str]] = defaultdict(list)
    for one in settings:
        lines[one.key].append(str(one.line))
    return ", ".join(
        f"{key} ({'line' if len(at) == 1 else 'lines'} {', '.join(at)})"
        for key, at in lines.items()
    )


def _too_long(section: Section) -> str:
    return too_long((one.key, one.value) for one in section.settings)
