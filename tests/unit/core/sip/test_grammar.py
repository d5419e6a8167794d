"""Header values by the grammar of RFC 3261: generated ones are read as they were built."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testkit import sip_grammar as grammar
from testkit.sip_grammar import WrittenContact, WrittenUri
from whence.core.sip.contact import Contact, listed
from whence.core.sip.grammar import (
    parse_cseq,
    parse_params,
    parse_seconds,
    split_list,
    split_name_addr,
    split_word,
)
from whence.core.sip.message import Message
from whence.core.sip.uri import Uri, escape_user


def values(lines: list[str], name: str) -> list[str]:
    """Return the values of a header in a message with these header lines."""
    head = "\r\n".join(["SIP/2.0 200 OK", *lines])
    return Message(f"{head}\r\n\r\n").fields().get(name, [])


@settings(max_examples=150, deadline=None)
@given(grammar.uris())
def test_uri_generated_has_its_parts(written: WrittenUri) -> None:
    uri = Uri.parse(written.text)
    assert uri is not None
    assert (uri.user, uri.host, uri.port) == (written.user, written.host, written.port)
    assert uri.params == written.params


@settings(max_examples=150, deadline=None)
@given(grammar.contacts())
def test_contact_generated_has_its_uri_and_expires(written: WrittenContact) -> None:
    (contact,) = listed(written.text)
    assert (contact.uri.user, contact.uri.host) == (written.uri.user, written.uri.host)
    assert (contact.uri.port, contact.expires_s) == (written.uri.port, written.expires_s)


@settings(max_examples=150, deadline=None)
@given(grammar.contact_headers())
def test_contacts_generated_in_several_lines_are_all_listed(
    generated: tuple[list[str], list[WrittenContact]],
) -> None:
    lines, written = generated
    found = [one for value in values(lines, "contact") for one in listed(value)]
    assert [(one.uri.user, one.uri.host, one.expires_s) for one in found] == [
        (one.uri.user, one.uri.host, one.expires_s) for one in written
    ]


@settings(max_examples=100, deadline=None)
@given(grammar.name_addrs(), st.lists(grammar.params(), max_size=3))
def test_uri_of_header_generated_is_its_uri(
    generated: tuple[str, WrittenUri], params: list[str]
) -> None:
    text, written = generated
    uri = Uri.of_header(text + "".join(params))
    assert uri is not None
    assert (uri.user, uri.host, uri.port) == (written.user, written.host, written.port)


@settings(max_examples=100, deadline=None)
@given(grammar.cseqs())
def test_cseq_generated_has_number_and_method(written: tuple[str, int, str]) -> None:
    text, number, method = written
    assert parse_cseq(text) == (number, method)


@settings(max_examples=100, deadline=None)
@given(grammar.quoted_strings())
def test_params_with_a_quoted_string_have_its_content(written: tuple[str, str]) -> None:
    text, content = written
    assert parse_params(f";a={text} ; b = {text}") == [("a", content), ("b", content)]


@settings(max_examples=100, deadline=None)
@given(st.text('ab"\\<>,;:=@ \t\r\n', max_size=40))
def test_grammar_of_any_text_never_raises(text: str) -> None:
    for part in split_list(text):
        Contact.parse(part)
        Uri.of_header(part)
    for read in (split_name_addr, parse_params, split_word, parse_cseq, parse_seconds):
        read(text)


@pytest.mark.parametrize(
    ("header", "contacts"),
    [
        ('<sip:t@h>;expires=30;+sip.instance="<urn:uuid:0>"', [("t", 30)]),
        ('<sip:t@h>;q=1;pub-gruu="sip:x;expires=5"', [("t", None)]),
        ('"a\\"b" <sip:j@h>, <sip:t@h>;expires=35', [("j", None), ("t", 35)]),
        ('<sip:t@h>;expires="39"', [("t", 39)]),
        ('"a\\\\" <sip:t@h>;expires=1', [("t", 1)]),
        ('"," <sip:t@h>;expires=1;x=","', [("t", 1)]),
        ('"<sip:j@h>;expires=9" <sip:t@h>;expires=1', [("t", 1)]),
        ("<sip:t@h;expires=9> ;  EXPIRES \r\n =\t 7", [("t", 7)]),
        ("<sip:t@h>;x-expires=9;expiresx=8", [("t", None)]),
        ("<sip:t@h>;expires=3600;expires=60", [("t", 60)]),
        ("<sip:t@h>;;expires=60;", [("t", 60)]),
        ("sip:t@h;expires=60", [("t", 60)]),
        # Not valid: listed, but of no user.
        ('"a <sip:t@h>;expires=60', [("", None)]),
        ("<sip:t@h>;expires=60 <sip:j@h>", [("", None)]),
        ("<sip:t@h> expires=60", [("", None)]),
        ("sip:j@h <sip:t@h>", [("", None)]),
        ("<sip:j@h><sip:t@h>", [("", None)]),
        ("sip:a;b@h", [("", None)]),
        ('<sip:t@h>;x="a, <sip:t@h>;expires=1', [("", None)]),
    ],
)
def test_listed_by_grammar_has_users_and_times(
    header: str, contacts: list[tuple[str, int | None]]
) -> None:
    assert [(one.uri.user, one.expires_s) for one in listed(header)] == contacts


@pytest.mark.parametrize(
    ("text", "cseq"),
    [
        ("00000001 REGISTER", (1, "REGISTER")),
        ("0 REGISTER", (0, "REGISTER")),
        ("2147483647\tREGISTER", (2**31 - 1, "REGISTER")),
        ("2147483648 REGISTER", None),
        ("1REGISTER", None),
        ("REGISTER", None),
        ("-1 REGISTER", None),
        ("1 REGISTER x", None),
        ("9" * 5000 + " REGISTER", None),
    ],
)
def test_parse_cseq_allows_leading_zeros_only(text: str, cseq: tuple[int, str] | None) -> None:
    assert parse_cseq(text) == cseq


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("sip:a%40b%23%20@h", "a@b# "),
        ("sip:a;b=c@h", "a;b=c"),
        ("sip:a?b@h?Subject=c", "a?b"),
        ("sip:a/b@h_1.example.", "a/b"),
        ("sip:%61%63me@h", "acme"),
    ],
)
def test_uri_user_is_compared_without_escapes(text: str, user: str) -> None:
    uri = Uri.parse(text)
    assert uri is not None and uri.user == user
    assert Uri.parse(f"sip:{escape_user(user)}@{uri.host}") == Uri("sip", user, uri.host)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("sip:a@[2001:DB8:0:0::1]:5060", "2001:db8::1"),
        ("sip:a@h_1", "h_1"),
        ("sip:a@h.example.", "h.example."),
        ("sip:a@[h]", None),
        ("sip:a@[1::2::3]", None),
        ("sip:a@[fe80::1%25eth0]", None),
        ("sip:a@h example", None),
        ("sip:a@h\x00", None),
        ("sip:a@hé", None),
        ("sip:a@..", None),
    ],
)
def test_uri_host_is_a_name_or_an_address(text: str, host: str | None) -> None:
    uri = Uri.parse(text)
    assert (uri.host if uri is not None else None) == host


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("+44 20 7123-4567", "+44 20 7123-4567"),
        ("+44;x=y", "+44"),
        ('"a;b"', "a;b"),
        ("<+44>;x", "+44"),
        ('"+44', ""),
        ("<+44", ""),
        ('+44;x="', ""),
    ],
)
def test_split_word_removes_params_only(value: str, word: str) -> None:
    assert split_word(value) == word


@pytest.mark.parametrize(
    "text", ['"' * 60_000, "<" * 60_000, ";a=" * 20_000, "\\" * 60_000, " " * 60_000, ",;" * 30_000]
)
def test_grammar_takes_time_linear_in_the_length(text: str) -> None:
    """Quadratic time would take minutes."""
    began = time.process_time()
    for part in split_list(text):
        Contact.parse(part)
    parse_params(text)
    split_word(text)
    parse_cseq(text)
    assert time.process_time() - began < 5
