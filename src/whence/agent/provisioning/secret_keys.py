"""Separates the secrets of settings, and encrypts them for the disk.

Which keys are secret, the models of the settings file say: those with the type `SecretStr`.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr

from whence.agent.config.toml import Table
from whence.errors import StoreError, UntrustedError
from whence.trust.paths import open_file

KEY_FILE = "provisioned.key"

_NONCE = 12


def is_secret(annotation: Any) -> bool:
    """Return whether a key of this type is a secret."""
    return annotation is SecretStr or any(is_secret(one) for one in get_args(annotation))


def split(model: type[Table], settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the public keys of a table, and its secret keys."""
    public: dict[str, Any] = {}
    hidden: dict[str, Any] = {}
    for key, value in settings.items():
        field = model.model_fields.get(key)
        table = None if field is None else _table(field.annotation)
        if field is None or (table is None and not is_secret(field.annotation)):
            public[key] = value
        elif table is None or not isinstance(value, dict):
            (hidden if table is None or _has_secret(table) else public)[key] = value
        else:
            inner_public, inner_hidden = split(table, value)
            if inner_public or not inner_hidden:
                public[key] = inner_public
            if inner_hidden:
                hidden[key] = inner_hidden
    return public, hidden


def join(public: Mapping[str, Any], hidden: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole table again."""
    whole = dict(public)
    for key, value in hidden.items():
        inner = whole.get(key)
        both_tables = isinstance(value, dict) and isinstance(inner, dict)
        whole[key] = join(inner, value) if both_tables and inner is not None else value
    return whole


def names(hidden: Mapping[str, Any], before: str = "") -> list[str]:
    """Return the names of the secret keys that are set: `password`, `ha1.md5`."""
    found: list[str] = []
    for key, value in hidden.items():
        found += names(value, f"{before}{key}.") if isinstance(value, dict) else [before + key]
    return found


def _table(annotation: Any) -> type[Table] | None:
    """Return the class of a table, or of an optional one. A list of tables is none."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    found = [one for one in get_args(annotation) if isinstance(one, type)]
    return next((one for one in found if issubclass(one, Table)), None)


def _has_secret(table: type[Table]) -> bool:
    return any(is_secret(field.annotation) for field in table.model_fields.values())


class SecretBox:
    """Encrypts secrets with a key beside the database (AES-256-GCM).

    Each entry is encrypted for its own kind and id: a copy in another row cannot be decrypted. So
    a password never reaches another provider.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / KEY_FILE
        self._key: bytes | None = None

    def encrypt(self, kind: str, id_: str, hidden: Mapping[str, Any]) -> bytes:
        """Encrypt secrets. Raises StoreError."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        nonce = secrets.token_bytes(_NONCE)
        text = json.dumps(hidden).encode()
        return nonce + AESGCM(self._made_key()).encrypt(nonce, text, _context(kind, id_))

    def decrypt(self, kind: str, id_: str, data: bytes) -> dict[str, Any] | None:
        """Decrypt secrets; None where the key is another, or the data is damaged.

        Raises StoreError.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        try:
            nonce, text = data[:_NONCE], data[_NONCE:]
            plain = AESGCM(self._made_key()).decrypt(nonce, text, _context(kind, id_))
            found = json.loads(plain)
        except (InvalidTag, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _made_key(self) -> bytes:
        """Return the key; make it where there is none."""
        if self._key is None:
            try:
                opened = open_file(self._path, os.O_RDWR | os.O_CREAT)
                with os.fdopen(opened, "r+b") as file:
                    os.fchmod(file.fileno(), 0o600)
                    key = file.read(33)
                    if not key:
                        key = secrets.token_bytes(32)
                        file.write(key)
                        file.flush()
                        os.fsync(file.fileno())
            except (OSError, UntrustedError) as error:
                raise StoreError(f"{self._path} cannot be used: {error}") from error
            if len(key) != 32:
                raise StoreError(
                    f"{self._path} is no key; restore it from a backup, or remove it and write "
                    "the secrets of the API's trunks and users again"
                )
            self._key = key
        return self._key


def _context(kind: str, id_: str) -> bytes:
    return f"{kind}\0{id_}".encode()
