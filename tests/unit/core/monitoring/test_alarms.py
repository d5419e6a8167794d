"""An alarm is told at once, and a storm of them is told as a storm."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.registration.world import NOW
from whence.core.monitoring import alarms
from whence.core.monitoring.alarms import EACH_S, KIND_LIMIT, Alarm, AlarmKind, AlarmLimiter
from whence.core.registration.history import EventKind, HistoryEvent


def lapsed(trunk: str | None = "acme", text: str = "it lapsed") -> Alarm:
    return Alarm(AlarmKind.REGISTRATION_EXPIRED, trunk, text)


def test_of_a_trunks_history_some_are_alarms() -> None:
    assert alarms.of_history("acme", HistoryEvent(EventKind.EXPIRED, "why")) == Alarm(
        AlarmKind.REGISTRATION_EXPIRED, "acme", "why"
    )
    moved = alarms.of_history("acme", HistoryEvent(EventKind.REGISTRAR_CHANGED, "to there"))
    assert moved is not None and moved.kind is AlarmKind.REGISTRAR_CHANGED
    kinds = EventKind
    for what in (
        kinds.REGISTERED,
        kinds.WAITING,
        kinds.SUSPENDED,
        kinds.REGISTER_REQUESTED,
        kinds.ALLOWED,
    ):
        assert alarms.of_history("acme", HistoryEvent(what, "why")) is None


def test_one_of_a_kind_and_trunk_is_told_at_once_and_the_rest_with_the_next() -> None:
    bounded = AlarmLimiter()
    assert bounded.passes(lapsed(), NOW)
    assert not any(bounded.passes(lapsed(text=f"{n}"), NOW + n) for n in range(1, 11))
    assert bounded.due(NOW + EACH_S - 1) == []
    assert bounded.due(NOW + EACH_S) == [
        Alarm(AlarmKind.REGISTRATION_EXPIRED, "acme", "10", left_out=9)
    ]
    assert not bounded.passes(lapsed(), NOW + EACH_S + 1)


def test_after_its_while_it_is_told_again_and_nothing_is_left_behind() -> None:
    bounded = AlarmLimiter()
    assert bounded.passes(lapsed(), NOW)
    assert bounded.due(NOW + EACH_S) == []
    assert bounded.passes(lapsed(), NOW + EACH_S)
    assert bounded.due(NOW + 3 * EACH_S) == []
    assert not bounded._since


def test_other_trunks_and_other_kinds_are_told_of_meanwhile() -> None:
    bounded = AlarmLimiter()
    assert bounded.passes(lapsed("acme"), NOW)
    assert bounded.passes(lapsed("bell"), NOW)
    assert bounded.passes(Alarm(AlarmKind.CONFLICT, "acme", "x"), NOW)
    assert bounded.passes(Alarm(AlarmKind.MANY_UNKNOWN_REQUESTS, None, "x"), NOW)


def test_of_thousands_of_trunks_some_are_named_and_all_are_counted() -> None:
    bounded = AlarmLimiter()
    told = sum(bounded.passes(lapsed(f"trunk-{n}"), NOW) for n in range(5000))
    assert told == KIND_LIMIT
    assert bounded.passes(Alarm(AlarmKind.CONFLICT, "acme", "x"), NOW), (
        "a storm of one hides no other"
    )
    (rest,) = bounded.due(NOW + EACH_S)
    assert (rest.trunk, rest.left_out) == (None, 5000 - KIND_LIMIT)
    assert bounded.due(NOW + 9 * EACH_S) == []


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    bounded = AlarmLimiter()
    assert bounded.passes(lapsed(), NOW)
    assert bounded.passes(lapsed(), NOW - 3600)


STEPS = st.lists(st.tuples(st.integers(0, 8), st.floats(0, 40)), max_size=200)


@given(STEPS)
def test_whatever_comes_nothing_is_lost_and_no_minute_has_too_many(
    steps: list[tuple[int, float]],
) -> None:
    bounded, now = AlarmLimiter(kind_limit=3), NOW
    told: list[tuple[float, int]] = []
    for trunk, wait_s in steps:
        now += wait_s
        told += [(now, said.left_out + (said.trunk is not None)) for said in bounded.due(now)]
        if bounded.passes(lapsed(f"trunk-{trunk}"), now):
            told.append((now, 1))
    for _ in range(2):
        now += 2 * EACH_S
        told += [(now, said.left_out + (said.trunk is not None)) for said in bounded.due(now)]
    for _ in range(len(steps)):
        now += EACH_S
        told += [(now, said.left_out + (said.trunk is not None)) for said in bounded.due(now)]
    assert sum(count for _, count in told) == len(steps)
    assert not bounded._since or all(since.last is None for since in bounded._since.values())
