"""Users' calls through trunks, with a real agent: it registers them, and reports each call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from testkit.calling_phone import Phone
from testkit.digest import Realm
from testkit.rig import Rig
from testkit.strict_uas import Behaviour, StrictUas
from testkit.wait import eventually
from testkit.whence import Whence

NUMBER = "+442079460000"
EVERY = ("REGISTER", "INVITE", "BYE")


@dataclass
class Node:
    whence: Whence
    first: StrictUas
    second: StrictUas
    phone: Phone


@pytest.fixture
def node() -> Iterator[Node]:
    with Rig() as rig:
        whence = rig.whence(start=False, edge={"country": "44"})
        servers = [
            StrictUas(rig.ip(name), realms=[Realm(methods=EVERY)], edge=whence.address)
            for name in ("first", "second")
        ]
        trunks = [
            {
                "id": id_,
                "registrar": f"sip:{server.address[0]}",
                "user": "acct1",
                "password": "secret",
                "target": "sip:alice@edge.example",
            }
            for id_, server in zip(("first", "second"), servers, strict=True)
        ]
        alice = {"name": "alice", "password": "secret", "trunks": ["first", "second"]}
        whence.edit(trunks=trunks, users=[alice])
        whence.start()
        whence.wait_registered()
        with rig.endpoint("phone") as endpoint, servers[0] as first, servers[1] as second:
            phone = Phone(endpoint, whence.address, "alice", "secret", "edge.example")
            assert (
                endpoint.register(whence.address, "alice", "secret", "edge.example").status == 200
            )
            yield Node(whence, first, second, phone)
            assert first.faults + second.faults + phone.faults == []


def test_call_out_leaves_by_the_registered_trunk(node: Node) -> None:
    call = node.phone.call(NUMBER)
    invite = node.first.requests("INVITE")[-1]
    contact = node.first.requests("REGISTER")[-1]["Contact"].partition(">")[0]
    assert invite["Contact"].startswith(contact)
    assert node.phone.ask(call, "BYE").status == 200
    (told,) = eventually(lambda: ended(node), what="the end of the call")
    assert told["direction"] == "out"
    assert told["user"] == "alice"
    assert told["called"] == NUMBER
    assert told["trunk"] == "first"
    assert told["hung_up_by"] == "caller"


def test_call_out_tells_each_trunk_that_was_tried(node: Node) -> None:
    node.first.behaviour = Behaviour(503)
    call = node.phone.call(NUMBER)
    assert node.phone.ask(call, "BYE").status == 200
    (told,) = eventually(lambda: ended(node), what="the end of the call")
    tried = [(one["trunk"], one["status"], one["reason"]) for one in told["tried"]]
    assert tried[0] == ("first", 500, "unavailable")
    assert tried[1][0] == "second"
    assert told["trunk"] == "second"


def test_call_out_that_all_trunks_fail_raises_alarm(node: Node) -> None:
    node.first.behaviour = node.second.behaviour = Behaviour(503)
    assert node.phone.refused(NUMBER).status == 500
    kinds = eventually(lambda: [a["kind"] for a in node.whence.get("/v1/alarms")], what="an alarm")
    assert "all_trunks_failed" in kinds


def ended(node: Node) -> list[dict[str, Any]]:
    return [call for call in node.whence.get("/v1/calls") if call.get("ended_at")]
