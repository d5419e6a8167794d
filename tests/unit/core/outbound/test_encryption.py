"""Values that a peer keeps for us."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from whence.core.outbound.encryption import decrypt, encrypt

KEY = "11" * 32
OTHER = "22" * 32
DIGITS = "0123456789abcdefghijklmnopqrstuv"
CONTEXT = ("call@192.0.2.7", "tag1")

contents = st.binary(max_size=80)
contexts = st.lists(st.text(max_size=20), max_size=3).map(tuple)


@given(contents, contexts)
def test_value_is_read_back(content: bytes, context: tuple[str, ...]) -> None:
    value = encrypt(KEY, "o", context, content)
    assert decrypt(KEY, "o", context, value) == content
    assert value.isascii()
    assert value.isalnum()
    assert value == value.lower()


@given(contents, contexts, contexts)
def test_value_of_another_context_is_not_read(
    content: bytes, context: tuple[str, ...], other: tuple[str, ...]
) -> None:
    assume(context != other)
    value = encrypt(KEY, "o", context, content)
    assert decrypt(KEY, "o", other, value) is None
    assert decrypt(OTHER, "o", context, value) is None
    assert decrypt(KEY, "p", context, value) is None
    assert decrypt(KEY, "p", context, "p" + value[1:]) is None


@given(contents, st.data())
def test_changed_value_is_not_read(content: bytes, data: st.DataObject) -> None:
    value = encrypt(KEY, "o", CONTEXT, content)
    at = data.draw(st.integers(0, len(value) - 1))
    other = data.draw(st.sampled_from("0123456789abcdefghijklmnopqrstuvwxyz_-+ "))
    assume(value[at] != other)
    assert decrypt(KEY, "o", CONTEXT, value[:at] + other + value[at + 1 :]) is None


@given(st.text(max_size=60))
def test_any_text_is_not_read(text: str) -> None:
    assert decrypt(KEY, "o", CONTEXT, text) is None
    assert decrypt(KEY, "o", CONTEXT, f"o{text}") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.upper(),
        lambda value: value + "0",
        lambda value: value[:-1],
        lambda value: value[:-1] + DIGITS[DIGITS.index(value[-1]) ^ 1],
        lambda value: value + "=",
        lambda value: value[1:],
        lambda value: "o" + value,
        lambda value: value[0] + "_" + value[1:],
        lambda value: value + "\n",
        lambda value: "o",
        lambda value: "",
        lambda value: "o" + "0" * 5000,
    ],
)
def test_value_has_one_spelling(change: object) -> None:
    assert callable(change)
    for size in range(9):
        value = encrypt(KEY, "o", CONTEXT, b"x" * size)
        assert decrypt(KEY, "o", CONTEXT, change(value)) is None


def test_value_does_not_show_its_content() -> None:
    first = encrypt(KEY, "o", CONTEXT, b"alice" * 8)
    second = encrypt(KEY, "o", CONTEXT, b"alicf" + b"alice" * 7)
    # Two branches of one call have similar contents. Nothing in common may show through.
    same = sum(one == other for one, other in zip(first[1:], second[1:], strict=True))
    assert same < len(first) / 4
