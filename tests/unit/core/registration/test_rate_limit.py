"""Test the rate limits of attempts."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from whence.core.registration.rate_limit import REGISTRARS_LIMIT, RequestLimiter

NOW = 1_000_000.0


def in_each_second(slots: list[float]) -> list[int]:
    """Return how many slots are in the first second, the second, and so on."""
    counted = Counter(int(at - NOW + 1e-6) for at in slots)
    return [counted[second] for second in range(max(counted) + 1)]


def test_slots_of_a_few_attempts_are_now() -> None:
    limiter = RequestLimiter(total=1000, registrar=10)
    assert [limiter.slot("a", NOW) for _ in range(10)] == [NOW] * 10


def test_slots_at_one_registrar_keep_its_limit() -> None:
    limiter = RequestLimiter(total=1000, registrar=10)
    slots = [limiter.slot("a", NOW) for _ in range(100)]
    assert in_each_second(slots) == [20, *[10] * 8]


def test_slots_at_a_busy_registrar_delay_no_other() -> None:
    limiter = RequestLimiter(total=1000, registrar=10)
    for _ in range(100):
        limiter.slot("crowded", NOW)
    assert limiter.slot("other", NOW) == NOW


def test_slots_at_all_registrars_keep_the_total() -> None:
    limiter = RequestLimiter(total=100, registrar=50)
    slots = sorted(limiter.slot(f"r{i % 20}", NOW) for i in range(1000))
    first, *later = in_each_second(slots)
    assert first <= 200
    assert max(later) <= 101


def test_slots_unused_are_not_saved_up() -> None:
    limiter = RequestLimiter(total=10, registrar=10)
    limiter.slot("a", NOW)
    later = NOW + 3600
    assert sum(limiter.slot("a", later) == later for _ in range(50)) == 11


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=60))
def test_slots_are_not_in_the_past_and_bounded_to_a_burst(
    asked: list[tuple[str, float]],
) -> None:
    limiter, now = RequestLimiter(total=100, registrar=4), NOW
    given_out: dict[str, list[float]] = {}
    for registrar, passed_s in asked:
        now += passed_s
        at = limiter.slot(registrar, now)
        assert at >= now
        given_out.setdefault(registrar, []).append(at)
    for slots in given_out.values():
        assert all(a <= b for a, b in pairwise(slots))
        for i, at in enumerate(slots):
            assert sum(later < at + 1 for later in slots[i:]) <= 4 + 4 + 1


def test_limiter_drops_registrars_without_future_slots() -> None:
    limiter = RequestLimiter(total=1e9, registrar=1)
    for i in range(REGISTRARS_LIMIT + 1):
        limiter.slot(f"r{i}", NOW + 2 * i)
    assert len(limiter._registrar_at) <= 2
