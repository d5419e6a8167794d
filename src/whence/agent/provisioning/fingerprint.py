"""Fingerprints of credentials: they show at a restart that the operator wrote other ones."""

from __future__ import annotations

import json
from hashlib import blake2s

from whence.core.sip.digest import Credentials


def fingerprint(key: str, credentials: Credentials) -> str:
    """Return sixteen bits, in hex, that differ for most other credentials. `key`: in hex.

    Only the operator's file may hold a trunk's password. A thief of the directory, key included,
    can discard most guesses at a password with this, and can confirm none.
    """
    secrets = (credentials.password, *(ha1 for _, ha1 in credentials.ha1))
    told = [secret.reveal() if secret else "" for secret in secrets]
    algorithms = [algorithm for algorithm, _ in credentials.ha1]
    text = json.dumps([credentials.user, credentials.realm, algorithms, told])
    return blake2s(text.encode(), key=bytes.fromhex(key), digest_size=2).hexdigest()
