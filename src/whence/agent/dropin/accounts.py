"""Name the accounts in uac's table that `uac` does not register, or whose calls get lost.

Each rule was tried on Kamailio 5.6.3. `kamailio -c` reads no table.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from whence.agent.dropin.config import is_l_uuid
from whence.agent.dropin.kamailio_cfg.model import Cfg
from whence.agent.dropin.own_addresses import HostPort, OwnAddresses
from whence.agent.dropin.uac_settings import timer_interval_s
from whence.core.sip.uri import Uri
from whence.core.text import escape_untrusted, summarize
from whence.store.kamailio_tables import Row

DISABLED = 1
"""The bit of the column `flags` with which `uac` leaves an account alone."""

_NOT_EMPTY = ("l_username", "l_domain", "r_username", "r_domain", "auth_username")
_DOMAIN_CHECKS = frozenset(
    {"myself", "is_myself", "is_domain_local", "is_uri_host_local", "is_from_local"}
)
"""Words in the routing that depend on whether a domain is Kamailio's own."""

_HA1_LENGTH = 32


def problems(cfg: Cfg, rows: tuple[Row, ...], own: OwnAddresses, table: str) -> Iterator[str]:
    """Name the problems of the accounts, each once with its accounts.

    `rows`: all accounts. `table`: the table's name.
    """
    if not rows:
        yield (
            f"table {table} has no row: uac registers nothing; add the accounts to it, or with "
            "kamcmd uac.reg_add at each start"
        )
    found: dict[str, list[str]] = {}
    for row in rows:
        for problem in _of_row(cfg, row, own):
            found.setdefault(problem, []).append(_shown(row["l_uuid"]))
    for problem, l_uuids in found.items():
        yield f"table {table}: {summarize(l_uuids)}: {problem}"


def elsewhere(rows: Sequence[Row], locations: Sequence[Row], table: str) -> Iterator[str]:
    """Name the accounts whose user has phones, but none at the `l_domain`.

    `locations`: the contacts of Kamailio's users, where `usrloc` has users by their domain, too.
    """
    domains: dict[str, set[str]] = {}
    for row in locations:
        domains.setdefault(str(row["username"]), set()).add(str(row["domain"] or "").lower())
    for row in rows:
        registered = domains.get(str(row["l_username"]), set())
        if registered and str(row["l_domain"] or "").lower() not in registered:
            yield (
                f"table {table}: {_shown(row['l_uuid'])}: phones of {_shown(row['l_username'])} "
                f"registered at {_shown(summarize(sorted(registered)))}, and l_domain is "
                f"{_shown(row['l_domain'])}: with use_domain of usrloc, calls do not reach them; "
                "write that domain as l_domain"
            )


def _of_row(cfg: Cfg, row: Row, own: OwnAddresses) -> Iterator[str]:
    yield from _ignored(row)
    expires_s, timer_s = _number(row["expires"]), timer_interval_s(cfg)
    if expires_s == 0:
        yield "expires is 0: uac does not register it; write the seconds, as 3600"
    elif timer_s is not None and 0 < expires_s <= timer_s:
        yield (
            f"expires is {expires_s}, and uac refreshes every {timer_s} s only: the registration "
            "ends in between; write more, as 3600, or less for reg_timer_interval"
        )
    if _number(row["flags"]) & DISABLED:
        yield "flags is odd: the account is disabled; write 0, or kamcmd uac.reg_enable"
    r_domain = str(row["r_domain"] or "")
    if r_domain.lower().startswith(("sip:", "sips:")) or re.search(r"\s", r_domain):
        yield "r_domain is a URI, and uac writes sip: before it; write the host only"
    yield from _proxy(row, own)
    if own.is_unknown:
        return
    yield from _contact(cfg, row, own)
    if row["l_domain"]:
        yield from _l_domain(cfg, str(row["l_domain"]), own)


def _ignored(row: Row) -> Iterator[str]:
    """Name the values with which `uac` ignores an account when it reads the table."""
    if not is_l_uuid(str(row["l_uuid"] or "")):
        yield (
            "l_uuid is no user of a SIP URI, and uac writes it into the Contact; write up to 64 "
            "letters, digits, - or _"
        )
    for column in _NOT_EMPTY:
        if not row[column]:
            yield f"{column} is empty: uac ignores the account; write it"
    if row["auth_proxy"] == "":
        yield (
            "auth_proxy is empty: uac ignores the account; write the URI of the registrar, as "
            "sip:provider.example"
        )
    password, ha1 = _number(row["auth_password"]), _number(row["auth_ha1"])
    if not password and not ha1:
        yield "auth_password and auth_ha1 are empty: uac ignores the account; write one of them"
    elif ha1 not in (0, _HA1_LENGTH):
        yield f"auth_ha1 is no HA1: uac ignores the account; write {_HA1_LENGTH} hex digits"


def _proxy(row: Row, own: OwnAddresses) -> Iterator[str]:
    """Check the URI that a REGISTER is sent to."""
    text = str(row["auth_proxy"] or "")
    if not text:
        return
    uri = Uri.parse(text)
    if uri is None:
        yield (
            "auth_proxy is no SIP URI: uac cannot send; write sip: before the host, as "
            "sip:provider.example"
        )
        return
    found = re.search(r";transport=([A-Za-z]+)", text)
    transport = "tls" if text.lower().startswith("sips:") else found[1].lower() if found else ""
    if transport and not own.is_unknown and transport not in own.transports:
        how = (
            "load tls, and write enable_tls=yes and a listen with tls:"
            if transport == "tls"
            else f"write a listen with {transport}:, without disable_tcp"
        )
        yield f"auth_proxy has transport {transport}, and Kamailio has no such socket; {how}"
    place = HostPort(uri.host.strip("[]"))
    if place.is_ip and not own.is_unknown:
        version = ipaddress.ip_address(place.host).version
        if version not in own.ip_versions:
            yield (
                f"auth_proxy is an IPv{version} address, and Kamailio has no IPv{version} socket: "
                f"uac cannot send; write a listen with an IPv{version} address"
            )


def _contact(cfg: Cfg, row: Row, own: OwnAddresses) -> Iterator[str]:
    """Check where the provider sends the account's calls: its own address, or the general one."""
    param = cfg.param("uac", "reg_contact_addr")
    of_row = str(row["contact_addr"] or "")
    text, where = (of_row, "contact_addr") if of_row else (param.value if param else "", "")
    if not where:
        where = f"reg_contact_addr ({param.place})" if param is not None else "reg_contact_addr"
    if not text:
        return
    if text.lower().startswith(("sip:", "sips:")):
        yield f"{where} begins with sip:, which uac adds: the Contact is invalid; remove it"
        return
    host, *params = text.split(";")
    place = HostPort.parse(host)
    if place is None or not place.is_ip:
        return  # a name leads to a socket by DNS
    transport = next((p[10:].lower() for p in params if p.lower().startswith("transport=")), "udp")
    reached = HostPort(place.host, place.port or (5061 if transport == "tls" else 5060), transport)
    if not own.listens(reached):
        yield (
            f"{where} is {transport}:{reached}, where Kamailio does not listen: the provider's "
            f"calls do not arrive; write a listen address, or behind a NAT listen=… advertise "
            f"{reached}"
        )
    if row["socket"]:
        socket = HostPort.parse(str(row["socket"]))
        if socket is None or not own.listens(socket):
            yield "socket is no listen socket: uac sends from another one; write one, or nothing"


def _l_domain(cfg: Cfg, l_domain: str, own: OwnAddresses) -> Iterator[str]:
    place = HostPort.parse(l_domain)
    if place is not None and own.has(place):
        return
    checks = any(next(iter(block.names(_DOMAIN_CHECKS)), None) for block in cfg.blocks)
    if not checks:
        return
    name = _shown(l_domain)
    quoted = [one for one in own.names if re.fullmatch(rf"{re.escape(name.lower())}:\d+", one.host)]
    table = ", or add it to the table domain" if "domain" in cfg.modules else ""
    how = f"write alias={name}{table}"
    if quoted:
        how = f'remove the quotes of alias="{quoted[0].host}": Kamailio reads no port in them'
    elif place is not None and place.is_ip:
        how = f"write listen=udp:{place.host}:5060, or alias={name}{table}"
    yield (
        f"l_domain {name} is no alias or listen address of this Kamailio: it sends the calls to "
        f"that host, and not to a phone; {how}, or a domain of yours as l_domain"
    )


def _number(value: str | int | None) -> int:
    try:
        return int(value or 0)
    except ValueError:
        return 0


def _shown(value: str | int | None) -> str:
    return escape_untrusted(str(value or "?")[:80])
