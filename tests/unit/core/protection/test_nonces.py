"""Nonces of our own challenges are valid for a while, and for what they were made for."""

import pytest

from whence.core.protection.nonces import LIFETIME_S, is_valid, make, random_of

KEY, RANDOM, IP = "ab" * 32, "0123456789abcdef", "192.0.2.7"
NONCE = make(KEY, 1000, RANDOM, IP)


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [(999, False), (1000, True), (1000 + LIFETIME_S, True), (1001 + LIFETIME_S, False)],
)
def test_nonce_is_valid_for_its_lifetime(now_s: int, expected: bool) -> None:
    assert is_valid(KEY, NONCE, now_s, IP) is expected


@pytest.mark.parametrize("bound", [(), ("192.0.2.8",), (IP, "call"), (IP + "x",)])
def test_nonce_for_something_else_is_invalid(bound: tuple[str, ...]) -> None:
    assert not is_valid(KEY, NONCE, 1000, *bound)


def test_nonce_of_another_key_is_invalid() -> None:
    assert not is_valid("cd" * 32, NONCE, 1000, IP)


@pytest.mark.parametrize("at", range(len(NONCE)))
def test_nonce_with_another_digit_is_invalid(at: int) -> None:
    other = "0" if NONCE[at] != "0" else "1"
    assert not is_valid(KEY, NONCE[:at] + other + NONCE[at + 1 :], 1000, IP)


@pytest.mark.parametrize("text", ["", "x", "é" * 56, NONCE[:-1], NONCE + "0", NONCE.upper()])
def test_nonce_of_another_form_is_invalid(text: str) -> None:
    assert not is_valid(KEY, text, 1000, IP)


def test_random_part_names_the_nonce() -> None:
    assert random_of(NONCE) == RANDOM
