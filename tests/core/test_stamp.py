"""The seals between edge and agent, and the dialog cookie."""

from hypothesis import assume, given
from hypothesis import strategies as st

from whence.core.stamp import cookie, reply_seal, request_seal, same, vouches

KEY, OTHER_KEY = "11" * 32, "22" * 32
NOON = 1_800_000_000

REQUEST = ("REGISTER", "call-1", "7", "sip:192.0.2.1:5060", "udp:192.0.2.9:5060")


def test_a_request_is_sealed_the_same_each_time_and_otherwise_with_another_key() -> None:
    assert same(request_seal(KEY, *REQUEST), request_seal(KEY, *REQUEST))
    assert not same(request_seal(KEY, *REQUEST), request_seal(OTHER_KEY, *REQUEST))


def test_each_part_of_a_request_is_under_its_seal() -> None:
    sealed = request_seal(KEY, *REQUEST)
    for place in range(len(REQUEST)):
        changed = list(REQUEST)
        changed[place] += "x"
        assert not same(sealed, request_seal(KEY, *changed))


def test_each_part_of_a_reply_is_under_its_seal() -> None:
    sealed = reply_seal(KEY, "call-1", "7", 200, "udp:192.0.2.1:5060")
    assert not same(sealed, reply_seal(KEY, "call-2", "7", 200, "udp:192.0.2.1:5060"))
    assert not same(sealed, reply_seal(KEY, "call-1", "8", 200, "udp:192.0.2.1:5060"))
    assert not same(sealed, reply_seal(KEY, "call-1", "7", 401, "udp:192.0.2.1:5060"))
    assert not same(sealed, reply_seal(KEY, "call-1", "7", 200, "udp:192.0.2.2:5060"))
    assert not same(sealed, reply_seal(OTHER_KEY, "call-1", "7", 200, "udp:192.0.2.1:5060"))


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
    assert same(one, other) == (one == other)


def test_a_cookie_belongs_to_one_call_and_one_key() -> None:
    made = cookie(KEY, "call-1", NOON)
    assert vouches(KEY, made, "call-1", NOON)
    assert not vouches(KEY, made, "call-2", NOON)
    assert not vouches(OTHER_KEY, made, "call-1", NOON)


def test_a_cookie_vouches_for_a_day() -> None:
    made = cookie(KEY, "call-1", NOON)
    assert vouches(KEY, made, "call-1", NOON + 86_400)
    assert not vouches(KEY, made, "call-1", NOON + 86_401)


def test_a_clock_that_is_set_back_ends_no_call() -> None:
    made = cookie(KEY, "call-1", NOON)
    assert vouches(KEY, made, "call-1", NOON - 3600)
    assert not vouches(KEY, made, "call-1", NOON - 86_401)


def test_the_time_of_a_cookie_cannot_be_rewritten() -> None:
    made = cookie(KEY, "call-1", NOON)
    later = f"{NOON + 86_400:08x}" + made[8:]
    assert not vouches(KEY, later, "call-1", NOON + 86_401)


def test_what_follows_a_cookie_in_a_route_is_not_part_of_it() -> None:
    assert vouches(KEY, cookie(KEY, "call-1", NOON) + ";lr>", "call-1", NOON)


@given(st.text())
def test_no_other_text_vouches(text: str) -> None:
    assert not vouches(KEY, text, "call-1", NOON)


@given(st.text())
def test_a_cookie_can_stand_in_a_route_as_it_is(call_id: str) -> None:
    assert set(cookie(KEY, call_id, NOON)) <= set("0123456789abcdef")
