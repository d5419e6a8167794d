"""Write records as a settings file that `whence check` accepts.

A record that `whence check` would refuse is written as a comment, with a note that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tomli
import tomli_w

from whence.agent.config.load import checked_config, contradictions_of_trunk
from whence.agent.config.models import Config
from whence.agent.config.toml import checked
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.agent.config.uris import own_uri
from whence.core.sip.transport_address import canonical_ip
from whence.core.text import escape_untrusted
from whence.errors import ConfigError
from whence.importers.records import Findings, Note, Place, Record, UniqueNames

DEFAULT_TARGET = "sip:{number}@127.0.0.1:5080"

_LISTEN = {4: "127.0.0.1:5060", 6: "[::1]:5060"}
"""Version of IP → the address to listen on that an operator replaces."""

_ORDER = {"trunk": list(TrunkConfig.model_fields), "user": list(UserConfig.model_fields)}

KeepSecret = Callable[[str, str], str]
"""Stores the password of a trunk in a file: id and password → path."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator wants.

    `target`: that of all trunks; empty: what the file says. `existing`: the tables of the settings
    file to which the result is appended. `folder`: where a relative path in a record begins.
    """

    target: str = ""
    existing: dict[str, Any] | None = None
    folder: Path = field(default_factory=Path)
    keep_secret: KeepSecret | None = None


@dataclass(slots=True)
class Imported:
    """The text of a settings file, the notes, and how many records it has."""

    text: str = ""
    notes: list[Note] = field(default_factory=list)
    trunks: int = 0
    users: int = 0
    comments: int = 0


@dataclass(frozen=True, slots=True)
class _Table:
    """A table for the file. `fault`: why it must be a comment; `trunk`: its model without one."""

    kind: Literal["trunk", "user"]
    place: Place
    keys: dict[str, Any]
    fault: str = ""
    trunk: TrunkConfig | None = None


def settings_of(findings: Findings, wishes: Wishes) -> Imported:
    """Return the settings file of what readers found.

    Raises: ConfigError: the records are right one by one, and contradict each other.
    """
    notes = list(findings.notes)
    users = list(_users(findings.users, wishes, notes))
    trunks = list(_trunks(findings.trunks, wishes, notes))
    edge = {} if wishes.existing is not None else _edge(trunks)
    tables = [*_without_contradictions(trunks, users, edge, wishes), *users]
    _note_same_accounts(tables, notes)
    notes += [
        Note(one.place, f"is written as a comment: {one.fault}") for one in tables if one.fault
    ]
    text = _text(edge, tables, wishes.keep_secret)
    _verify(text, wishes)
    notes.sort(key=lambda note: (note.place.file, note.place.line))
    good = [one.kind for one in tables if not one.fault]
    return Imported(text, notes, good.count("trunk"), good.count("user"), len(tables) - len(good))


def _trunks(records: list[Record], wishes: Wishes, notes: list[Note]) -> Iterator[_Table]:
    names = UniqueNames(_names(wishes, "trunk", "id"))
    without_target: list[Place] = []
    for record in records:
        wish = str(record.keys.get("id", ""))
        keys = {**record.keys, "id": names.make(wish)}
        if keys["id"] != wish:
            notes.append(Note(record.place, f'id: "{wish[:80]}" becomes "{keys["id"]}"'))
        if not wishes.target and not keys.get("target"):
            without_target.append(record.place)
        keys["target"] = wishes.target or keys.get("target") or DEFAULT_TARGET
        yield _checked("trunk", record, keys, wishes)
    if without_target:
        message = f"has no target, and gets {DEFAULT_TARGET}: choose with --target URI"
        if len(without_target) > 1:
            message += f"; so do {len(without_target) - 1} more"
        notes.append(Note(without_target[0], message))


def _users(records: list[Record], wishes: Wishes, notes: list[Note]) -> Iterator[_Table]:
    used = set(_names(wishes, "user", "name"))
    for record in records:
        name = str(record.keys.get("name", ""))
        if name in used:
            notes.append(Note(record.place, f'user "{name}" exists already; it is left out'))
            continue
        used.add(name)
        yield _checked("user", record, dict(record.keys), wishes)


def _names(wishes: Wishes, table: str, key: str) -> list[str]:
    entries = (wishes.existing or {}).get(table, [])
    return [str(one.get(key)) for one in entries if isinstance(one, dict)]


def _checked(
    kind: Literal["trunk", "user"], record: Record, keys: dict[str, Any], wishes: Wishes
) -> _Table:
    """Return the table of a record, with the fault that it has alone."""
    order = _ORDER[kind]
    table = _Table(kind, record.place, {key: keys[key] for key in sorted(keys, key=order.index)})
    file = wishes.folder / "import"
    settings, faults = checked(Config, {kind: [table.keys]}, file)
    if record.doubt or settings is None:
        fault = record.doubt or faults[0].removeprefix(f"{file.name}: ")
        return replace(table, fault=fault)
    return replace(table, trunk=next(iter(settings.trunk), None))


def _edge(tables: list[_Table]) -> dict[str, Any]:
    """Return `[edge]`: the sockets that the trunks name, and one for each transport they need.

    A TLS socket needs a certificate, so there is none: trunks over TLS become comments.
    """
    listen: dict[str, None] = {}
    needed: set[tuple[str, int]] = set()
    for trunk in filter(None, (one.trunk for one in tables)):
        if trunk.socket is not None and trunk.socket.transport != "tls":
            listen[str(trunk.socket)] = None
        needed.add(_needed(trunk))
    has = {(one.partition(":")[0], 6 if "[" in one else 4) for one in listen}
    for transport, version in sorted(needed - has):
        if transport != "tls":
            listen[f"{transport}:{_LISTEN[version]}"] = None
    return {} if list(listen) in ([], [f"udp:{_LISTEN[4]}"]) else {"edge": {"listen": list(listen)}}


def _needed(trunk: TrunkConfig) -> tuple[str, int]:
    """Return transport and version of IP of the socket that reaches a trunk's server."""
    uri = own_uri(trunk.proxy or trunk.registrar)
    host, params = (uri.host, uri.params) if uri is not None else ("", {})
    try:
        version = canonical_ip(host).version
    except ValueError:
        version = 4  # a name
    return params.get("transport", "udp").lower(), version


def _without_contradictions(
    trunks: list[_Table], users: list[_Table], edge: dict[str, Any], wishes: Wishes
) -> Iterator[_Table]:
    """Yield the trunks; those that the rest of the file contradicts have their fault."""
    base = wishes.existing if wishes.existing is not None else edge
    file = wishes.folder / "import"
    settings, faults = checked(Config, {**base, "trunk": [], "user": []}, file)
    if settings is None:
        raise ConfigError(faults)
    names = {str(one.keys["name"]) for one in users if not one.fault}
    names.update(_names(wishes, "user", "name"))
    sockets = settings.edge.sockets
    for table in trunks:
        if table.trunk is not None:
            found = next(contradictions_of_trunk(table.trunk, settings, sockets, names), "")
            yield replace(table, fault=found)
        else:
            yield table


def _note_same_accounts(tables: Iterable[_Table], notes: list[Note]) -> None:
    """Note trunks with the same account: the later registration takes the calls of both."""
    first: dict[tuple[str, str], _Table] = {}
    for table in tables:
        if table.trunk is None:
            continue
        account = (table.trunk.aor, table.trunk.registrar)
        other = first.setdefault(account, table)
        if other is not table:
            notes.append(
                Note(
                    table.place,
                    f'trunk "{table.keys["id"]}" has the account of trunk "{other.keys["id"]}"; '
                    "remove one",
                )
            )


def _text(edge: dict[str, Any], tables: list[_Table], keep_secret: KeepSecret | None) -> str:
    parts = [tomli_w.dumps(edge)] if edge else []
    for table in tables:
        keys = table.keys
        if keep_secret is not None and table.kind == "trunk" and not table.fault:
            keys = _with_password_file(keys, keep_secret)
        # The list itself would become one line of inline tables where they are short.
        table_lines = _printable(tomli_w.dumps({table.kind: keys})).rstrip("\n").split("\n")
        lines = [f"[[{table.kind}]]", *table_lines[1:]]
        if table.fault:
            lines = [f"# {line}".rstrip() for line in (escape_untrusted(table.fault), *lines)]
        parts.append("\n".join([f"# {table.place}", *lines]) + "\n")
    return "\n".join(parts)


def _printable(toml: str) -> str:
    """Escape letters in the texts of TOML that could change the terminal."""
    if toml.isascii():
        return toml
    return "".join(c if c.isprintable() or c == "\n" else f"\\U{ord(c):08x}" for c in toml)


def _with_password_file(keys: dict[str, Any], keep_secret: KeepSecret) -> dict[str, Any]:
    password = keys.get("password")
    # A password file has no blanks at its ends.
    if not isinstance(password, str) or password != password.strip():
        return keys
    path = keep_secret(str(keys["id"]), password)
    return {
        "password_file" if key == "password" else key: path if key == "password" else value
        for key, value in keys.items()
    }


def _verify(text: str, wishes: Wishes) -> None:
    """Check the whole text as `whence check` does. Raises: ConfigError."""
    data = tomli.loads(text)
    if wishes.existing is not None:
        data = {
            **wishes.existing,
            **{
                kind: [*wishes.existing.get(kind, []), *data.get(kind, [])]
                for kind in ("trunk", "user")
            },
        }
    settings, faults = checked_config(data, wishes.folder / "import")
    if settings is None or faults:
        raise ConfigError(faults)
