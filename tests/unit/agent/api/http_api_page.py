"""Reads docs/http-api.md for the tests: its sections, and whether an example fits a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[4] / "docs" / "http-api.md"

_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "object": dict,
}


def examples() -> dict[tuple[str, str], list[Any]]:
    """Return (method, path) of each section → its JSON blocks, in order."""
    sections = re.split(
        r"^## `(GET|POST|PUT|PATCH|DELETE) (\S+)`$", PAGE.read_text(encoding="utf-8"), flags=re.M
    )
    return {
        (method.lower(), path): [
            json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.S)
        ]
        for method, path, text in zip(*(sections[i::3] for i in (1, 2, 3)), strict=True)
    }


def faults(value: Any, schema: Any, schemas: dict[str, Any], place: str = "") -> Iterator[str]:
    """Yield where an example does not fit: another key or type, or an unknown code."""
    if "$ref" in schema:
        yield from faults(value, schemas[schema["$ref"].rpartition("/")[2]], schemas, place)
    elif "anyOf" in schema:
        tried = [list(faults(value, one, schemas, place)) for one in schema["anyOf"]]
        yield from min(tried, key=len)
    elif schema.get("type") == "array":
        if not isinstance(value, list):
            yield f"{place}: is no list"
            return
        for one in value:
            yield from faults(one, schema["items"], schemas, f"{place}[]")
    elif "properties" in schema:
        properties = schema["properties"]
        if not isinstance(value, dict):
            yield f"{place}: is no object"
            return
        if value.keys() != properties.keys():
            yield f"{place}: has other keys: {sorted(value.keys() ^ properties.keys())}"
        for key in value.keys() & properties.keys():
            yield from faults(value[key], properties[key], schemas, f"{place}.{key}")
    elif "enum" in schema or "const" in schema:
        if value not in schema.get("enum", [schema.get("const")]):
            yield f"{place}: {value!r} is no code"
    elif not isinstance(value, _TYPES[schema["type"]]):
        yield f"{place}: {value!r} is no {schema['type']}"
