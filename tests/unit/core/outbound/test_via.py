"""The Via of a phone, hidden from a trunk and restored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.outbound.via import hidden_via, restored_via, seen_via
from whence.core.sip.transport_address import TransportAddress

KEY = "22" * 32
SOURCE = TransportAddress.parse("udp:198.51.100.9:40000")


@pytest.mark.parametrize(
    ("via", "force", "seen"),
    [
        (
            "SIP/2.0/UDP 10.0.0.7:5060;rport;branch=z9hG4bKx",
            False,
            "SIP/2.0/UDP 10.0.0.7:5060;received=198.51.100.9;rport=40000;branch=z9hG4bKx",
        ),
        (
            "SIP/2.0/UDP 198.51.100.9:40000;branch=z9hG4bKx",
            False,
            "SIP/2.0/UDP 198.51.100.9:40000;branch=z9hG4bKx",
        ),
        (
            "SIP/2.0/UDP 10.0.0.7;branch=z9hG4bKx;keep",
            True,
            "SIP/2.0/UDP 10.0.0.7;received=198.51.100.9;rport=40000;branch=z9hG4bKx;keep",
        ),
        (
            "SIP/2.0/TCP phone.local;received=1.2.3.4;branch=z9hG4bKx",
            False,
            "SIP/2.0/TCP phone.local;received=198.51.100.9;branch=z9hG4bKx",
        ),
    ],
)
def test_seen_via_has_source_of_request(via: str, force: bool, seen: str) -> None:
    assert seen_via(via, SOURCE, force_rport=force) == seen


@pytest.mark.parametrize(
    "via", ["", "x", "SIP/2.0/UDP a;b=1, SIP/2.0/UDP c", 'SIP/2.0/UDP a;b="c"']
)
def test_seen_via_of_other_text_is_none(via: str) -> None:
    assert seen_via(via, SOURCE, force_rport=False) is None


@given(st.from_regex(r"[a-z0-9:.;= -]{1,200}", fullmatch=True))
def test_hidden_via_is_restored(via: str) -> None:
    hidden = hidden_via(KEY, "call", via)
    assert via not in hidden or len(via) < 3
    for tail in ("", ";received=192.0.2.1;rport=5060"):
        for before in ([hidden + tail], ["SIP/2.0/UDP us;branch=z9hG4bKy", hidden + tail]):
            found = restored_via(KEY, "call", before)
            assert found == (hidden + tail, via)


def test_hidden_via_of_another_call_is_not_restored() -> None:
    hidden = hidden_via(KEY, "call", "SIP/2.0/UDP 10.0.0.7;branch=z9hG4bKx")
    assert restored_via(KEY, "other", [hidden]) is None
    assert restored_via(KEY, "call", [hidden[:-1]]) is None
    assert restored_via(KEY, "call", ["SIP/2.0/UDP us;branch=z9hG4bKy"]) is None
