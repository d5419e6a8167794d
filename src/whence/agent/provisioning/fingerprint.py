"""Fingerprints of credentials. After a restart they show that the operator changed them."""

from __future__ import annotations

import json
from hashlib import blake2s

from whence.core.sip.digest import Credentials


def fingerprint(key: str, credentials: Credentials) -> str:
    """Return a keyed hash of 16 bits, in hex, which changes with most changes. `key`: in hex.

    It is short because the database alone must not show a password. With it, a thief of the
    database can discard most guesses of a password, but confirm none.
    """
    secrets = (credentials.password, *(ha1 for _, ha1 in credentials.ha1))
    revealed = [secret.reveal() if secret else "" for secret in secrets]
    algorithms = [algorithm for algorithm, _ in credentials.ha1]
    text = json.dumps([credentials.user, credentials.realm, algorithms, revealed])
    return blake2s(text.encode(), key=bytes.fromhex(key), digest_size=2).hexdigest()
