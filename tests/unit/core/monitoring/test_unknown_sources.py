"""The table of unknown sources: exact counts, and bounds that a flood does not break."""

import tracemalloc
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.identification.world import NOW
from whence.core.monitoring.unknown_sources import (
    FORGOTTEN_AFTER_S,
    REQUEST_URI_LENGTH,
    REQUEST_URIS_LIMIT,
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


def test_table_lists_a_source_with_all_its_requests() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    unknown_sources.saw(source(1, 5060), "sip:1@x", NOW)
    unknown_sources.saw(source(1, 5999, Transport.TLS), "sip:2@x", NOW + 5)
    unknown_sources.saw(source(1, 6000, Transport.TLS), "sip:1@x", NOW + 9)
    (one,) = unknown_sources
    assert str(one.source) == "tls:10.0.0.1:6000"
    assert (one.requests, one.since, one.last_at) == (3, NOW, NOW + 9)
    assert one.request_uris == ("sip:1@x", "sip:2@x")


def test_table_bounds_the_uris_of_a_source() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    for number in range(100):
        unknown_sources.saw(source(1), f"sip:{number}@{'x' * 5000}", NOW)
    (one,) = unknown_sources
    assert len(one.request_uris) == REQUEST_URIS_LIMIT
    assert all(len(uri) <= REQUEST_URI_LENGTH for uri in one.request_uris)
    assert one.request_uris[0].startswith("sip:99@")


def test_table_lists_most_requests_first() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    for number, times in ((1, 2), (2, 9), (3, 1), (4, 5)):
        saw(unknown_sources, number, times)
    assert list(counts(unknown_sources).values()) == [9, 5, 2, 1]


@pytest.mark.slow
def test_table_in_a_flood_keeps_a_returned_source() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    saw(unknown_sources, 1, 2)
    for number in range(100_000):
        saw(unknown_sources, 1000 + number)
    assert counts(unknown_sources)["10.0.0.1"] == 2
    assert len(unknown_sources) <= 2 * LIMIT
    assert unknown_sources.forgotten == 100_000 - LIMIT


@pytest.mark.slow
def test_table_in_a_flood_finds_a_source_that_returns() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    for number in range(100_000):
        saw(unknown_sources, 1000 + number)
        if number % (LIMIT // 2) == 0:
            saw(unknown_sources, 1)
    assert next(iter(unknown_sources)).source == source(1)
    assert counts(unknown_sources)["10.0.0.1"] == 100_000 // (LIMIT // 2)


def test_table_keeps_sources_with_more_requests_than_a_flood() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    for steady in range(LIMIT // 2):
        saw(unknown_sources, steady, 3)
    for number in range(20_000):
        saw(unknown_sources, 1000 + number, 2)
    assert all(counts(unknown_sources)[f"10.0.0.{steady}"] == 3 for steady in range(LIMIT // 2))
    assert len(unknown_sources) <= 2 * LIMIT


def test_newcomer_replaces_the_least_once_it_sent_as_many() -> None:
    unknown_sources = UnknownSourceTable(2)
    saw(unknown_sources, 1, 10)
    saw(unknown_sources, 2, 20)
    saw(unknown_sources, 3, 9)
    assert counts(unknown_sources) == {"10.0.0.2": 20, "10.0.0.1": 10, "10.0.0.3": 9}
    saw(unknown_sources, 3)
    assert counts(unknown_sources) == {"10.0.0.2": 20, "10.0.0.3": 10}
    assert unknown_sources.forgotten == 1


@pytest.mark.slow
def test_table_in_a_flood_does_not_grow_in_memory() -> None:
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


def test_table_with_limit_zero_keeps_no_source() -> None:
    unknown_sources = UnknownSourceTable(0)
    saw(unknown_sources, 1, 5)
    assert list(unknown_sources) == []


def test_table_after_forget_lists_a_source_anew() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    saw(unknown_sources, 1, 5)
    saw(unknown_sources, 2)
    unknown_sources.forget("10.0.0.1")
    unknown_sources.forget("10.0.0.2")
    unknown_sources.forget("10.0.0.3")
    assert list(unknown_sources) == []
    saw(unknown_sources, 1)
    assert counts(unknown_sources) == {"10.0.0.1": 1}


def test_table_removes_a_source_after_a_week() -> None:
    unknown_sources = UnknownSourceTable(LIMIT)
    saw(unknown_sources, 1, 5)
    saw(unknown_sources, 2)
    saw(unknown_sources, 3, at=NOW + FORGOTTEN_AFTER_S + 1)
    assert counts(unknown_sources) == {"10.0.0.3": 1}


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=300), st.integers(1, 4))
def test_table_of_random_requests_counts_exactly_in_bounds(
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
def test_counter_exceeds_its_limit_once_a_window(limit: int, expected: int) -> None:
    rate = WindowCounter(limit)
    assert sum(rate.exceeds(NOW + second) for second in range(6)) == expected


def test_counter_after_clock_set_back_begins_a_new_window() -> None:
    rate = WindowCounter(2)
    assert [rate.exceeds(NOW) for _ in range(4)] == [False, False, True, False]
    assert [rate.exceeds(NOW + 60) for _ in range(3)] == [False, False, True]
    assert [rate.exceeds(NOW - 600) for _ in range(3)] == [False, False, True]
