"""Reads bearer tokens from files."""

from __future__ import annotations

from pathlib import Path


def webhook_token(path: Path) -> str:
    """Return a bearer token, one word of ASCII. Raises ValueError without the file's content."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        text = ""
    if not text or not text.isprintable() or " " in text:
        raise ValueError(
            f'webhook_token_file: "{path}" cannot be read or does not hold exactly one word; write '
            "the token into it, and let only the agent's user read it"
        )
    return text
