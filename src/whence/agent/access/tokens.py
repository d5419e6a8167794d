"""The file of tokens in the state directory: their names, roles and hashes, and no token.

`whence token` writes it, and the agent reads it again when it changes. So a token can be made
before the agent runs, and a revoked one ends at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from whence.core.access import Role
from whence.errors import OperatorError, UntrustedError
from whence.trust.paths import open_file, write_whole

FILE = "api-tokens.json"
LOCK = "api-tokens.lock"

PREFIX = "whence"
"""The first word of each token, by which scanners for leaked secrets can find it."""

_NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,64}")
_TOKEN = re.compile(rf"{PREFIX}_([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")

LIMIT = 1000
"""The most tokens of a file."""


@dataclass(frozen=True, slots=True)
class StoredToken:
    """One token without its secret."""

    id: str
    name: str
    role: Role
    hash: str
    """Argon2id of the whole token, in the form of PHC."""
    created_at: float
    expires_at: float | None = None

    def valid(self, now: float) -> bool:
        """Return whether it has not expired."""
        return self.expires_at is None or now < self.expires_at


def id_of(token: str) -> str | None:
    """Return the public part of a token; None for a text that is no token."""
    found = _TOKEN.fullmatch(token)
    return found[1] if found else None


class TokenFile:
    """The tokens of a state directory."""

    def __init__(self, state: Path) -> None:
        self.path = state / FILE
        self._lock = state / LOCK

    def identity(self) -> tuple[int, ...] | None:
        """Return what changes whenever the file is written; None without a file."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_ctime_ns

    def read(self) -> dict[str, StoredToken]:
        """Return id → token. Raises: OperatorError."""
        try:
            with os.fdopen(open_file(self.path, os.O_RDWR), "r", encoding="utf-8") as file:
                listed = json.load(file)["tokens"]
            return {one["id"]: StoredToken(**{**one, "role": Role(one["role"])}) for one in listed}
        except FileNotFoundError:
            return {}
        except UntrustedError:
            raise
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise OperatorError(
                f"{self.path} cannot be read ({type(error).__name__}); repair it, or remove it "
                "and create the tokens again: whence token create"
            ) from None

    def create(
        self,
        name: str,
        role: Role,
        hashed: Callable[[str], str],
        now: float,
        expires_at: float | None = None,
    ) -> tuple[str, StoredToken]:
        """Add a token, and return it with what is stored. `hashed`: makes the hash.

        Raises: OperatorError where the name is wrong or taken, or the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise OperatorError(
                "the name of a token has 1 to 64 letters, digits and _ . @ + -; write another one"
            )
        with self._change() as tokens:
            if any(one.name == name for one in tokens.values()):
                raise OperatorError(
                    f"there is a token {name} already; revoke it first: whence token revoke {name}"
                )
            if len(tokens) >= LIMIT:
                raise OperatorError(f"there are {LIMIT} tokens; revoke some: whence token revoke")
            token = f"{PREFIX}_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"
            stored = StoredToken(id_of(token) or "", name, role, hashed(token), now, expires_at)
            tokens[stored.id] = stored
        return token, stored

    def revoke(self, name_or_id: str) -> StoredToken:
        """Remove a token. Raises: OperatorError where there is none, or it cannot be written."""
        with self._change() as tokens:
            for id_, one in tokens.items():
                if name_or_id in (id_, one.name):
                    return tokens.pop(id_)
            raise OperatorError("there is no such token; list them: whence token list")

    @contextmanager
    def _change(self) -> Iterator[dict[str, StoredToken]]:
        """Yield the tokens, and write what the body made of them. No other process changes them."""
        try:
            with os.fdopen(open_file(self._lock, os.O_RDWR | os.O_CREAT), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                tokens = self.read()
                yield tokens
                listed: list[dict[str, Any]] = [asdict(one) for one in tokens.values()]
                write_whole(self.path, json.dumps({"tokens": listed}, indent=1) + "\n")
        except OSError as error:
            raise OperatorError(f"{self.path} cannot be written: {error.strerror}") from None
