"""Fingerprints differ with the credentials, and reveal 16 bits only."""

import pytest

from whence.agent.provisioning.fingerprint import fingerprint
from whence.core.sip.digest import Credentials
from whence.core.sip.secret import Secret

KEY = "ab" * 32
ACME = Credentials("acct1", Secret("hunter2"), (), "")


@pytest.mark.parametrize(
    "other",
    [
        Credentials("acct2", Secret("hunter2"), (), ""),
        Credentials("acct1", Secret("hunter3"), (), ""),
        Credentials("acct1", Secret("hunter2"), (), "provider.example"),
        Credentials("acct1", None, (("MD5", Secret("0" * 32)),), ""),
    ],
)
def test_fingerprint_of_other_credentials_differs(other: Credentials) -> None:
    assert fingerprint(KEY, other) != fingerprint(KEY, ACME)


def test_fingerprint_has_sixteen_bits() -> None:
    assert len(bytes.fromhex(fingerprint(KEY, ACME))) == 2


def test_fingerprint_depends_on_the_key() -> None:
    assert fingerprint(KEY, ACME) == fingerprint(KEY, ACME)
    assert fingerprint("cd" * 32, ACME) != fingerprint(KEY, ACME)
