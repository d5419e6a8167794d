"""Kamailio's own cookies and items: what they cover, and how the edge reads them."""

from hashlib import sha256

import pytest

from whence.core.dialogs import cookie as cookies
from whence.core.dialogs import native
from whence.core.dialogs.record import RequestPath, Side
from whence.core.sip.uri import Uri

KEY = native.key_for_kamailio("00" * 32)
ID = "b1795868816d15839d4243d"
CALLER, CALLEE = "192.0.2.1:5060", "192.0.2.2:5070"
COOKIE = native.write_cookie(KEY, ID, "call", CALLER, CALLEE)


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


FAR_ID = ID.replace("b", "c", 1)
FAR = native.write_cookie(KEY, FAR_ID, "call", CALLER, CALLEE)
PROXIES = ("udp:192.0.2.7:5060", "udp:a.example:5061", "udp:10.0.0.1:5060")


def test_path_mac_opens_its_own_direction_and_path_only() -> None:
    to_caller = native.add_path(KEY, FAR, "call", Side.CALLER, PROXIES, "")
    to_callee = native.add_path(KEY, FAR, "call", Side.CALLEE, PROXIES, "192.0.2.1")
    path = RequestPath(PROXIES, "sip:192.0.2.7:5060")

    def found(cookie: str, there: tuple[str, ...], sender: str, call_id: str = "call") -> object:
        return native.direction_of_old(KEY, cookie, call_id, there, [sender])

    assert found(to_caller, PROXIES, "192.0.2.9:1") == (Side.CALLEE, path)
    assert found(to_callee, PROXIES, "192.0.2.1:9") == (Side.CALLER, path)
    assert found(to_callee, PROXIES, "192.0.2.2:9") is None
    for cookie in (FAR, to_caller[:-1], to_caller + "0", to_caller.replace("w", "")):
        assert found(cookie, PROXIES, "192.0.2.9:1") is None
    for there in (PROXIES[:1], PROXIES[::-1], PROXIES[1:], (*PROXIES, PROXIES[0])):
        assert found(to_caller, there, "192.0.2.9:1") is None
    assert found(to_caller, PROXIES, "192.0.2.9:1", "another") is None
    more = f"{PROXIES[2]} call"  # a Call-ID of a caller may have blanks
    assert found(to_caller, PROXIES[:2], "192.0.2.9:1", more) is None


def test_first_mac_of_a_far_caller_opens_no_way_to_it() -> None:
    assert native.direction_of_old(KEY, FAR, "call", (f"udp:{CALLER}",), [CALLEE]) is None
    found = native.direction_of_old(KEY, FAR, "call", (f"udp:{CALLEE}",), [CALLER])
    assert found == (Side.CALLER, RequestPath((f"udp:{CALLEE}",), f"sip:{CALLEE}"))


def test_second_mac_is_part_of_a_cookie() -> None:
    cookie = native.add_path(KEY, FAR, "call", Side.CALLER, PROXIES, "")
    uri = Uri.parse(f"sip:192.0.2.9;lr;whence={cookie}")
    assert cookies.find_cookie([uri]) == cookie
    assert native.is_native(cookie)
    assert not native.is_native(FAR + "0" * 2 * cookies.MAC_LENGTH)
    assert cookies.id_of(cookie) == FAR
    assert native.covers(KEY, cookie, "call", CALLER, CALLEE)
