"""Read the tables of an operator's file, and describe each fault in a sentence.

A sentence has the place, the fault, and the right form.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomli
from pydantic import BaseModel, ConfigDict, ValidationError

from whence.errors import ConfigError


class Table(BaseModel):
    """One table of a file. Unknown keys are refused, and types are not converted.

    The text below a key is its description in docs/configure.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a key, for docs/configure.md. It checks nothing."""

    name: str


@dataclass(frozen=True, slots=True)
class KeyName:
    """The meaning of the keys in a table, for docs/configure.md. It checks nothing."""

    name: str


SECONDS = Unit("s")
PER_SECOND = Unit("1/s")


AnyTable = TypeVar("AnyTable", bound=Table)


def toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigError if it cannot be read or parsed."""
    name = path.name
    text = ""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tomli.loads(text)  # compiled: four times as fast as tomllib
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{name}: is not UTF-8 at byte {error.start}"]) from None
    except tomli.TOMLDecodeError as error:
        hint = _both_forms(text, str(error))
        raise ConfigError([f"{name}: is not TOML: {error}{hint}"]) from None


def _both_forms(text: str, error: str) -> str:
    """Return a hint for a file with `[trunk]` and `[[trunk]]`, which TOML refuses."""
    if error.startswith("Cannot "):
        for table in _NAMES:
            if re.search(rf"^[ \t]*\[{table}\]", text, re.MULTILINE):
                return f"; write [[{table}]] instead of [{table}]"
    return ""


def checked(
    model: type[AnyTable], data: dict[str, Any], path: Path
) -> tuple[AnyTable | None, list[str]]:
    """Return the table in `data`, or None and a sentence for each fault. `path`: the file read."""
    try:
        return model.model_validate(data, context={"folder": path.absolute().parent}), []
    except ValidationError as error:
        return None, [f"{path.name}: {sentence(model, data, one)}" for one in error.errors()]


def sentence(model: type[Table], data: dict[str, Any], fault: Any) -> str:
    """Return the sentence for one error of pydantic: place, fault, right form."""
    loc = [part for part in fault["loc"] if part != "[key]"]  # pydantic marks a faulty key so
    kind, message = fault["type"], fault["msg"].removeprefix("Value error, ")
    place = _place_in_file(data, loc)
    if kind == "extra_forbidden":
        return f"{place}: {_unknown_key(model, loc)}"
    if kind == "missing":
        return f"{place}: is missing; write {loc[-1]} = {_EXAMPLES[loc[-1]]}"
    if loc in (["trunk"], ["user"], ["route"]):
        return f"{place}: is not a list of tables; write [[{place}]] above each"
    if kind in _RIGHT_FORM:
        message = _RIGHT_FORM[kind].format(**fault.get("ctx", {}))
    elif kind != "value_error":
        message = message[:1].lower() + message[1:]
    return f"{place}: {message}" if place else message


_RIGHT_FORM = {
    "string_type": "is not a text; write it in quotes",
    "int_type": "is not a whole number; write it without quotes",
    "bool_type": "is neither true nor false; write one of them, without quotes",
    "list_type": 'is not a list; write ["…"]',
    "model_type": "is not a table; write {{key = …}}, or its keys below [its name]",
    "too_short": "is empty; write at least one",
    "greater_than_equal": "is too small; write at least {ge}",
    "less_than_equal": "is too large; write at most {le}",
    "literal_error": "is not a known value; write {expected}",
}
"""Pydantic's code of a fault → the fault and the right form."""

_EXAMPLES = {
    "id": '"acme"',
    "registrar": '"sip:sip.provider.example"',
    "user": '"acct1"',
    "target": '"sip:alice@edge.example"',
    "name": '"alice"',
    "network": '"198.51.100.0/24"',
    "trunks": '["acme"]',
}


RENAMED: dict[tuple[str, ...], str] = {
    ("agent", "api"): "api_listen",
    ("agent", "calls"): "call_history_size",
    ("agent", "calls_file"): "call_log_file",
    ("agent", "state"): "state_dir",
    ("agent", "strangers"): "unknown_sources_size",
    ("agent", "strangers_alarm"): "unknown_requests_per_minute_alarm",
    ("edge", "inside"): "agent_socket",
    ("registration", "answer"): "response_timeout",
    ("registration", "refresh"): "refresh_fraction",
    ("registration", "refused"): "rejected of [registration.backoff]",
    ("registration", "unreachable"): "unreachable of [registration.backoff]",
    ("registration", "wrong_credentials"): "auth_failed of [registration.backoff]",
    ("trunk", "port"): 'match_port; write match_port = true for "exact"',
}
"""A former key with its tables → its new name. Only unknown keys are looked up."""


_NAMES = {"trunk": "id", "user": "name", "route": ""}
"""A list of tables → the key that names each; empty: none does."""


def _place_in_file(data: Any, loc: list[Any]) -> str:
    """Return (`trunk`, 0, `numbers`, 1) as `trunk "acme": numbers[1]`."""
    words: list[str] = []
    here = data
    for depth, part in enumerate(loc):
        here = here[part] if _holds(here, part) else None
        if isinstance(part, int) and depth == 1 and loc[0] in _NAMES:
            name = here.get(_NAMES[loc[0]]) if isinstance(here, dict) else None
            words[-1] += f' "{name}"' if isinstance(name, str) else f" number {part + 1}"
        elif isinstance(part, int) and words:
            words[-1] += f"[{part}]"
        else:
            words.append(str(part))
    return ": ".join(words)


def _unknown_key(model: type[Table], loc: list[Any]) -> str:
    """Return the fault of an unknown key: its new name, or a similar key."""
    new = RENAMED.get(tuple(part for part in loc if isinstance(part, str)))
    return f"is now {new}" if new else f"unknown key{_did_you_mean(model, loc)}"


def _did_you_mean(model: type[Table], loc: list[Any]) -> str:
    for part in loc[:-1]:
        if part in model.model_fields:
            model = _table_in(model.model_fields[part].annotation) or model
    known = list(model.model_fields)
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f'; did you mean "{near[0]}"?' if near else f"; known are {', '.join(known)}"


def _table_in(annotation: Any) -> type[Table] | None:
    """Return the class of the table, or of the list of tables, in a field. None: neither."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    return next(filter(None, map(_table_in, get_args(annotation))), None)


def _holds(here: Any, part: Any) -> bool:
    if isinstance(here, dict):
        return part in here
    return isinstance(here, list) and isinstance(part, int) and part < len(here)
