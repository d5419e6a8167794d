"""Reports that a queue has lost are counted by the serial numbers of the others."""

from hypothesis import given
from hypothesis import strategies as st

from whence.edge.serial_numbers import SerialNumbers

LIMIT = 1 << 32


def signed(serial: int) -> int:
    """Return a number as Kamailio 5.6 writes it: a signed int of 32 bits."""
    return (serial + LIMIT // 2) % LIMIT - LIMIT // 2


def test_lost_without_a_gap_is_zero() -> None:
    numbers = SerialNumbers()
    for serial in (1, 2, 3):
        numbers.fetched(serial)
        assert numbers.lost() == 0


def test_lost_after_a_gap_counts_it_at_the_second_call() -> None:
    numbers = SerialNumbers()
    numbers.fetched(1)
    numbers.fetched(5)
    assert [numbers.lost(), numbers.lost(), numbers.lost()] == [0, 3, 0]


def test_lost_with_two_in_the_wrong_order_is_zero() -> None:
    numbers = SerialNumbers()
    numbers.fetched(2)
    assert numbers.lost() == 0
    numbers.fetched(1)
    assert numbers.lost() == 0


def test_lost_counts_the_first_reports_too() -> None:
    numbers = SerialNumbers()
    numbers.fetched(4)
    assert [numbers.lost(), numbers.lost()] == [0, 3]


@given(
    st.integers(0, 3 * LIMIT),
    st.lists(st.lists(st.booleans(), max_size=20), min_size=1, max_size=20),
)
def test_all_reports_are_fetched_or_lost(before: int, turns: list[list[bool]]) -> None:
    """Also after the number of bits is used up."""
    numbers = SerialNumbers()
    serial = 0
    while serial < before:  # no step may look like one back
        serial = min(before, serial + LIMIT // 2 - 1)
        numbers.fetched(signed(serial))
        numbers.lost()
    numbers.lost()
    first, fetched, lost = serial, 0, 0
    for turn in turns:
        for is_fetched in turn:
            serial += 1
            if is_fetched:
                fetched += 1
                numbers.fetched(signed(serial))
        lost += numbers.lost()
    numbers.fetched(signed(serial + 1))
    lost += numbers.lost() + numbers.lost()
    assert fetched + lost == serial - first
