"""Which inbound connections the agent closes."""

from ipaddress import ip_address

import pytest

from whence.core.protection.connections import (
    PROVE_WITHIN_S,
    Connections,
    Peer,
    hex_of,
    network_of,
    peers,
)

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:13C4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:13C4 020010AC:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:13C5 020010AC:C351 01 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 0100007F:13C4 020010AC:C352 06 00000000:00000000 00:00000000 00000000     0        0 0 3
"""
TABLE6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:13C4 B80D0120000000000000000007000000:C350 01 0:0 0 0 0
"""


def peer(ip: str, port: int) -> Peer:
    return Peer(ip_address(ip), port)


def no_peer(_: Peer) -> bool:
    return False


def test_peers_reads_established_connections_to_our_sockets() -> None:
    ours = frozenset({hex_of(ip_address("127.0.0.1"), 5060, "little")})
    assert peers(TABLE, ours, "little") == [peer("172.16.0.2", 50000)]
    ours6 = frozenset({hex_of(ip_address("::1"), 5060, "little")})
    assert peers(TABLE6, ours6, "little") == [peer("2001:db8::7", 50000)]
    assert peers("", ours, "little") == []


@pytest.mark.parametrize("order", ["little", "big"])
def test_hex_of_is_read_back_by_peers(order: str) -> None:
    local = hex_of(ip_address("192.0.2.1"), 5060, order)
    remote = hex_of(ip_address("2001:db8::7"), 40000, order)
    table = f"head\n 0: {local} {remote} 01 rest of the line\n"
    assert peers(table, frozenset({local}), order) == [peer("2001:db8::7", 40000)]


def test_source_above_its_limit_loses_its_oldest_connections() -> None:
    connections = Connections(1000, 3)
    first = [peer("192.0.2.1", port) for port in (1, 2, 3)]
    assert connections.to_close(first, 0.0, no_peer) == []
    more = [*first, peer("192.0.2.1", 4), peer("192.0.2.1", 5), peer("192.0.2.2", 1)]
    assert connections.to_close(more, 1.0, no_peer) == first[:2]


def test_addresses_of_one_ipv6_64_are_one_source() -> None:
    connections = Connections(1000, 3)
    neighbours = [peer(f"2001:db8::{i:x}:1", 1) for i in range(10)]
    assert len(connections.to_close(neighbours, 0.0, no_peer)) == 7
    apart = [peer(f"2001:db8:{i:x}::1", 1) for i in range(10)]
    assert Connections(1000, 3).to_close(apart, 0.0, no_peer) == []
    assert str(network_of(ip_address("2001:db8::ffff:1"))) == "2001:db8::"


def test_proven_connections_stay_however_many_and_old() -> None:
    connections = Connections(100, 3)
    all_ = [peer("192.0.2.1", port) for port in range(90)]
    for now in (0.0, 10 * PROVE_WITHIN_S):
        assert connections.to_close(all_, now, lambda _: True) == []


def test_proven_beside_unproven_of_one_source_stay() -> None:
    """A phone and an attacker behind one NAT."""
    phone = peer("192.0.2.1", 1)
    crowd = [peer("192.0.2.1", port) for port in range(2, 10)]
    closing = Connections(100, 3).to_close([phone, *crowd], 0.0, lambda p: p == phone)
    assert (len(closing), phone in closing) == (5, False)


def test_unproven_connection_is_closed_in_time() -> None:
    connections = Connections(100, 3)
    slow = peer("192.0.2.1", 1)
    assert connections.to_close([slow], 0.0, no_peer) == []
    assert connections.to_close([slow], PROVE_WITHIN_S, no_peer) == []
    assert connections.to_close([slow], PROVE_WITHIN_S + 1, no_peer) == [slow]
    assert connections.to_close([slow], PROVE_WITHIN_S + 2, no_peer) == [], (
        "it counts as a new connection"
    )


def test_many_sources_together_leave_a_quarter_free() -> None:
    connections = Connections(100, 3)
    old = [peer(f"192.0.2.{i}", 1) for i in range(50)]
    connections.to_close(old, 0.0, no_peer)
    new = [peer(f"198.51.100.{i}", 1) for i in range(40)]
    assert connections.to_close([*old, *new], 1.0, no_peer) == old[:15]


def test_limit_of_0_allows_many_connections_of_one_source() -> None:
    many = [peer("192.0.2.1", port) for port in range(70)]
    assert Connections(100, 0).to_close(many, 0.0, no_peer) == []
