"""Which keys of a trunk a CSV file may have, and how their texts are read."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import SecretStr

from whence.agent.config.trunk import TrunkConfig
from whence.core.sip.transport_address import TransportAddress
from whence.importers.csv_table import ColumnKind


def columns_of_trunks() -> dict[str, ColumnKind]:
    """Return the keys of `[[trunk]]` that one field of text can have."""
    kinds = {name: _kind(field.annotation) for name, field in TrunkConfig.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _kind(annotation: Any) -> ColumnKind | None:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return next(filter(None, map(_kind, get_args(annotation))), None)
    if origin in (list, tuple):
        return "list"
    if annotation is bool:
        return "truth"
    if annotation in (int, float):
        return "number"
    if annotation is SecretStr:
        return "exact"
    is_literal = origin is not None and "Literal" in str(origin)
    return "text" if annotation in (str, TransportAddress) or is_literal else None
