"""An alarm in the form in which Alertmanager posts alerts to its webhook receivers (version 4)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

NEVER = "0001-01-01T00:00:00Z"
"""What Alertmanager writes for the end of an alert that fires."""

RECEIVER = "whence"


def body(alarm: Mapping[str, Any], instance: str) -> dict[str, object]:
    """Return the body of a POST. `alarm`: of `alarms.as_json`. `instance`: the name of the node."""
    labels = {
        "alertname": _alert_name(alarm["kind"]),
        "kind": alarm["kind"],
        "instance": instance,
        "job": "whence",
        "severity": "warning",
    }
    if alarm["trunk"]:
        labels["trunk"] = alarm["trunk"]
    annotations = {"summary": alarm["message"]}
    if alarm["cleared_message"]:
        annotations["resolution"] = alarm["cleared_message"]
    alert = {
        "status": alarm["status"],
        "labels": labels,
        "annotations": annotations,
        "startsAt": alarm["raised_at"],
        "endsAt": alarm["cleared_at"] or NEVER,
        "generatorURL": "",
        "fingerprint": _fingerprint(labels),
    }
    return {
        "version": "4",
        "groupKey": f"{{}}:{{alertname={labels['alertname']!r}}}".replace("'", '"'),
        "truncatedAlerts": alarm["left_out"],
        "status": alarm["status"],
        "receiver": RECEIVER,
        "groupLabels": {"alertname": labels["alertname"]},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [alert],
    }


def _alert_name(kind: str) -> str:
    """Return a kind in the style of alert names: `registration_expired` → RegistrationExpired."""
    return "Whence" + "".join(word.capitalize() for word in kind.split("_"))


def _fingerprint(labels: Mapping[str, str]) -> str:
    """Return a text that an alarm and its all-clear share, and no other alarm has."""
    text = "\0".join(f"{name}\0{labels[name]}" for name in sorted(labels))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
