"""The phone's Contact inside the registered one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.outbound.contact import LIMIT, phone_contact, registered_contact
from whence.core.sip.uri import Uri

KEY = "11" * 32
CALL = "call@host"
PHONE = "sip:alice@192.168.1.7:5060;transport=tcp;alias=203.0.113.9~40000~2"


def registered(text: str) -> Uri:
    uri = Uri.parse(text)
    assert uri is not None
    return uri


@pytest.mark.parametrize(
    ("contact", "begin"),
    [
        ("sip:k7f3@198.51.100.1:5060", "sip:k7f3@198.51.100.1:5060;phone=c"),
        ("sip:acct%23@[2001:db8::1]", "sip:acct%23@[2001:db8::1];phone=c"),
        (
            "sip:acct1@198.51.100.1;transport=tls;line=k7f3",
            "sip:acct1@198.51.100.1;transport=tls;line=k7f3;phone=c",
        ),
        ("sip:198.51.100.1;ob", "sip:198.51.100.1;ob;phone=c"),
    ],
)
def test_contact_is_registered_one_with_phone(contact: str, begin: str) -> None:
    text = registered_contact(KEY, CALL, registered(contact), PHONE)
    assert text is not None
    assert text.startswith(begin)
    assert "192.168" not in text
    assert "alice" not in text
    assert phone_contact(KEY, CALL, Uri.parse(text)) == PHONE


def test_contact_of_another_call_has_no_phone() -> None:
    text = registered_contact(KEY, CALL, registered("sip:k7f3@198.51.100.1"), PHONE)
    assert text is not None
    assert phone_contact(KEY, CALL + "x", Uri.parse(text)) is None
    assert phone_contact(KEY, CALL, Uri.parse(text[:-1])) is None
    assert phone_contact(KEY, CALL, Uri.parse("sip:k7f3@198.51.100.1")) is None
    assert phone_contact(KEY, CALL, None) is None


@pytest.mark.parametrize(
    "phone", ["", "alice", "sip:a@b@c", "sip:a@h>;x", "sip:a@h\r\nX: y", "sip:a@" + "h" * LIMIT]
)
def test_contact_of_invalid_phone_uri_is_none(phone: str) -> None:
    assert registered_contact(KEY, CALL, registered("sip:k7f3@198.51.100.1"), phone) is None


@given(st.text(max_size=60))
def test_contact_of_any_phone_uri_is_read_back_or_none(user: str) -> None:
    phone = f"sip:{user}@192.168.1.7"
    text = registered_contact(KEY, CALL, registered("sip:k7f3@198.51.100.1"), phone)
    if text is not None:
        assert phone_contact(KEY, CALL, Uri.parse(text)) == phone
