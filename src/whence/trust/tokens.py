"""Bearer tokens in files."""

from __future__ import annotations

from pathlib import Path


def webhook_token(path: Path) -> str:
    """Read a bearer token: one word of ASCII. ValueError says so, and never what is in the file."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        text = ""
    if not text or not text.isprintable() or " " in text:
        raise ValueError(
            f'webhook_token_file: "{path}" cannot be read or holds no single word; write the '
            "token into it, and let only the agent's user read it"
        )
    return text
