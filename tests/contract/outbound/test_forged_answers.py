"""Answers to users' calls that do not come from their trunk, though they have the right branch."""

import re

import pytest

from testkit.sip import Message, reply
from testkit.strict_uas import Behaviour
from tests.contract.outbound.scene import NUMBER, OutScene


def forged(request: Message, status: int) -> Message:
    return reply(request, status, headers=[("Contact", "<sip:x@192.0.2.66>")], to_tag="f")


@pytest.mark.parametrize("status", [183, 200, 302, 486, 503, 603])
def test_answer_from_elsewhere_reaches_no_phone(scene: OutScene, status: int) -> None:
    trunk, second = scene.out_trunk(), scene.out_trunk()
    trunk.server.behaviour = Behaviour(waits=True)
    phone = scene.caller([trunk, second])
    sent = phone.send_call(NUMBER)
    arrived = trunk.server.expect("INVITE")
    phone.ringing(sent)
    scene.endpoint("forger").send(forged(arrived, status), scene.edge)
    assert scene.nothing_came(phone.at)
    trunk.server.answer_now()
    call = phone.answered(sent)
    assert call.target != "sip:x@192.0.2.66"
    assert phone.ask(call, "BYE").status == 200
    assert not second.server.requests("INVITE")


def test_former_trunk_cannot_answer_for_next(scene: OutScene) -> None:
    """A former trunk sees the branch of its own try; that of the next try differs by a number."""
    first, second = scene.out_trunk(), scene.out_trunk()
    first.server.behaviour = Behaviour(503)
    second.server.behaviour = Behaviour(waits=True)
    phone = scene.caller([first, second])
    sent = phone.send_call(NUMBER)
    own, other = first.server.expect("INVITE"), second.server.expect("INVITE")
    phone.ringing(sent)
    branch, number = re.findall(r"branch=(\S+)\.([0-9]+)", other["Via"])[0]
    via = re.sub(r"branch=[^;,\s]+", f"branch={branch}.{number}", own.all("Via")[0], count=1)
    vias = iter([via, *own.all("Via")[1:]])
    fields = tuple((n, next(vias) if n == "Via" else v) for n, v in own.headers)
    for stolen in (Message(own.start_line, fields), own):
        answer = reply(stolen, 200, headers=[("Contact", first.server.contact)], to_tag="f")
        first.server.repeat(answer)
        assert scene.nothing_came(phone.at)
    second.server.answer_now()
    call = phone.answered(sent)
    assert phone.ask(call, "BYE").status == 200
    second.server.expect("BYE")


@pytest.mark.parametrize("status", [200, 481])
def test_forged_answer_to_bye_ends_no_count(scene: OutScene, status: int) -> None:
    """The phone itself could forge it, to call above its limit."""
    trunk = scene.out_trunk()
    phone = scene.caller([trunk], limits={"concurrent_calls": 1})
    call = phone.call(NUMBER)
    trunk.server.custom = lambda message, _: message.method == "BYE"
    bye = phone.request_of(call, "BYE")
    phone.at.send(bye, scene.edge)
    arrived = trunk.server.expect("BYE")
    forger = scene.endpoint("forger")
    forger.send(reply(arrived, status, to_tag=None), scene.edge)
    assert scene.nothing_came(phone.at)
    assert phone.refused(NUMBER).status == 486
    trunk.server.custom = None
    trunk.server.reply(arrived, 200, scene.edge)
    assert phone.result("BYE").status == 200
    assert phone.ask(phone.call(NUMBER), "BYE").status == 200


@pytest.mark.parametrize("status", [408, 481])
def test_bye_that_trunk_refuses_ends_no_count(scene: OutScene, status: int) -> None:
    """A phone can write a BYE that the trunk refuses, while the call goes on."""
    trunk = scene.out_trunk()
    phone = scene.caller([trunk], limits={"concurrent_calls": 1})
    call = phone.call(NUMBER)
    server = trunk.server
    server.custom = lambda message, sender: (
        message.method == "BYE" and bool(server.reply(message, status, sender))
    )
    assert phone.ask(call, "BYE").status == status
    assert phone.refused(NUMBER).status == 486
