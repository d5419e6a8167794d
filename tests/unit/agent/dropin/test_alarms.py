"""The alarms on registrations of Kamailio's `uac`."""

from __future__ import annotations

import pytest

from whence.agent.dropin.alarms import UacAlarms
from whence.agent.monitoring.alarms import Alarms
from whence.agent.monitoring.trunk_alarms import TrunkAlarms
from whence.core.registration.history import EXPIRED, EventKind, HistoryEvent
from whence.core.registration.reason import RegistrationReason

REJECTED = HistoryEvent(EventKind.WAITING, "403", 403, RegistrationReason.REJECTED)
NO_ANSWER = HistoryEvent(EventKind.WAITING, "no answer", None, RegistrationReason.NO_ANSWER)
GRANTED = HistoryEvent(EventKind.REGISTERED, "granted 60 s", 200, RegistrationReason.GRANTED)
ELSEWHERE = HistoryEvent(EventKind.REGISTRAR_CHANGED, "granted", 200, RegistrationReason.GRANTED)
UNREGISTERED = HistoryEvent(
    EventKind.UNREGISTERED, "unregistered", 200, RegistrationReason.UNREGISTERED
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    def __init__(self) -> None:
        self.clock = Clock()
        self.alarms = Alarms(clock=self.clock)
        self.trunk_alarms = TrunkAlarms(self.alarms, 300.0, self.clock)
        self.uac = UacAlarms(self.trunk_alarms)

    def happened(self, *events: HistoryEvent) -> None:
        self.uac.happened("acme", events)

    @property
    def open(self) -> list[str]:
        return [str(one.alarm.kind) for one in self.alarms.open]


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("end", [GRANTED, ELSEWHERE, UNREGISTERED], ids=lambda one: one.what)
def test_uac_alarms_end_when_registered_or_unregistered(scene: Scene, end: HistoryEvent) -> None:
    scene.happened(REJECTED, EXPIRED)
    assert scene.open == ["registration_rejected", "registration_expired"]
    scene.happened(end)
    assert scene.open == []


def test_uac_account_without_answers_is_unreachable_later(scene: Scene) -> None:
    scene.happened(NO_ANSWER)
    scene.clock.now += 299
    scene.happened(NO_ANSWER)
    scene.trunk_alarms.tick()
    assert scene.open == []
    scene.clock.now += 1
    scene.trunk_alarms.tick()
    assert scene.open == ["registrar_unreachable"]
