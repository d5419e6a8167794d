"""The version of the installed Whence."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Return the version that pyproject.toml has."""
    return metadata.version("whence")
