"""Kamailio's own cookies and items: what they cover, and how the edge reads them."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.dialogs import cookie as cookies
from whence.core.dialogs import native
from whence.core.dialogs.record import DialogRecord, Party, RequestPath, Side

KEY = native.key_for_kamailio("00" * 32)
ID = "b1795868816d15839d4243d"
CALLER, CALLEE = "192.0.2.1:5060", "192.0.2.2:5070"
COOKIE = native.write_cookie(KEY, ID, "call", CALLER, CALLEE)
TO_CALLER = "call 192.0.2.2:5070 sip:a@192.0.2.1:5060"
MIDDLE = "tag\ttrunk\tsip:alice@edge.example"
BEGUN = f"{TO_CALLER}\n{MIDDLE}\n\rcall 192.0.2.1:5060 "
ANSWERED = f"\r{BEGUN}sip:b@192.0.2.2:5070\n"


def test_cookie_is_the_hash_that_kamailio_makes() -> None:
    text = f"{KEY}{ID} {CALLER} {CALLEE} call"
    made = ID + sha256(text.encode()).hexdigest()[: native.MAC_LENGTH]
    assert made == COOKIE
    assert len(KEY) == native.KEY_LENGTH


def test_cookie_covers_only_its_own_call_and_places() -> None:
    assert native.covers(KEY, COOKIE, "call", CALLER, CALLEE)
    for call_id, caller, callee in (
        ("another", CALLER, CALLEE),
        ("call", CALLEE, CALLER),
        ("call", CALLER, CALLER),
        ("call", f"{CALLER} {CALLEE}", ""),
    ):
        assert not native.covers(KEY, COOKIE, call_id, caller, callee)
    other = native.key_for_kamailio("01" * 32)
    assert not native.covers(other, COOKIE, "call", CALLER, CALLEE)


def test_cookie_names_its_dialog_and_its_start() -> None:
    for cookie in (COOKIE, COOKIE + "0" * 2 * cookies.MAC_LENGTH):
        assert cookies.id_of(cookie) == COOKIE
        assert cookies.began_at(cookie) == pytest.approx(1795868816.015839, abs=1e-6)


@pytest.mark.parametrize("text", ["b", "b1d2d3d4", COOKIE[:-1], COOKIE.replace("d", "e"), "b" * 60])
def test_other_text_is_no_cookie_of_kamailio(text: str) -> None:
    assert native.id_of(text) == ""
    with pytest.raises(ValueError, match="no cookie"):
        native.began_at(text)


def test_old_cookie_opens_both_directions() -> None:
    found = native.direction_of_old(KEY, COOKIE, "call", (f"udp:{CALLEE}",), [CALLER])
    assert found == (Side.CALLER, RequestPath((f"udp:{CALLEE}",), f"sip:{CALLEE}"))
    found = native.direction_of_old(KEY, COOKIE, "call", (f"udp:{CALLER}",), ["x", CALLEE])
    assert found is not None
    assert found[0] is Side.CALLEE
    for there, sender in (
        ((f"tcp:{CALLEE}",), CALLER),
        ((f"udp:{CALLEE}", f"udp:{CALLEE}"), CALLER),
        ((f"udp:{CALLER}",), CALLER),
        (("udp:192.0.2.3:5060",), CALLER),
        ((f"udp:{CALLEE}",), "192.0.2.3:5060"),
    ):
        assert native.direction_of_old(KEY, COOKIE, "call", there, [sender]) is None


def party(place: str) -> Party:
    path = RequestPath((f"udp:{place}",), f"sip:{place}")
    return Party((place.partition(":")[0],), (path,), (COOKIE,))


def test_item_is_read_as_a_record() -> None:
    begun = DialogRecord("call", "tag", "trunk", "sip:alice@edge.example", party(CALLER))
    assert native.read_item(BEGUN, COOKIE) == begun
    assert native.read_item(ANSWERED, COOKIE) == begun.with_party(Side.CALLEE, party(CALLEE))


@pytest.mark.parametrize(
    "text", ["", "\r", "ended", BEGUN.replace("call", "x", 1), BEGUN.replace("\t", "")]
)
def test_other_text_is_no_item(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        native.read_item(text, COOKIE)


@given(st.text(), st.text(), st.text(), st.text())
def test_record_is_never_read_as_an_item(call: str, tag: str, trunk: str, user: str) -> None:
    """Else a Call-ID or tag could contain what Kamailio looks for in an item."""
    call, tag = (cookies.kept("00" * 32, value) for value in (call, tag))
    trunk, user = (value.translate({10: None, 13: None}) for value in (trunk, user))
    record = DialogRecord(call, tag, trunk, user, party(CALLER), party(CALLEE))
    assert not native.is_item(record.to_text())
