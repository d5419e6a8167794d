"""Instants in the bodies of the API: RFC 3339 texts there, seconds since the epoch in Python."""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainSerializer, WithJsonSchema

from whence.agent.runtime.instants import rfc3339

EXAMPLE = "2026-09-21T14:13:20Z"


Instant = Annotated[
    float,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "examples": [EXAMPLE]}, mode="serialization"
    ),
]
"""Seconds since the epoch; in JSON a text of RFC 3339 in UTC."""
