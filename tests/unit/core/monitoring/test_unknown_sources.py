"""Unknown sources are told of, and no flood of them hides one, or fills the memory."""

import tracemalloc
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.registration.world import NOW
from whence.core.monitoring.unknown_sources import (
    ASKED_LENGTH,
    ASKED_LIMIT,
    FORGOTTEN_AFTER_S,
    UnknownSourceTable,
    WindowCounter,
)
from whence.core.sip.transport_address import Transport, TransportAddress

LIMIT = 50


def source(number: int, port: int = 5060, transport: Transport = Transport.UDP) -> TransportAddress:
    return TransportAddress(transport, IPv4Address((10 << 24) + number), port)


def saw(unknown_sources: UnknownSourceTable, number: int, times: int = 1, at: float = NOW) -> None:
    for _ in range(times):
        unknown_sources.saw(source(number), "sip:x", at)


def counts(unknown_sources: UnknownSourceTable) -> dict[str, int]:
    return {str(one.source.ip): one.requests for one in unknown_sources}


def test_an_unknown_source_is_told_with_all_that_it_did() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    unknown_sources.saw(source(1, 5060), "sip:1@x", NOW)
    unknown_sources.saw(source(1, 5999, Transport.TLS), "sip:2@x", NOW + 5)
    unknown_sources.saw(source(1, 6000, Transport.TLS), "sip:1@x", NOW + 9)
    (one,) = unknown_sources
    assert str(one.source) == "tls:10.0.0.1:6000"
    assert (one.requests, one.since, one.last_at) == (3, NOW, NOW + 9)
    assert one.asked == ("sip:1@x", "sip:2@x")


def test_what_one_asked_for_is_bounded() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    for number in range(100):
        unknown_sources.saw(source(1), f"sip:{number}@{'x' * 5000}", NOW)
    (one,) = unknown_sources
    assert len(one.asked) == ASKED_LIMIT
    assert all(len(uri) <= ASKED_LENGTH for uri in one.asked)
    assert one.asked[0].startswith("sip:99@")


def test_who_asks_most_stands_first() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    for number, times in ((1, 2), (2, 9), (3, 1), (4, 5)):
        saw(unknown_sources, number, times)
    assert list(counts(unknown_sources).values()) == [9, 5, 2, 1]


@pytest.mark.slow
def test_a_flood_of_made_up_addresses_pushes_out_nobody_who_came_back() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    saw(unknown_sources, 1, 2)
    for number in range(100_000):
        saw(unknown_sources, 1000 + number)
    assert counts(unknown_sources)["10.0.0.1"] == 2
    assert len(unknown_sources) <= 2 * LIMIT
    assert unknown_sources.forgotten == 100_000 - LIMIT


@pytest.mark.slow
def test_one_who_comes_back_during_a_flood_is_found_in_it() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    for number in range(100_000):
        saw(unknown_sources, 1000 + number)
        if number % (LIMIT // 2) == 0:
            saw(unknown_sources, 1)
    assert next(iter(unknown_sources)).source == source(1)
    assert counts(unknown_sources)["10.0.0.1"] == 100_000 // (LIMIT // 2)


def test_addresses_made_up_that_ask_twice_push_out_nobody_who_asked_more_often() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    for steady in range(LIMIT // 2):
        saw(unknown_sources, steady, 3)
    for number in range(20_000):
        saw(unknown_sources, 1000 + number, 2)
    assert all(counts(unknown_sources)[f"10.0.0.{steady}"] == 3 for steady in range(LIMIT // 2))
    assert len(unknown_sources) <= 2 * LIMIT


def test_where_all_have_asked_often_a_newcomer_counts_on_until_he_has_too() -> None:
    unknown_sources = UnknownSourceTable(2)
    saw(unknown_sources, 1, 10)
    saw(unknown_sources, 2, 20)
    saw(unknown_sources, 3, 9)
    assert counts(unknown_sources) == {"10.0.0.2": 20, "10.0.0.1": 10, "10.0.0.3": 9}
    saw(unknown_sources, 3)
    assert counts(unknown_sources) == {"10.0.0.2": 20, "10.0.0.3": 10}
    assert unknown_sources.forgotten == 1


@pytest.mark.slow
def test_the_memory_does_not_grow() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)

    def flood(start: int) -> None:
        for number in range(start, start + 20_000):
            ip = IPv6Address((0x20010DB8 << 96) + number)
            for _ in range(1 + number % 3):
                unknown_sources.saw(
                    TransportAddress(Transport.UDP, ip, 5060), f"sip:{number}@x", NOW
                )

    flood(0)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    flood(100_000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000
    assert len(unknown_sources._least) <= LIMIT


def test_with_a_limit_of_none_nobody_is_kept() -> None:
    unknown_sources = UnknownSourceTable(0)
    saw(unknown_sources, 1, 5)
    assert list(unknown_sources) == []


def test_a_forgotten_source_may_become_an_unknown_source_again() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    saw(unknown_sources, 1, 5)
    saw(unknown_sources, 2)
    unknown_sources.forget("10.0.0.1")
    unknown_sources.forget("10.0.0.2")
    unknown_sources.forget("10.0.0.3")
    assert list(unknown_sources) == []
    saw(unknown_sources, 1)
    assert counts(unknown_sources) == {"10.0.0.1": 1}


def test_who_does_not_come_for_a_week_is_forgotten() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    saw(unknown_sources, 1, 5)
    saw(unknown_sources, 2)
    saw(unknown_sources, 3, at=NOW + FORGOTTEN_AFTER_S + 1)
    assert counts(unknown_sources) == {"10.0.0.3": 1}


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=300), st.integers(1, 4))
def test_whatever_comes_the_counts_are_true_and_the_places_kept(
    steps: list[tuple[int, bool]], limit: int
) -> None:
    unknown_sources, really = UnknownSourceTable(limit), dict.fromkeys(range(13), 0)
    for number, admit in steps:
        if admit:
            unknown_sources.forget(str(source(number).ip))
        else:
            saw(unknown_sources, number)
            really[number] += 1
        assert len(unknown_sources) <= 2 * limit
        assert len(unknown_sources._least) <= limit
    for one in unknown_sources:
        assert 1 <= one.requests <= really[int(one.source.ip) - (10 << 24)]


@pytest.mark.parametrize(("limit", "expected"), [(0, 0), (1, 1), (5, 1), (6, 0), (100, 0)])
def test_a_rate_is_exceeded_once_in_its_window(limit: int, expected: int) -> None:
    rate = WindowCounter(limit)
    assert sum(rate.exceeds(NOW + second) for second in range(6)) == expected


def test_the_next_window_counts_anew_also_when_the_clock_was_set_back() -> None:
    rate = WindowCounter(2)
    assert [rate.exceeds(NOW) for _ in range(4)] == [False, False, True, False]
    assert [rate.exceeds(NOW + 60) for _ in range(3)] == [False, False, True]
    assert [rate.exceeds(NOW - 600) for _ in range(3)] == [False, False, True]
