"""Kamailio's own items of dialogs, as the edge reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.dialogs import cookie as cookies
from whence.core.dialogs.item import is_item, read_item
from whence.core.dialogs.record import DialogRecord, Party, RequestPath, Side

COOKIE = "b1795868816d15839d4243d" + "0" * 24
PATH = COOKIE + "w" + "1" * 24
CALLER, CALLEE = "192.0.2.1:5060", "192.0.2.2:5070"
OURS = f"<sip:192.0.2.9;lr;whence={COOKIE}>"
MIDDLE = "tag\ttrunk\tsip:alice@edge.example"
BEGUN = f"call {CALLEE} sip:a@{CALLER} {OURS}\n{MIDDLE}\n\rcall {CALLER} "
ANSWERED = f"\r{BEGUN}sip:b@{CALLEE} {OURS}\n"


def party(place: str, cookie: str = COOKIE, proxies: tuple[str, ...] = ()) -> Party:
    there = (*proxies, f"udp:{place}")
    path = RequestPath(there, f"sip:{there[0].removeprefix('udp:')}")
    return Party((place.partition(":")[0],), (path,), (cookie,))


RECORD = DialogRecord("call", "tag", "trunk", "sip:alice@edge.example", party(CALLER))


def test_item_is_read_as_a_record() -> None:
    assert read_item(BEGUN) == RECORD
    assert read_item(ANSWERED) == RECORD.with_party(Side.CALLEE, party(CALLEE))


def test_item_with_proxies_is_read_as_a_record() -> None:
    out, into = (f"<sip:192.0.2.{n};lr;r2=on;whence={PATH}>" for n in (8, 9))
    text = BEGUN.replace(OURS, f"{out},{into},<sip:192.0.2.7;lr>,<sip:B.example:5070;lr;x=y>")
    proxies = ("udp:192.0.2.7:5060", "udp:b.example:5070")
    assert read_item(text).caller == party(CALLER, PATH, proxies)
    text = f"\r{text}sip:b@{CALLEE} {OURS},<sip:192.0.2.7;lr>\n"
    assert read_item(text).callee == party(CALLEE, COOKIE, proxies[:1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\r",
        "ended",
        BEGUN.replace("call", "x", 1),
        BEGUN.replace("\t", ""),
        BEGUN.replace(";whence", ";x"),
        BEGUN.replace("sip:a", "tel:a"),
        ANSWERED.replace("sip:b", "b b"),
    ],
)
def test_other_text_is_no_item(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_item(text)


@given(st.text(), st.text(), st.text(), st.text())
def test_record_is_never_read_as_an_item(call: str, tag: str, trunk: str, user: str) -> None:
    """Else a Call-ID or tag could contain what Kamailio looks for in an item."""
    call, tag = (cookies.kept("00" * 32, value) for value in (call, tag))
    trunk, user = (value.translate({10: None, 13: None}) for value in (trunk, user))
    record = DialogRecord(call, tag, trunk, user, party(CALLER), party(CALLEE))
    assert not is_item(record.to_text())
