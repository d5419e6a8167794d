"""Keep-alive: OPTIONS to the server that granted, and the effect of missing answers."""

import pytest

from testkit.rig import Rig
from testkit.sip import Message
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.registrar import Registrar, new_registrar


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    return shared_rig.whence(users=["alice"], agent={"on_stop": "leave"})


def options(registrar: Registrar) -> Message:
    """Return the next OPTIONS at the registrar."""
    return registrar.endpoint.expect(
        lambda message: not message.is_reply and message.method == "OPTIONS", what="an OPTIONS"
    )


def keepalive(registrar: Registrar) -> dict[str, int]:
    details = registrar.trunk()["keepalive"]
    assert isinstance(details, dict)
    return details


@pytest.mark.parametrize("status", [200, 404, 501])
def test_keepalive_any_answer_counts(shared_rig: Rig, whence: Whence, status: int) -> None:
    registrar = new_registrar(shared_rig, whence, keepalive=1)
    granted = registrar.granted()
    register = options(registrar)
    assert (register.source, register.request_uri) == (whence.address, granted.request_uri)
    assert register.call_id != granted.call_id
    assert not [name for name, _ in register.headers if name.lower().startswith("x-whence")]
    registrar.answer(register, status)
    eventually(
        lambda: keepalive(registrar)["last_status"] == status, what="the status of the answer"
    )
    assert keepalive(registrar)["missed"] == 0


def test_keepalive_missed_three_times_refreshes_once(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence, keepalive=1)
    registrar.granted()
    due_at = registrar.trunk()["next_at"]
    registrar.grant(registrar.next_register())
    eventually(lambda: registrar.trunk()["state"] == "registered", what="a new grant")
    assert registrar.trunk()["next_at"] != due_at
    eventually(lambda: keepalive(registrar)["missed"] >= 5, what="two more missed answers")
    since = [Message.parse(data).method for data in registrar.endpoint.waiting()]
    assert set(since) <= {"OPTIONS"}, "no further REGISTER"
    events = whence.get(f"/v1/trunks/{registrar.trunk_id}")["events"]
    assert [event["what"] for event in events].count("keepalive_failed") == 1
    assert "unanswered since" in whence.cli("trunk", registrar.trunk_id).stdout
