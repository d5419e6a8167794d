"""Alarms: in the log, the API and for the observers; and within bounds."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.unit.agent.api.agent import FILE, NOW, Agent, Story
from tests.unit.agent.monitoring.reports import record, refused
from whence.agent.monitoring import alarms
from whence.agent.monitoring.alarms import Alarms, MediaAlarms, RaisedAlarm, WrongTokenAlarms
from whence.core.identification.decision import Reason
from whence.core.monitoring.alarms import EACH_S, KIND_LIMIT, Alarm, AlarmKind
from whence.core.registration.model import State
from whence.core.sip.transport_address import TransportAddress
from whence.ipc import decisions

WithAgent = Callable[[Story], None]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def alarm(
    trunk: str | None = "acme",
    kind: AlarmKind = AlarmKind.TOKEN_FROM_WRONG_SOURCE,
    text: str = "why",
) -> Alarm:
    return Alarm(kind, trunk, text)


def test_alarm_is_one_line_in_the_log(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    made = Alarms(clock=clock)
    made.raise_alarm(alarm())
    made.raise_alarm(alarm("bell", AlarmKind.REGISTRATION_EXPIRED), logged=True)
    made.raise_alarm(alarm(None, AlarmKind.MANY_UNKNOWN_REQUESTS, "many"))
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "alarm: trunk acme: token_from_wrong_source: why"),
        ("WARNING", "alarm: many_unknown_requests: many"),
    ]


def test_alarm_with_control_characters_is_escaped(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    made = Alarms(clock=clock)
    made.raise_alarm(alarm(text="granted by \x1b[31m\r\n\u202ex"))
    (event,) = made.since(0, 1)
    assert event.alarm.message == r"granted by \x1b[31m\r\n\u202ex"
    assert caplog.records[0].getMessage().isprintable()


def test_observer_gets_each_raised_alarm(clock: Clock) -> None:
    seen: list[RaisedAlarm] = []

    class Observer:
        def raised(self, event: RaisedAlarm) -> None:
            seen.append(event)

    made = Alarms([Observer()], clock)
    for _ in range(5):
        made.raise_alarm(alarm())
    assert [event.alarm for event in seen] == [alarm()]
    clock.now += EACH_S
    made.tick()
    assert [event.alarm.left_out for event in seen] == [0, 3]
    assert made.counts == {AlarmKind.TOKEN_FROM_WRONG_SOURCE: 5}


def test_alarm_ids_grow_also_after_a_restart(clock: Clock) -> None:
    first = Alarms(clock=clock)
    for number in range(10):
        first.raise_alarm(alarm(str(number)))
    ids = [event.id for event in first.since(0, 100)]
    assert ids == sorted(set(ids))
    clock.now += 1
    second = Alarms(clock=clock)
    second.raise_alarm(alarm())
    assert second.since(ids[-1], 100)[0].id > ids[-1]


def test_since_returns_the_alarms_after_an_id(clock: Clock) -> None:
    made = Alarms(clock=clock)
    for number in range(10):
        made.raise_alarm(alarm(str(number)))
    all_alarms = made.since(0, 100)
    assert made.since(all_alarms[3].id, 2) == all_alarms[4:6]
    assert made.since(all_alarms[-1].id, 100) == []


def test_alarms_in_memory_are_bounded(clock: Clock) -> None:
    made = Alarms(clock=clock)
    for _ in range(alarms.LIMIT // KIND_LIMIT + 10):
        for number in range(KIND_LIMIT):
            made.raise_alarm(alarm(str(number)))
        clock.now += EACH_S
    assert len(made.since(0, 10_000)) == alarms.LIMIT


def test_token_from_wrong_source_is_an_alarm_of_its_trunk(clock: Clock) -> None:
    made = Alarms(clock=clock)
    listener = WrongTokenAlarms(made)
    for decision in (
        refused("acme", reason=Reason.TOKEN_FROM_WRONG_SOURCE),
        refused("bell", reason=Reason.AMBIGUOUS),
    ):
        data = record(decision, source="udp:192.0.2.66:5060")
        listener.receive(decisions.read(data), data)
    (event,) = made.since(0, 10)
    assert (event.alarm.kind, event.alarm.trunk) == (AlarmKind.TOKEN_FROM_WRONG_SOURCE, "acme")
    assert "udp:192.0.2.66:5060" in event.alarm.message


def test_media_without_rtpengine_is_one_alarm(clock: Clock) -> None:
    made = Alarms(clock=clock)
    listener = MediaAlarms(made)
    for reason in (Reason.MEDIA_UNAVAILABLE, Reason.MEDIA_UNAVAILABLE, Reason.AMBIGUOUS):
        data = record(refused("acme", reason=reason))
        listener.receive(decisions.read(data), data)
    (event,) = made.since(0, 10)
    assert (event.alarm.kind, event.alarm.trunk) == (AlarmKind.MEDIA_UNAVAILABLE, None)


def test_number_of_another_trunk_is_an_alarm_of_each_owner(clock: Clock) -> None:
    made = Alarms(clock=clock)
    listener = WrongTokenAlarms(made)
    for _ in range(3):
        data = record(refused("acme", "bell", reason=Reason.NUMBER_OF_ANOTHER_TRUNK))
        listener.receive(decisions.read(data), data)
    found = [event.alarm for event in made.since(0, 10)]
    assert [(one.kind, one.trunk) for one in found] == [
        (AlarmKind.NUMBER_OF_ANOTHER_TRUNK, "acme"),
        (AlarmKind.NUMBER_OF_ANOTHER_TRUNK, "bell"),
    ]
    assert str(found[0].kind) == "number_of_another_trunk"
    assert made.counts == {AlarmKind.NUMBER_OF_ANOTHER_TRUNK: 6}


def test_changed_registrar_and_expiry_are_alarms_once(
    with_agent: WithAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "whence")

    async def story(agent: Agent) -> None:
        assert await agent.get("/v1/alarms") == [], "the first registrar is no change"
        node = agent.node
        elsewhere = TransportAddress.parse("udp:192.0.2.2:5060")
        node.registrar.accepts_at = elsewhere
        node.apply(FILE.replace("[[trunk]]", '[[trunk]]\nlearn_from = "any"'))
        node.registrations.orders.want("acme")
        await node.until(lambda: node.of["acme"].registrar == elsewhere)
        (event,) = await agent.get("/v1/alarms")
        assert (event["kind"], event["trunk"]) == ("registrar_changed", "acme")
        assert event["message"] == (
            "granted 3600 s by udp:192.0.2.2:5060, before by udp:192.0.2.1:5060"
        )
        assert (event["at"], event["left_out"]) == (NOW, 0)

        node.registrar.status = 503
        node.clock.now = NOW + 3600
        await node.until(lambda: node.registrations.expirations == 2)
        expired = await agent.get(f"/v1/alarms?since={event['id']}")
        assert [(e["kind"], e["trunk"]) for e in expired] == [
            ("registration_expired", "acme"),
            ("registration_expired", "bell"),
        ]
        assert node.of["acme"].state is not State.REGISTERED
        metrics = (await agent.ask("/metrics")).text
        assert '\nwhence_alarms_total{kind="registration_expired"} 2.0\n' in metrics
        assert sum("expired" in r.getMessage() for r in caplog.records) == 2
        assert sum("192.0.2.2" in r.getMessage() for r in caplog.records) == 1

    with_agent(story)


def test_many_unknown_requests_are_an_alarm(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        for number in range(200):
            data = record(source=f"udp:198.51.100.{number}:5060")
            agent.counter.receive(decisions.read(data), data)
        (event,) = await agent.get("/v1/alarms")
        assert (event["kind"], event["trunk"]) == ("many_unknown_requests", None)
        assert event["message"] == (
            "more than 50 requests of unknown sources in a minute, "
            "the last from udp:198.51.100.50:5060"
        )

    with_agent(story)


@pytest.mark.parametrize("query", ["since=-1", "since=x", "limit=0", "limit=1001"])
def test_alarms_with_a_wrong_query_answer_422(with_agent: WithAgent, query: str) -> None:
    async def story(agent: Agent) -> None:
        assert (await agent.ask(f"/v1/alarms?{query}")).status_code == 422

    with_agent(story)
