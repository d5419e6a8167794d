"""Values of the core as rows, and back."""

from __future__ import annotations

import pytest

from whence.core.registration.model import AccountKey, Registration
from whence.core.sip.transport_address import TransportAddress
from whence.store.rows import registration_of, registration_row

ACCOUNT = AccountKey("sip:acct1@192.0.2.1", "sip:192.0.2.1")


@pytest.mark.parametrize("home", ["udp:192.0.2.1:5060", "tls:[2001:db8::1]:5061"])
def test_the_server_that_granted_is_written_as_people_read_it(home: str) -> None:
    registration = Registration("acme", "call-1", home=TransportAddress.parse(home))
    row = registration_row(ACCOUNT, registration)
    assert home in row
    assert registration_of(row) == (ACCOUNT, registration)


def test_a_server_that_was_written_as_ipv6_is_still_known() -> None:
    row = list(registration_row(ACCOUNT, Registration("acme", "call-1")))
    home = TransportAddress.parse("udp:192.0.2.1:5060")
    of_home = registration_row(ACCOUNT, Registration("acme", "call-1", home=home))
    row[of_home.index(str(home))] = "udp:[::ffff:192.0.2.1]:5060"
    assert registration_of(row)[1].home == home
