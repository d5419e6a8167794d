"""Read the table `registrant` of OpenSIPS' module `uac_registrant`, of any database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from whence.importers.columns import ColumnNotes, expires, secret
from whence.importers.records import Findings, Record, too_long, without_empty
from whence.importers.sip_values import UnusableValueError, address_of_record, server, socket
from whence.importers.tables import TableRow

TABLE = "registrant"

_DISABLED = "1"


def read(rows: Iterable[TableRow], findings: Findings) -> None:
    """Add a record for each row."""
    columns = ColumnNotes(
        {
            "binding_URI": "Whence registers a Contact of its own",
            "binding_params": "Whence registers a Contact of its own",
            "cluster_shtag": "Whence has no sharing tags",
        }
    )
    for row in rows:
        columns.see(row)
        findings.trunks.append(_record(row, findings))
    columns.add_to(findings)


def _record(row: TableRow, findings: Findings) -> Record:
    keys: dict[str, Any] = {"id": row.get("aor").removeprefix("sip:").removeprefix("sips:")}
    doubt = too_long((name, value) for name, value in row.values.items())
    try:
        keys |= _servers(row, findings)
    except UnusableValueError as error:
        doubt = doubt or str(error)
    if row.get("username") != keys.get("user"):
        keys["auth_user"] = row.get("username")
    keys |= {
        "expires": expires(row, "expiry", findings),
        "enabled": False if row.get("state") == _DISABLED else None,
    }
    keys |= secret(row, "password")
    other = row.get("third_party_registrant")
    if other and other != row.get("aor"):
        findings.note(
            row.place, "third_party_registrant: Whence writes the account itself into From"
        )
    return Record(row.place, without_empty(keys), doubt)


def _servers(row: TableRow, findings: Findings) -> dict[str, str]:
    keys: dict[str, str] = {}
    for column, key in (("registrar", "registrar"), ("proxy", "proxy")):
        if row.get(column) or key == "registrar":
            keys[key], left_out = server(row.get(column))
            if left_out:
                findings.note(row.place, f"{column}: {left_out} is left out")
    keys["user"], keys["domain"] = address_of_record(row.get("aor"))
    if own := socket(row.get("forced_socket")):
        keys["socket"] = own
    elif row.get("forced_socket"):
        findings.note(row.place, "forced_socket: is no transport:ip:port; it is left out")
    if keys["registrar"] == f"sip:{keys['domain']}":
        del keys["domain"]
    if keys.get("proxy") == keys["registrar"]:
        del keys["proxy"]
    return keys
