"""Read accounts of Kamailio's module `uac`: its table `uacreg`, of any database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from whence.importers.columns import ColumnNotes, expires, secret
from whence.importers.records import Findings, Record, too_long, without_empty
from whence.importers.sip_values import UnusableValueError, server, socket
from whence.importers.tables import TableRow

TABLE = "uacreg"

_DISABLED = 1
"""The bit of `flags` that an operator sets."""

_HA1_LENGTH = 32


def read(rows: Iterable[TableRow], findings: Findings) -> None:
    """Add a record for each row."""
    columns = ColumnNotes(
        {
            "reg_delay": "Whence spreads REGISTERs by rate and rate_per_registrar",
            "contact_addr": "write the address that others see as advertise of [edge]",
        }
    )
    for row in rows:
        columns.see(row)
        findings.trunks.append(_record(row, findings))
    columns.add_to(findings)


def _record(row: TableRow, findings: Findings) -> Record:
    keys: dict[str, Any] = {"id": row.get("l_uuid") or row.get("r_username")}
    doubt = too_long((name, value) for name, value in row.values.items())
    try:
        keys |= _servers(row, findings)
    except UnusableValueError as error:
        doubt = doubt or str(error)
    keys |= {
        "user": row.get("r_username"),
        "realm": row.get("realm"),
        "expires": expires(row, "expires", findings),
        "target": _target(row),
        "enabled": None if _is_enabled(row) else False,
    }
    if row.get("auth_username") != row.get("r_username"):
        keys["auth_user"] = row.get("auth_username")
    keys |= _secret(row, findings)
    return Record(row.place, without_empty(keys), doubt)


def _servers(row: TableRow, findings: Findings) -> dict[str, str]:
    """Return registrar and proxy: uac sends to `auth_proxy`, and writes `r_domain`."""
    registrar, _ = server(row.get("r_domain"))
    keys = {"registrar": registrar}
    if row.get("auth_proxy"):
        proxy, left_out = server(row.get("auth_proxy"))
        if left_out:
            findings.note(row.place, f"auth_proxy: {left_out} is left out")
        if proxy != registrar:
            keys["proxy"] = proxy
    if own := socket(row.get("socket")):
        keys["socket"] = own
    elif row.get("socket"):
        findings.note(row.place, "socket: is no transport:ip:port; it is left out")
    return keys


def _target(row: TableRow) -> str:
    """Return the URI that `uac_reg_lookup` writes into an INVITE."""
    user, domain = row.get("l_username"), row.get("l_domain")
    return f"sip:{user}@{domain}" if user and domain else ""


def _is_enabled(row: TableRow) -> bool:
    flags = row.get("flags")
    return not (flags.isascii() and flags.isdigit() and int(flags[:9]) & _DISABLED)


def _secret(row: TableRow, findings: Findings) -> dict[str, Any]:
    ha1 = row.get("auth_ha1")
    # A password answers each algorithm, so it is the better of both.
    if ha1 and not row.get("auth_password"):
        return {"ha1": {"md5": ha1.lower()}}
    if len(ha1) == _HA1_LENGTH:
        findings.note(row.place, "auth_ha1: is left out: the row has the password, too")
    return secret(row, "auth_password")
