"""Conversion of core values to rows, and back."""

from __future__ import annotations

import pytest

from whence.core.registration.model import AccountKey, Registration
from whence.core.sip.transport_address import TransportAddress
from whence.store.rows import registration_of, registration_row

ACCOUNT = AccountKey("sip:acct1@192.0.2.1", "sip:192.0.2.1")


@pytest.mark.parametrize("home", ["udp:192.0.2.1:5060", "tls:[2001:db8::1]:5061"])
def test_registration_row_writes_the_home_as_text(home: str) -> None:
    registration = Registration("acme", "call-1", home=TransportAddress.parse(home))
    row = registration_row(ACCOUNT, registration)
    assert home in row
    assert registration_of(row) == (ACCOUNT, registration)


def test_registration_of_reads_a_mapped_ipv4_home() -> None:
    row = list(registration_row(ACCOUNT, Registration("acme", "call-1")))
    home = TransportAddress.parse("udp:192.0.2.1:5060")
    of_home = registration_row(ACCOUNT, Registration("acme", "call-1", home=home))
    row[of_home.index(str(home))] = "udp:[::ffff:192.0.2.1]:5060"
    assert registration_of(row)[1].home == home
