"""The edge sends a report of each decision on an initial request to the agent's socket."""

from collections.abc import Callable

import pytest

from testkit.sip import request
from tests.contract.reports import Agent
from tests.contract.scene import Scene
from whence.ipc.decisions import DecisionKind


def test_report_of_a_call_has_its_trunk_and_from_cache(scene: Scene, agent: Agent) -> None:
    trunk, phone = scene.line(numbers=("+44201234",))
    for from_cache in (False, True):
        invite = scene.invite(trunk.at, "+44201234", to_uri="sip:+44201234@edge.example")
        trunk.at.send(invite, scene.edge)
        phone.expect(lambda m: m.method == "INVITE", what="the call")
        report = agent.report()
        assert (report.call_id, report.method) == (invite.call_id, "INVITE")
        assert (report.kind, report.trunk, report.rule) == (
            DecisionKind.IDENTIFIED,
            trunk.id,
            "number",
        )
        assert report.message == f"number of trunk {trunk.id}"
        ip, port = trunk.at.address
        assert str(report.source) == f"udp:{ip}:{port}"
        assert (report.ruri, report.to) == (invite.request_uri, "sip:+44201234@edge.example")
        assert report.from_cache is from_cache


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "MESSAGE", "SUBSCRIBE", "MADEUP"])
def test_report_of_an_unknown_source_is_sent(scene: Scene, agent: Agent, method: str) -> None:
    unknown_source = scene.endpoint()
    asked = request(method, scene.uri("+4420"), unknown_source.address)
    assert unknown_source.ask(asked, scene.edge).status == 403
    report = agent.report()
    assert (report.kind, report.method, report.trunk) == (DecisionKind.UNKNOWN, method, None)
    assert (report.call_id, report.ruri) == (asked.call_id, scene.uri("+4420"))


def test_report_of_a_refusal_names_its_trunks(scene: Scene, agent: Agent) -> None:
    elsewhere = scene.trunk("nobody", at="elsewhere")
    trunk = scene.trunk("nobody")
    stolen = scene.invite(trunk.at, elsewhere.token)
    assert trunk.at.ask(stolen, scene.edge).status == 403
    report = agent.report()
    assert (report.kind, report.reason) == (DecisionKind.REFUSED, "token_from_wrong_source")
    assert report.named == (elsewhere.id,)


@pytest.mark.parametrize(
    ("method", "kind"),
    [("OPTIONS", DecisionKind.IDENTIFIED), ("SUBSCRIBE", DecisionKind.REFUSED)],
)
def test_report_of_a_trunks_other_methods_is_sent(
    scene: Scene, agent: Agent, method: str, kind: DecisionKind
) -> None:
    trunk = scene.trunk("nobody")
    trunk.at.ask(request(method, scene.uri(), trunk.at.address), scene.edge)
    report = agent.report()
    assert (report.kind, report.named, report.method) == (kind, (trunk.id,), method)


def test_report_of_a_call_to_an_absent_phone_is_sent(scene: Scene, agent: Agent) -> None:
    trunk = scene.trunk(scene.user())
    assert trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 480
    assert agent.report().trunk == trunk.id
    assert agent.report().reason == "user_not_registered"


SEPARATORS = "a\x1fb\x1fc"


def _call_id(scene: Scene) -> dict[str, object]:
    return {"call_id": scene.name(SEPARATORS)}


def _to(scene: Scene) -> dict[str, object]:
    return {"to_uri": f"sip:{SEPARATORS}@x"}


def _latin(scene: Scene) -> dict[str, object]:
    return {"headers": [("P-Called-Party-ID", "\udce9 <sip:\udcff@x>")]}


@pytest.mark.parametrize("hostile", [_call_id, _to, _latin])
def test_report_with_hostile_headers_is_unknown_source(
    scene: Scene, agent: Agent, hostile: Callable[[Scene], dict[str, object]]
) -> None:
    unknown_source = scene.endpoint()
    parts = hostile(scene)
    answer = unknown_source.ask(scene.invite(unknown_source, **parts), scene.edge)  # type: ignore[arg-type]
    if answer.status == 400:  # Kamailio's own answer, before the decision
        assert agent.is_idle()
        return
    assert answer.status == 403
    report = agent.report()
    assert (report.kind, report.named) == (DecisionKind.UNKNOWN, ())
    if "call_id" in parts:
        assert report.call_id == parts["call_id"]


def test_calls_without_a_listener_pass_and_count_as_dropped(
    scene: Scene,
) -> None:
    unknown_source = scene.endpoint()

    def refused() -> None:
        assert unknown_source.ask(scene.invite(unknown_source), scene.edge).status == 403

    first = Agent(scene)
    refused()
    first.report()
    first.close()
    for _ in range(3):
        refused()
    second = Agent(scene)
    refused()
    # The edge answers before it reports: the last of the three may reach the new socket.
    received = 0
    while received + second.dropped < 4:
        second.report()
        received += 1
    assert second.dropped >= 2
    dropped = second.dropped
    refused()
    second.report()
    assert second.dropped == dropped
    second.close()


def test_reports_that_an_ended_agent_left_unread_are_counted(scene: Scene) -> None:
    """The kernel drops the queue of an agent that is killed; the worker knows what was in it."""
    unknown_source = scene.endpoint()

    def refused() -> None:
        assert unknown_source.ask(scene.invite(unknown_source), scene.edge).status == 403

    first = Agent(scene)
    refused()
    first.report()
    for _ in range(3):
        refused()
    first.close()
    second = Agent(scene)
    for _ in range(2):  # the worker detects the end at its first report, and counts in the second
        refused()
    received = 0
    while received + second.dropped < 5:
        second.report()
        received += 1
    assert (received, second.dropped) in {(2, 3), (3, 2)}, "the last of the three may be late"
    second.close()
