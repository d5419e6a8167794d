"""The text of a new settings file, from a few answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tomli_w

_HEAD = """\
# Settings of Whence. Each key is described in docs/configure.md.
# This file has passwords: only the user that runs Whence may read it.
#
#   whence check -c FILE     names all faults of this file
#   whence run   -c FILE     starts Kamailio and the agent with it
"""
_TRUNK = """\
# One [[trunk]] for each account at a provider:
#
# [[trunk]]
# id = "acme"
# registrar = "sip:sip.provider.example"
# user = "acct1"
# password = "…"
# target = "sip:alice@edge.example"
# numbers = ["+442071234567"]
"""
_USER = """\
# One [[user]] for each phone or PBX that registers here:
#
# [[user]]
# name = "alice"
# password = "…"
"""


@dataclass(slots=True)
class Answers:
    """The keys of the tables, as an operator chose them. An empty table is left out."""

    edge: dict[str, Any] = field(default_factory=dict)
    agent: dict[str, Any] = field(default_factory=dict)
    trunk: dict[str, Any] = field(default_factory=dict)
    user: dict[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """Return the tables of the file."""
        tables: dict[str, Any] = {"edge": self.edge, "agent": self.agent}
        tables |= {"trunk": [self.trunk] if self.trunk else []}
        tables |= {"user": [self.user] if self.user else []}
        return {name: table for name, table in tables.items() if table}

    def text(self) -> str:
        """Return the file."""
        parts = [_HEAD, *(_table(name, getattr(self, name)) for name in ("edge", "agent"))]
        parts.append(_table("trunk", self.trunk, is_list=True) or _TRUNK)
        parts.append(_table("user", self.user, is_list=True) or _USER)
        return "\n".join(filter(None, parts))


def _table(name: str, keys: Mapping[str, Any], *, is_list: bool = False) -> str:
    if not keys:
        return ""
    head = f"[[{name}]]" if is_list else f"[{name}]"
    return f"{head}\n{tomli_w.dumps(keys)}"
