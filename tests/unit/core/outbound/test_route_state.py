"""The route state of a call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.dialogs.cookie import COOKIE_LENGTH, PARAM, find_cookie
from whence.core.outbound.cseq import TRIES
from whence.core.outbound.route_state import (
    TEXT_LIMIT,
    Kind,
    RouteState,
    find_state,
    read_state,
    write_state,
)
from whence.core.sip.uri import Uri

KEY = "11" * 32
CALL = "843817637684230@998sdasdh09"
DOMAIN = "edge.example"
BERLIN = "+493012345678"
STATE = RouteState(
    Kind.OUT,
    "alice",
    "acme",
    4711,
    1,
    "+442071234567",
    BERLIN,
    f"sip:alice@{DOMAIN}",
    f"sip:{BERLIN}@{DOMAIN}",
)


def write(state: RouteState = STATE) -> str:
    return write_state(KEY, CALL, "caller", state, DOMAIN)


def read(value: str, call: str = CALL, from_tag: str = "caller", to_tag: str = "") -> object:
    return read_state(KEY, call, from_tag, to_tag, value, DOMAIN)


texts = st.one_of(
    st.sampled_from(["", "0", "00", "+", "alice", BERLIN, "+4930123456700", f"sip:a@{DOMAIN}"]),
    st.from_regex(r"\+?[0-9]{0,70}", fullmatch=True),
    st.text(st.characters(codec="utf-8"), max_size=50),
    st.text("x", max_size=TEXT_LIMIT),
)


@given(
    st.builds(
        RouteState,
        st.sampled_from(Kind),
        texts,
        texts,
        st.integers(0, 2**31 - 1),
        st.integers(0, TRIES - 1),
        texts,
        texts,
        st.one_of(texts, st.just(f"sip:alice@{DOMAIN}")),
        st.one_of(texts, texts.map(lambda user: f"sip:{user[:200]}@{DOMAIN}")),
    )
)
def test_route_state_is_read_back(state: RouteState) -> None:
    value = write(state)
    assert read(value) == (state, True)
    assert read(value, from_tag="callee", to_tag="caller") == (state, False)


def test_route_state_of_usual_call_is_short() -> None:
    assert len(write()) <= 80


def test_route_state_shows_who_sends() -> None:
    value = write()
    assert read(value, from_tag="caller", to_tag="callee") == (STATE, True)
    assert read(value, from_tag="callee", to_tag="caller") == (STATE, False)
    assert read(value, from_tag="callee", to_tag="third") is None
    assert read(value, from_tag="", to_tag="") is None


def test_route_state_of_another_call_is_not_read() -> None:
    assert read(write(), call=CALL + "x") is None


def test_kind_of_route_state_cannot_be_changed() -> None:
    value = write()
    for kind in Kind:
        if kind is not STATE.kind:
            assert read(kind + value[1:]) is None


@pytest.mark.parametrize(
    "state",
    [
        STATE._replace(tries=TRIES),
        STATE._replace(tries=-1),
        STATE._replace(cseq=2**31),
        STATE._replace(phone_from="x" * (TEXT_LIMIT + 1)),
        STATE._replace(phone_to=f"sip:{'ü' * TEXT_LIMIT}@{DOMAIN}"),
    ],
)
def test_route_state_out_of_bounds_raises(state: RouteState) -> None:
    with pytest.raises(ValueError):
        write(state)


def test_route_state_is_no_cookie() -> None:
    uri = Uri.parse(f"sip:192.0.2.1;lr;{PARAM}={write()}")
    assert find_cookie([uri]) is None
    assert find_state([None, Uri.parse("sip:192.0.2.1;lr"), uri]) == write()


@given(st.text("0123456789abcdef", min_size=20, max_size=2 * COOKIE_LENGTH))
def test_cookie_is_no_route_state(cookie: str) -> None:
    assert find_state([Uri.parse(f"sip:192.0.2.1;lr;{PARAM}={cookie}")]) is None
    assert read(cookie) is None


def test_route_state_survives_parsers_of_small_letters() -> None:
    uri = Uri.parse(f"SIP:192.0.2.1;LR;{PARAM}={write()}".lower())
    assert find_state([uri]) == write()


@given(st.from_regex(r"[oput]?[0-9a-v]{0,80}", fullmatch=True))
def test_guessed_route_state_is_not_read(guess: str) -> None:
    assert read(guess) is None
