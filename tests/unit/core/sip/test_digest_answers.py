"""Answers of phones to challenges with SHA-256, against the agent's own digests."""

import pytest

from whence.core.sip.challenges import parse_challenges
from whence.core.sip.digest import Credentials, authorization, ha1
from whence.core.sip.digest_answers import challenge, find_sha256, parse_answer
from whence.core.sip.secret import Secret

REALM, USER, URI = "edge.example", "alice", "sip:edge.example"
PASSWORD = Secret("secret")
HA1 = Secret(ha1("SHA-256", USER, REALM, PASSWORD))


def written(count: int = 1) -> str:
    (asked,) = parse_challenges(challenge(REALM, "0123", stale=False), proxy=False)
    return authorization(asked, Credentials(USER, PASSWORD), "REGISTER", URI, count, "c0ffee")


@pytest.mark.parametrize("count", [1, 10, 255])
def test_right_answer_is_right(count: int) -> None:
    answer = parse_answer(written(count))
    assert answer is not None
    assert (answer.user, answer.nonce) == (USER, "0123")
    assert answer.is_right(HA1, "REGISTER")


def test_answer_of_another_password_or_method_is_wrong() -> None:
    answer = parse_answer(written())
    assert answer is not None
    assert not answer.is_right(Secret("0" * 64), "REGISTER")
    assert not answer.is_right(HA1, "INVITE")


@pytest.mark.parametrize("name", ["nonce", "uri", "cnonce", "response"])
def test_changed_answer_is_wrong(name: str) -> None:
    answer = parse_answer(written().replace(f'{name}="', f'{name}="0'))
    assert answer is not None
    assert not answer.is_right(HA1, "REGISTER")


@pytest.mark.parametrize(
    "name", ["username", "nonce", "uri", "response", "cnonce", "nc", "qop", "Digest "]
)
def test_answer_without_a_part_is_none(name: str) -> None:
    assert parse_answer(written().replace(name, "other" if name != "Digest " else "Basic ")) is None


@pytest.mark.parametrize(
    ("part", "other"),
    [("qop=auth", "qop=auth-int"), ("nc=00000001", "nc=1"), ("nc=00000001", "nc=0000000g")],
)
def test_answer_of_another_form_is_none(part: str, other: str) -> None:
    assert parse_answer(written().replace(part, other)) is None


@pytest.mark.parametrize("twice", ['username="bob"', 'NONCE="1"', "nc=00000002"])
def test_answer_with_a_parameter_twice_is_none(twice: str) -> None:
    assert parse_answer(f"{written()}, {twice}") is None


@pytest.mark.parametrize("algorithm", ["SHA-256", "sha-256", '"SHA-256"'])
def test_find_sha256_returns_the_credentials(algorithm: str) -> None:
    ours = written().replace("algorithm=SHA-256", f"algorithm={algorithm}")
    other = ours.replace(REALM, "elsewhere")
    assert find_sha256([other, ours], REALM) == ours


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256-sess", "SHA-512-256"])
def test_find_sha256_of_another_algorithm_is_none(algorithm: str) -> None:
    ours = written().replace("algorithm=SHA-256", f"algorithm={algorithm}")
    assert find_sha256([ours], REALM) is None


@pytest.mark.parametrize("text", ["", "SHA-256", "a=" * 5000 + "SHA-256", "\x01 algorithm=SHA-256"])
def test_find_sha256_of_garbage_is_none(text: str) -> None:
    assert find_sha256([text], REALM) is None


def test_challenge_that_is_stale_says_so() -> None:
    assert "stale" not in challenge(REALM, "0123", stale=False)
    assert challenge(REALM, "0123", stale=True).endswith(", stale=true")
