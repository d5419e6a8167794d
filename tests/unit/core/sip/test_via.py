"""The destination of a stateless reply."""

import pytest

from whence.core.sip.transport_address import Transport, TransportAddress
from whence.core.sip.via import branch, is_sent_by, reply_destination

OURS = "sip/2.0/udp 192.0.2.1;branch=z9hg4bk1"
OURS_TCP = "sip/2.0/tcp 192.0.2.1;branch=z9hg4bk1;i=a1"


@pytest.mark.parametrize(
    ("theirs", "destination"),
    [
        ("sip/2.0/udp 192.0.2.7", "udp:192.0.2.7:5060"),
        ("sip/2.0/udp 192.0.2.7:5070;branch=a", "udp:192.0.2.7:5070"),
        ("sip / 2.0 / udp 192.0.2.7 ; branch = a", "udp:192.0.2.7:5060"),
        ("sip/2.0/udp 10.0.0.1:1;received=192.0.2.7;rport=5071", "udp:192.0.2.7:5071"),
        ("sip/2.0/udp 192.0.2.7:5070;rport", "udp:192.0.2.7:5070"),
        ("sip/2.0/udp [2001:db8::7]:5070", "udp:[2001:db8::7]:5070"),
    ],
)
def test_second_via_names_the_destination(theirs: str, destination: str) -> None:
    assert reply_destination([OURS, theirs]) == destination
    assert reply_destination([f"{OURS}, {theirs}", "sip/2.0/udp 192.0.2.9"]) == destination


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_stream_has_the_connection_of_our_via(transport: str) -> None:
    theirs = f"sip/2.0/{transport} 192.0.2.7:5070"
    assert reply_destination([OURS_TCP, theirs]) == f"{transport}:192.0.2.7:5070#26"


@pytest.mark.parametrize("transport", Transport)
def test_via_over_each_transport_is_read(transport: Transport) -> None:
    connection = "" if transport is Transport.UDP else f"#{0x1A}"
    port = transport.default_port
    theirs = f"sip/2.0/{transport} 192.0.2.1;branch=z9hg4bktheirs"
    assert reply_destination([OURS_TCP, theirs]) == f"{transport}:192.0.2.1:{port}{connection}"


def test_tls_without_a_port_goes_to_5061() -> None:
    theirs = "sip/2.0/tls 192.0.2.7"
    assert reply_destination([OURS_TCP, theirs]) == "tls:192.0.2.7:5061#26"


@pytest.mark.parametrize(
    "values",
    [
        [],
        [OURS],
        [OURS, "sip/2.0/udp phone.example"],
        [OURS, "sip/2.0/udp 192.0.2.7;maddr=192.0.2.8"],
        [OURS, "sip/2.0/udp 192.0.2.7;received=phone.example"],
        [OURS, "sip/2.0/udp 192.0.2.7;received=192.0.2.8;received=192.0.2.9"],
        [OURS, "sip/2.0/udp 192.0.2.7;rport=x"],
        [OURS, "sip/2.0/udp 192.0.2.777"],
        [OURS, "sip/2.0/sctp 192.0.2.7"],
        [OURS, "sip/2.0/udp 192.0.2.7 (comment)"],
        [OURS, 'sip/2.0/udp 192.0.2.7;a="b;c"'],
        [OURS, "sip/2.0/tcp 192.0.2.7"],
        ["nothing", "sip/2.0/udp 192.0.2.7"],
    ],
)
def test_unreadable_via_has_no_destination(values: list[str]) -> None:
    assert reply_destination(values) is None


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa", "z9hG4bKa"),
        ("SIP / 2.0 / UDP h:5060 ;rport ; Branch = z9hG4bKa , SIP/2.0/UDP i", "z9hG4bKa"),
        ('SIP/2.0/UDP [2001:db8::1];x=";branch=b";branch=z9hG4bKa', "z9hG4bKa"),
        ("SIP/2.0/UDP h;branch=a;branch=b", ""),
        ("SIP/2.0/UDP h;xbranch=a", ""),
        ("SIP/2.0/UDP h", ""),
        ("", ""),
    ],
)
def test_branch_is_that_of_the_first_via(value: str, found: str) -> None:
    assert branch(value) == found


@pytest.mark.parametrize(
    ("via", "expected"),
    [
        ("sip/2.0/udp 192.0.2.1:5060;branch=x", True),
        ("sip/2.0/udp 192.0.2.1;branch=x", True),
        ("sip / 2.0 / udp   192.0.2.1 : 5060 ;rport", True),
        ("sip/2.0/udp 192.0.2.1:5061", False),
        ("sip/2.0/udp 192.168.1.2:5060", False),
        ("sip/2.0/udp phone.example:5060", False),
        ("sip/2.0/wss df7jal23ls0d.invalid;branch=x", False),
        ("", False),
    ],
)
def test_is_sent_by_compares_the_topmost_via(via: str, expected: bool) -> None:
    source = TransportAddress.parse("udp:192.0.2.1:5060")
    assert is_sent_by([via, "sip/2.0/udp 192.0.2.1:5060"], source) is expected
    six = TransportAddress.parse("udp:[2001:db8::1]:5060")
    assert is_sent_by(["sip/2.0/udp [2001:db8::1]:5060"], six)
    assert is_sent_by(["sip/2.0/udp [2001:db8::1]"], six)
