"""The version of Whence that is installed."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Return the version, as pyproject.toml has it."""
    return metadata.version("whence")
