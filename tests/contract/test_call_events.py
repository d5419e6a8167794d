"""The edge reports what becomes of a call: it is answered, it fails, it ends."""

import time
from collections.abc import Iterator

import pytest

from testkit.sip import Message, acknowledgement, reply
from testkit.wait import eventually
from tests.contract.call import Call, cancel, connect, refuse, ring
from tests.contract.reports import Agent
from tests.contract.scene import Scene
from whence.core.dialogs.arrival import Arrival
from whence.core.monitoring.call_progress import CallEvent, EventKind
from whence.ipc.decisions import DecisionReport


class Watched:
    """The reports of a scene, as the agent gets them."""

    def __init__(self, scene: Scene) -> None:
        self.agent = Agent(scene)
        self.decisions: list[DecisionReport] = []

    def decision(self, call: Message) -> DecisionReport:
        """Wait for the decision on a call."""

        def found() -> DecisionReport:
            self._read()
            return next(one for one in self.decisions if one.call_id == call.call_id)

        return eventually(found, what="the decision")

    def events(self, arrival: Arrival, number: int) -> list[CallEvent]:
        """Wait for that many events of a call."""

        def found() -> list[CallEvent]:
            self._read()
            of_call = [one for one in self.agent.events if one.arrival == arrival]
            return of_call if len(of_call) >= number else []

        return eventually(found, what=f"{number} events")

    def _read(self) -> None:
        while not self.agent.is_idle():
            self.decisions.append(self.agent.report())


@pytest.fixture
def watched(scene: Scene) -> Iterator[Watched]:
    watched = Watched(scene)
    yield watched
    watched.agent.close()


def hang_up(scene: Scene, call: Call, *, by_caller: bool) -> None:
    """End a call, and pass the answer to its BYE on."""
    here, there = (call.caller, call.phone) if by_caller else (call.phone, call.caller)
    bye = call.from_caller("BYE") if by_caller else call.from_phone("BYE")
    here.send(bye, scene.edge)
    arrived = there.expect(lambda m: m.method == "BYE" and not m.is_reply)
    there.send(reply(arrived, 200), scene.edge)
    here.expect(lambda m: m.status == 200 and "BYE" in m["CSeq"])


def tag(header: str) -> str:
    return header.rpartition(";tag=")[2]


@pytest.mark.parametrize("by_caller", [True, False])
@pytest.mark.parametrize("contact", [None, "sip:a@{}"])  # the dialog is Kamailio's, or Python's
def test_call_that_ends_has_two_events(
    scene: Scene, watched: Watched, by_caller: bool, contact: str | None
) -> None:
    trunk, phone = scene.line()
    for _ in range(2):  # decided by Python, then by Kamailio
        before = time.time()
        call = connect(scene, trunk.at, phone, contact_of_caller=contact)
        decision = watched.decision(call.sent)
        assert decision.sender.tag == tag(call.sent["From"])
        assert decision.sender.uri == call.sent["From"].partition("<")[2].partition(">")[0]
        assert decision.target.startswith("sip:user-")
        (answered,) = watched.events(decision.arrival, 1)
        assert (answered.kind, answered.status) == (EventKind.ANSWERED, 200)
        assert str(answered.source) == "udp:{}:{}".format(*phone.address)
        assert before <= decision.at <= answered.at <= time.time()
        hang_up(scene, call, by_caller=by_caller)
        _, ended = watched.events(decision.arrival, 2)
        assert ended.kind is EventKind.ENDED
        assert (ended.from_tag == decision.sender.tag) is by_caller
        assert answered.at <= ended.at <= time.time()


@pytest.mark.parametrize("status", [404, 486, 503, 603])
def test_call_that_is_refused_has_its_status(scene: Scene, watched: Watched, status: int) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    refuse(scene, phone, ring(scene, trunk.at, phone, invite), status)
    answer = trunk.at.expect(lambda m: m.status >= 300)
    trunk.at.send(acknowledgement(invite, answer), scene.edge)
    (failed,) = watched.events(watched.decision(invite).arrival, 1)
    assert (failed.kind, failed.status) == (EventKind.FAILED, status)


def test_call_that_is_cancelled_has_487(scene: Scene, watched: Watched) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    arrived = ring(scene, trunk.at, phone, invite)
    trunk.at.send(cancel(invite), scene.edge)
    phone.expect(lambda m: m.method == "CANCEL")
    refuse(scene, phone, arrived, 487)
    (failed,) = watched.events(watched.decision(invite).arrival, 1)
    assert (failed.kind, failed.status) == (EventKind.FAILED, 487)


def test_answer_of_a_callee_names_no_other_call(scene: Scene, watched: Watched) -> None:
    """The callee writes the Call-ID and tags of another call into its answer."""
    trunk, phone = scene.line()
    other, other_phone = scene.line(at="elsewhere")
    theirs = scene.invite(other.at)
    ring(scene, other.at, other_phone, theirs)
    invite = scene.invite(trunk.at)
    arrived = ring(scene, trunk.at, phone, invite)
    forged = reply(arrived, 200, headers=[("Contact", f"<sip:{phone.address[0]}>")])
    headers = [
        (name, theirs[name] if name in ("Call-ID", "From") else value)
        for name, value in forged.headers
    ]
    phone.send(Message(forged.start_line, tuple(headers)), scene.edge)
    scene.await_edge()
    assert watched.decision(theirs)
    own = watched.decision(invite)
    events = [one for one in watched.agent.events if one.arrival != own.arrival]
    assert events == []


def test_refresh_of_a_call_reports_nothing(scene: Scene, watched: Watched) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    decision = watched.decision(call.sent)
    refresh = call.from_caller("INVITE")
    trunk.at.send(refresh, scene.edge)
    arrived = phone.expect(lambda m: m.method == "INVITE" and ";tag=" in m["To"])
    contact = f"<sip:{phone.address[0]}:{phone.address[1]}>"
    phone.send(reply(arrived, 200, headers=[("Contact", contact)]), scene.edge)
    trunk.at.expect(lambda m: m.status == 200 and m["CSeq"] == refresh["CSeq"])
    hang_up(scene, call, by_caller=False)
    assert [one.kind for one in watched.events(decision.arrival, 2)] == ["A", "E"]


def test_bye_of_an_unknown_source_ends_no_call(scene: Scene, watched: Watched) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    decision = watched.decision(call.sent)
    attacker = scene.endpoint()
    assert attacker.ask(call.from_caller("BYE"), scene.edge).status == 481
    hang_up(scene, call, by_caller=True)
    assert [one.kind for one in watched.events(decision.arrival, 2)] == ["A", "E"]
