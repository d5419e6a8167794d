"""Write docs/configure.md from the models of the settings files.

`tools/configure.md.j2` has the text. `keys(...)` in it becomes a table of the keys of a model, and
`names(...)` a list of them. The description of a key is the docstring below it; the rest is read
from its type.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from jinja2 import Environment, StrictUndefined
from pydantic import BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

from whence.agent.config import networks
from whence.agent.config.media import MediaConfig
from whence.agent.config.models import (
    AgentConfig,
    BackoffConfig,
    Config,
    EdgeConfig,
    MonitoringConfig,
    RegistrationConfig,
    TlsConfig,
)
from whence.agent.config.outbound import (
    LimitsConfig,
    OutboundConfig,
    RouteConfig,
    TrunkOutboundConfig,
)
from whence.agent.config.phones import PhonesConfig
from whence.agent.config.toml import KeyName, Table, Unit
from whence.agent.config.trunk import Ha1, PinnedNetwork, TrunkConfig, UserConfig, as_pin
from whence.agent.dropin.config import DropInConfig, LearnFrom
from whence.core.sip.transport_address import TransportAddress

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "tools" / "configure.md.j2"
PAGE = ROOT / "docs" / "configure.md"

TABLES: dict[str, type[Table]] = {
    "edge": EdgeConfig,
    "tls": TlsConfig,
    "phones": PhonesConfig,
    "media": MediaConfig,
    "agent": AgentConfig,
    "registration": RegistrationConfig,
    "backoff": BackoffConfig,
    "trunk": TrunkConfig,
    "networks": PinnedNetwork,
    "ha1": Ha1,
    "user": UserConfig,
    "trunk_outbound": TrunkOutboundConfig,
    "limits": LimitsConfig,
    "outbound": OutboundConfig,
    "route": RouteConfig,
    "drop_in": DropInConfig,
    "drop_in_agent": MonitoringConfig,
}
"""The name of a table in the template → its model."""

ROOTS = (Config, DropInConfig)
"""The models of the two files."""

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    SecretStr: "text (secret)",
    TransportAddress: "socket",
    Ha1: "[table](#ha1)",
    PinnedNetwork: "text or [table](#networks)",
}
_READERS = {networks.instant: "date and time", as_pin: "text or [table](#networks)"}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_LEARN_FROM = get_args(LearnFrom)[1]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        keys=lambda name: _table(TABLES[name]),
        names=lambda name: ", ".join(f"`{key}`" for key in TABLES[name].model_fields),
    )


def tables(*models: type[Table]) -> Iterator[type[Table]]:
    """Yield the models, and each model that is the type of one of their keys."""
    for model in models:
        yield model
        for field in model.model_fields.values():
            yield from tables(*_tables_in(field.annotation))


def _tables_in(annotation: Any) -> Iterator[type[Table]]:
    if isinstance(annotation, type) and issubclass(annotation, Table):
        yield annotation
    for part in get_args(annotation):
        yield from _tables_in(part)


def descriptions(model: type[Table]) -> dict[str, str]:
    """Return key → the docstring below it, also for inherited keys.

    pydantic can do this (`use_attribute_docstrings`), but it would slow each start of the agent.
    """
    found: dict[str, str] = {}
    for table in model.__mro__:
        if issubclass(table, Table):
            source = textwrap.dedent(inspect.getsource(table))
            (definition,) = ast.parse(source).body
            assert isinstance(definition, ast.ClassDef)  # noqa: S101
            found = _docstrings(definition) | found
    return found


def _docstrings(definition: ast.ClassDef) -> dict[str, str]:
    return {
        key.target.id: " ".join(below.value.value.split())
        for key, below in pairwise(definition.body)
        if isinstance(key, ast.AnnAssign)
        and isinstance(key.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def _table(model: type[Table]) -> str:
    described = descriptions(model)
    rows = [
        f"| `{name}` | {_kind(field)} | {_default(field)} | {_meaning(field, described[name])} |"
        for name, field in model.model_fields.items()
        if field.annotation not in TABLES.values()
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def _kind(field: FieldInfo) -> str:
    """Return the type of a key, its bounds and its unit, as the page has them."""
    if _LEARN_FROM in field.metadata:
        return '`"asked"` or `"any"`, or a table of `l_uuid = "any"`'
    words = _words(field.annotation, field.metadata)
    bounds = _bounds(field.metadata)
    unit = next((one.name for one in field.metadata if isinstance(one, Unit)), "")
    return f"{words}{f', {bounds}' if bounds else ''}{f' ({unit})' if unit else ''}"


def _words(annotation: Any, metadata: list[Any]) -> str:
    for one in metadata:
        if isinstance(one, BeforeValidator) and one.func in _READERS:
            return _READERS[one.func]
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(parts[0], list(parts[1:]))
    if origin is Literal:
        return " or ".join(f'`"{part}"`' for part in parts)
    if origin in (Union, UnionType):
        return ", or ".join(_words(part, metadata) for part in parts if part is not NoneType)
    if origin is list and any(getattr(one, "max_length", None) == 2 for one in metadata):
        return "two numbers"
    if origin in (list, tuple):
        return f"list of: {_words(parts[0], [])}"
    if origin is dict:
        key = next((one.name for one in metadata if isinstance(one, KeyName)), "l_uuid")
        return f"table: `{key}` = {_words(parts[1], [])}"
    raise TypeError(f"add {annotation} to _WORDS")


def _bounds(metadata: list[Any]) -> str:
    found = {
        name: getattr(one, name)
        for one in metadata
        for name in _BOUNDS
        if isinstance(one, (Ge, Gt, Le, Lt)) and hasattr(one, name)
    }
    if found.keys() == {"ge", "le"}:
        return f"{_number(found['ge'])} to {_number(found['le'])}"
    return ", ".join(f"{_BOUNDS[name]} {_number(bound)}" for name, bound in found.items())


def _number(value: float) -> str:
    return f"{value:,}".replace(",", " ") if value >= 10_000 else f"{value:g}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None or field.default == {}:
        return "none"
    return f"`{_toml(field.default)}`"


def _meaning(field: FieldInfo, description: str) -> str:
    """Return the description and an example."""
    examples = " or ".join(f"`{_toml(example)}`" for example in field.examples or ())
    return f"{description} Example: {examples}." if examples else description


def _toml(value: Any) -> str:
    """Return a value as a settings file has it."""
    if isinstance(value, dict) and list(value) == [""]:  # learn_from: for all
        return _toml(value[""])
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, TransportAddress):
        return f'"{value}"'
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'


if __name__ == "__main__":
    main()
