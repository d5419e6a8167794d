"""Alarms of a trunk's history, and the limits on alarms."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.identification.world import NOW
from whence.core.monitoring import alarms
from whence.core.monitoring.alarms import EACH_S, KIND_LIMIT, Alarm, AlarmKind, AlarmLimiter
from whence.core.registration.history import EventKind, HistoryEvent


def expired(trunk: str | None = "acme", text: str = "it expired") -> Alarm:
    return Alarm(AlarmKind.REGISTRATION_EXPIRED, trunk, text)


def test_history_event_of_some_kinds_is_an_alarm() -> None:
    assert alarms.of_history("acme", HistoryEvent(EventKind.EXPIRED, "why")) == Alarm(
        AlarmKind.REGISTRATION_EXPIRED, "acme", "why"
    )
    changed = alarms.of_history("acme", HistoryEvent(EventKind.REGISTRAR_CHANGED, "to there"))
    assert changed is not None and changed.kind is AlarmKind.REGISTRAR_CHANGED
    kinds = EventKind
    for what in (
        kinds.REGISTERED,
        kinds.WAITING,
        kinds.SUSPENDED,
        kinds.REGISTER_REQUESTED,
        kinds.ALLOWED,
    ):
        assert alarms.of_history("acme", HistoryEvent(what, "why")) is None


def test_limiter_suppresses_same_kind_and_trunk_for_a_window() -> None:
    limiter = AlarmLimiter()
    assert limiter.passes(expired(), NOW)
    assert not any(limiter.passes(expired(text=f"{n}"), NOW + n) for n in range(1, 11))
    assert limiter.due(NOW + EACH_S - 1) == []
    assert limiter.due(NOW + EACH_S) == [
        Alarm(AlarmKind.REGISTRATION_EXPIRED, "acme", "10", left_out=9)
    ]
    assert not limiter.passes(expired(), NOW + EACH_S + 1)


def test_limiter_after_its_window_passes_again_and_keeps_nothing() -> None:
    limiter = AlarmLimiter()
    assert limiter.passes(expired(), NOW)
    assert limiter.due(NOW + EACH_S) == []
    assert limiter.passes(expired(), NOW + EACH_S)
    assert limiter.due(NOW + 3 * EACH_S) == []
    assert not limiter._suppressed


def test_limiter_passes_other_trunks_and_other_kinds() -> None:
    limiter = AlarmLimiter()
    assert limiter.passes(expired("acme"), NOW)
    assert limiter.passes(expired("bell"), NOW)
    assert limiter.passes(Alarm(AlarmKind.CONFLICT, "acme", "x"), NOW)
    assert limiter.passes(Alarm(AlarmKind.MANY_UNKNOWN_REQUESTS, None, "x"), NOW)


def test_limiter_of_many_trunks_names_some_and_counts_all() -> None:
    limiter = AlarmLimiter()
    raised = sum(limiter.passes(expired(f"trunk-{n}"), NOW) for n in range(5000))
    assert raised == KIND_LIMIT
    assert limiter.passes(Alarm(AlarmKind.CONFLICT, "acme", "x"), NOW), (
        "a storm of one hides no other"
    )
    (rest,) = limiter.due(NOW + EACH_S)
    assert (rest.trunk, rest.left_out) == (None, 5000 - KIND_LIMIT)
    assert limiter.due(NOW + 9 * EACH_S) == []


def test_limiter_after_clock_set_back_passes_at_once() -> None:
    limiter = AlarmLimiter()
    assert limiter.passes(expired(), NOW)
    assert limiter.passes(expired(), NOW - 3600)


STEPS = st.lists(st.tuples(st.integers(0, 8), st.floats(0, 40)), max_size=200)


@given(STEPS)
def test_limiter_of_random_alarms_loses_none(
    steps: list[tuple[int, float]],
) -> None:
    limiter, now = AlarmLimiter(kind_limit=3), NOW
    raised: list[tuple[float, int]] = []
    for trunk, wait_s in steps:
        now += wait_s
        raised += [(now, alarm.left_out + (alarm.trunk is not None)) for alarm in limiter.due(now)]
        if limiter.passes(expired(f"trunk-{trunk}"), now):
            raised.append((now, 1))
    for _ in range(2):
        now += 2 * EACH_S
        raised += [(now, alarm.left_out + (alarm.trunk is not None)) for alarm in limiter.due(now)]
    for _ in range(len(steps)):
        now += EACH_S
        raised += [(now, alarm.left_out + (alarm.trunk is not None)) for alarm in limiter.due(now)]
    assert sum(count for _, count in raised) == len(steps)
    assert not limiter._suppressed or all(one.last is None for one in limiter._suppressed.values())
