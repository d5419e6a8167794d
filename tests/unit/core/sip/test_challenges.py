"""Challenges as the header has them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.sip.challenges import HEADER_LIMIT, parse_challenges
from whence.core.sip.digest import Challenge


def test_parse_reads_all_parameters() -> None:
    text = (
        'Digest realm="a, b", nonce="n\\"1", algorithm=SHA-256-sess, qop="auth,auth-int", '
        'opaque="", stale=TRUE, domain="sip:x"'
    )
    assert parse_challenges(text, proxy=True) == [
        Challenge("a, b", 'n"1', "SHA-256-sess", ("auth", "auth-int"), "", stale=True, proxy=True)
    ]


@pytest.mark.parametrize(
    "text",
    [
        'Digest realm="r", nonce="a", Digest realm="r", nonce="b", algorithm=SHA-256',
        'digest realm="r",nonce="a",DIGEST realm="r",nonce="b",algorithm=SHA-256',
        'Basic realm="x", Digest realm="r", nonce="a", Digest\trealm="r", nonce="b", '
        "algorithm=SHA-256",
    ],
)
def test_parse_reads_several_challenges_of_one_header(text: str) -> None:
    assert parse_challenges(text, proxy=False) == [
        Challenge("r", "a"),
        Challenge("r", "b", "SHA-256"),
    ]


def test_parse_does_not_look_into_quotes() -> None:
    text = 'Digest realm="x, Digest realm=evil, nonce=evil", nonce="n"'
    assert parse_challenges(text, proxy=False) == [
        Challenge("x, Digest realm=evil, nonce=evil", "n")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Digest",
        'Basic realm="r"',
        'x="a, Digest realm=evil, nonce=evil"',
        'Digest realm="r", nonce="n\r\nX-Whence-Trunk: acme"',
        'Digest realm="r\u202e", nonce="n"',
        'Digest realm="' + "r" * HEADER_LIMIT + '", nonce="n"',
    ],
)
def test_parse_of_unfit_header_is_empty(text: str) -> None:
    assert parse_challenges(text, proxy=False) == []


@given(st.text(alphabet=' ,="\\Digest realm=noncx\t', max_size=200))
def test_parse_of_any_text_raises_nothing(text: str) -> None:
    for challenge in parse_challenges(text, proxy=True):
        assert challenge.proxy


def test_parse_of_longest_header_is_quick() -> None:
    text = ('Digest a="' + '\\"' * HEADER_LIMIT)[:HEADER_LIMIT]
    begin = time.process_time()
    parse_challenges(text, proxy=False)
    assert time.process_time() - begin < 1
