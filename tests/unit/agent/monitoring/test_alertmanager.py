"""Alarms in the form in which Alertmanager posts alerts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from tests.unit.agent.monitoring.reports import NOW
from whence.agent.monitoring.alarms import RaisedAlarm, as_json
from whence.agent.monitoring.alertmanager import body
from whence.core.monitoring.alarms import Alarm, AlarmKind

ALARM = RaisedAlarm(
    7, NOW, Alarm(AlarmKind.REGISTRATION_EXPIRED, "acme", "it expired", 2), NOW, lasting=True
)


def alert_of(raised: RaisedAlarm) -> dict[str, Any]:
    (alert,) = cast("list[dict[str, Any]]", body(as_json(raised), "edge1")["alerts"])
    return alert


def test_body_of_an_alarm_has_one_alert() -> None:
    made = body(as_json(ALARM), "edge1")
    labels = {
        "alertname": "WhenceRegistrationExpired",
        "kind": "registration_expired",
        "instance": "edge1",
        "job": "whence",
        "severity": "warning",
        "trunk": "acme",
    }
    (alert,) = cast("list[Any]", made.pop("alerts"))
    assert made == {
        "version": "4",
        "groupKey": '{}:{alertname="WhenceRegistrationExpired"}',
        "truncatedAlerts": 2,
        "status": "firing",
        "receiver": "whence",
        "groupLabels": {"alertname": "WhenceRegistrationExpired"},
        "commonLabels": labels,
        "commonAnnotations": {"summary": "it expired"},
        "externalURL": "",
    }
    fingerprint = alert.pop("fingerprint")
    assert len(fingerprint) == 16
    assert alert == {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": "it expired"},
        "startsAt": "1970-01-12T13:46:40Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
    }


def test_body_of_an_all_clear_has_the_same_fingerprint() -> None:
    cleared = replace(ALARM, id=8, cleared_at=NOW + 60, cleared_message="registered again")
    fires, ends = alert_of(ALARM), alert_of(cleared)
    assert ends["fingerprint"] == fires["fingerprint"]
    assert (ends["status"], ends["endsAt"]) == ("resolved", "1970-01-12T13:47:40Z")
    assert ends["annotations"]["resolution"] == "registered again"


def test_body_of_another_trunk_has_another_fingerprint() -> None:
    other = replace(ALARM, alarm=Alarm(AlarmKind.REGISTRATION_EXPIRED, "bell", "it expired", 0))
    assert alert_of(ALARM)["fingerprint"] != alert_of(other)["fingerprint"]
