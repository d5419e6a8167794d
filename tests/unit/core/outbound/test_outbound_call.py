"""A call under way, as Kamailio keeps it."""

from hypothesis import given
from hypothesis import strategies as st

from whence.core.outbound.answers import FailureReason, TryNext
from whence.core.outbound.call import OutboundCall
from whence.core.outbound.caller import Caller
from whence.core.outbound.model import OutboundUser
from whence.core.outbound.numbers import Called
from whence.core.outbound.rounds import Answered, Rounds
from whence.core.sip.digest import Challenge

names = st.from_regex(r"[a-z0-9_.-]{1,20}", fullmatch=True)
calls = st.builds(
    OutboundCall,
    st.builds(Caller, names.map(OutboundUser), names, st.booleans(), names, names),
    st.builds(Called, names, st.just(""), st.booleans()),
    st.integers(0, 2**31 - 1),
    names,
    st.text(),
    st.text(),
    st.text(),
    st.lists(names).map(tuple),
    names,
    st.lists(names).map(tuple),
    names,
    st.builds(
        Rounds,
        st.integers(0, 7),
        st.lists(st.builds(Answered, st.builds(Challenge, st.text(), st.text()))).map(tuple),
    ),
    st.lists(
        st.builds(TryNext, st.sampled_from(FailureReason), st.integers(400, 699), st.text())
    ).map(tuple),
    st.floats(0.5, 60),
)


@given(calls)
def test_outbound_call_reads_what_it_wrote(call: OutboundCall) -> None:
    assert OutboundCall.from_text(call.to_text()) == call


@given(calls)
def test_outbound_call_tries_each_trunk_once(call: OutboundCall) -> None:
    tried = []
    following = call.with_next_trunk()
    while following is not None:
        tried.append(following.trunk_id)
        assert following.rounds == Rounds()
        following = following.with_next_trunk()
    assert tuple(tried) == call.trunks
