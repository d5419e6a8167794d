"""Read and check the files that the settings file names."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import (
    SecretStr,
    ValidationInfo,
)

from whence.agent.config.validators import STATE_PATH

DEBIAN_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
"""CA certificates of the Debian package ca-certificates."""


def readable(name: str, given: str, folder: Path) -> str:
    """Return the absolute path of a PEM file that can be read now. Raises ValueError."""
    path = str((folder / given).absolute())
    if not STATE_PATH.fullmatch(path):  # Kamailio's tls.cfg has it without quotes
        raise ValueError(
            f'{name}: "{path}" is not a path of letters, digits and / _ . + -; rename it'
        )
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f'{name}: "{path}" cannot be read: {error.strerror}; write the path of a file in PEM '
            "that the user of Whence can read"
        ) from None
    return path


def writable(given: str, folder: Path) -> str:
    """Return the absolute path of a file that can be written. Raises ValueError."""
    path = (folder / given).absolute()
    if not given.isprintable() or path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(
            f'call_log_file: "{given}" cannot be written; write the path of a file in a folder '
            "that the user of Whence can write"
        )
    return str(path)


def no_password() -> str:
    """Raise ValueError, so that OpenSSL does not ask for the password of a key on the terminal."""
    raise ValueError("no password")


def read_secret(file: str, info: ValidationInfo) -> SecretStr:
    """Read a password from a file of one line. Raises ValueError without the content."""
    folder = (info.context or {}).get("folder", Path())
    try:
        text = (folder / file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text or not text.isprintable():
        raise ValueError(
            f'password_file: "{file}" cannot be read or does not hold exactly one line; '
            "write the password into it, and let only the agent's user read it"
        )
    return SecretStr(text)
