"""The seals between edge and agent."""

from hypothesis import assume, given
from hypothesis import strategies as st

from whence.core.mac import is_same
from whence.ipc.headers import reply_seal, request_seal

KEY, OTHER_KEY = "11" * 32, "22" * 32

REQUEST = ("REGISTER", "call-1", "7", "sip:192.0.2.1:5060", "udp:192.0.2.9:5060")


def test_a_request_is_sealed_the_same_each_time_and_otherwise_with_another_key() -> None:
    assert is_same(request_seal(KEY, *REQUEST), request_seal(KEY, *REQUEST))
    assert not is_same(request_seal(KEY, *REQUEST), request_seal(OTHER_KEY, *REQUEST))


def test_each_part_of_a_request_is_under_its_seal() -> None:
    sealed = request_seal(KEY, *REQUEST)
    for place in range(len(REQUEST)):
        changed = list(REQUEST)
        changed[place] += "x"
        assert not is_same(sealed, request_seal(KEY, *changed))


def test_each_part_of_a_reply_is_under_its_seal() -> None:
    sealed = reply_seal(KEY, "call-1", "7", 200, "udp:192.0.2.1:5060")
    assert not is_same(sealed, reply_seal(KEY, "call-2", "7", 200, "udp:192.0.2.1:5060"))
    assert not is_same(sealed, reply_seal(KEY, "call-1", "8", 200, "udp:192.0.2.1:5060"))
    assert not is_same(sealed, reply_seal(KEY, "call-1", "7", 401, "udp:192.0.2.1:5060"))
    assert not is_same(sealed, reply_seal(KEY, "call-1", "7", 200, "udp:192.0.2.2:5060"))
    assert not is_same(sealed, reply_seal(OTHER_KEY, "call-1", "7", 200, "udp:192.0.2.1:5060"))


def test_a_request_seal_never_serves_as_a_reply_seal() -> None:
    assert request_seal(KEY, "", "", "", "", "") != reply_seal(KEY, "", "", 0, "")


@given(*[st.lists(st.text(max_size=8), min_size=5, max_size=5) for _ in range(2)])
def test_no_two_requests_are_sealed_alike(one: list[str], other: list[str]) -> None:
    assume(one != other)
    assert request_seal(KEY, *one) != request_seal(KEY, *other)


@given(st.text(max_size=8), st.text(max_size=8), st.integers(1, 7))
def test_a_border_between_two_parts_cannot_be_moved(left: str, right: str, by: int) -> None:
    assume(len(left) >= by)
    moved = request_seal(KEY, "REGISTER", left[:-by], left[-by:] + right, "", "")
    assert moved != request_seal(KEY, "REGISTER", left, right, "", "")


@given(st.text(), st.text())
def test_two_seals_are_the_same_only_if_their_text_is(one: str, other: str) -> None:
    assert is_same(one, other) == (one == other)
