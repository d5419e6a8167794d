"""The addresses of the bench's trunks, and the order of the calls."""

from ipaddress import IPv4Address
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.layout import FEW, Layout, calls

FIRST = IPv4Address("127.64.0.0")
SIZES = st.integers(min_value=1, max_value=5_000)


@given(SIZES)
def test_calls_reach_all_trunks_before_a_repetition(trunks: int) -> None:
    called = islice(calls(Layout(trunks, "one", FIRST), "all"), trunks)
    assert len({call.number for call in called}) == trunks


def test_calls_in_any_part_are_spread_over_all_trunks() -> None:
    layout = Layout(100_000, "spread", FIRST)
    called = sorted(int(call.ip) - int(FIRST) for call in islice(calls(layout, "all"), 100))
    gaps = [after - before for before, after in pairwise(called)]
    assert max(gaps) < 4 * 100_000 / 100


@pytest.mark.parametrize("trunks", [3, FEW, 1_000, 100_000])
def test_calls_few_use_ten_trunks_at_most(trunks: int) -> None:
    called = islice(calls(Layout(trunks, "spread", FIRST), "few"), 100)
    assert len({call.number for call in called}) == min(FEW, trunks)


def test_calls_anew_have_a_to_of_their_own() -> None:
    called = list(islice(calls(Layout(2, "one", FIRST), "anew"), 50))
    assert len({call.to for call in called}) == 50
    assert len({call.number for call in called}) == 2


def test_calls_come_from_the_address_of_their_trunk() -> None:
    layout = Layout(7, "spread", FIRST)
    for call in islice(calls(layout, "all"), 20):
        assert layout.number(int(call.ip) - int(FIRST)) == call.number
    together = Layout(7, "one", FIRST)
    assert {call.ip for call in islice(calls(together, "all"), 20)} == {FIRST}
