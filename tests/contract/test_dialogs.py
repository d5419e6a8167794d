"""Dialogs of calls that the edge let in: only their own requests pass."""

import re
import time
from dataclasses import replace

import pytest

from testkit.sip import Message, reply, request
from tests.contract.call import Call, cancel, connect, refuse, ring
from tests.contract.scene import Scene
from whence.core.dialogs.arrival import Arrival
from whence.core.dialogs.cookie import COOKIE_LENGTH, OLD_S, new_id, write_cookie
from whence.core.dialogs.record import Side


def test_call_passes_from_invite_to_bye(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    assert call.route.startswith(f"<sip:{scene.edge[0]};lr")
    trunk.at.send(call.from_caller("BYE"), scene.edge)
    bye = phone.receive()
    assert bye.method == "BYE"
    assert "Route" not in bye
    phone.send(reply(bye, 200), scene.edge)
    assert trunk.at.receive().status == 200


def test_bye_of_the_phone_passes(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    phone.send(call.from_phone("BYE"), scene.edge)
    bye = trunk.at.receive()
    assert bye.method == "BYE"
    trunk.at.send(reply(bye, 200), scene.edge)
    assert phone.receive().status == 200


@pytest.mark.parametrize(
    ("sent", "received"), [(486, 486), (404, 404), (603, 603), (500, 500), (503, 500)]
)
def test_refusal_of_the_phone_reaches_the_caller(scene: Scene, sent: int, received: int) -> None:
    """A 503 becomes a 500: else the provider would consider the edge down (RFC 3261 16.7)."""
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    arrived = ring(scene, trunk.at, phone, invite)
    refuse(scene, phone, arrived, sent)
    answer = trunk.at.receive()
    assert answer.status == received


@pytest.mark.parametrize("method", ["BYE", "INVITE", "INFO", "UPDATE", "MESSAGE", "REFER", "ODD"])
def test_request_with_only_a_to_tag_is_refused(scene: Scene, method: str) -> None:
    trunk, phone = scene.line()
    for who in (trunk.at, scene.endpoint()):
        ask = request(method, scene.uri("+4420"), who.address, to_tag="made-up")
        answer = who.ask(ask, scene.edge)
        assert answer.status == 481
    assert scene.nothing_came(phone)


def bad_routes(scene: Scene, good: str, somebody_elses: str) -> dict[str, str]:
    """Return Route headers without a valid cookie."""
    cookie = re.compile("whence=[0-9a-f]+")
    return {
        "none": "",
        "without the cookie": good.replace(";" + cookie.findall(good)[0], ""),
        "an empty one": cookie.sub("whence=", good),
        "a made-up one": cookie.sub("whence=" + "0" * COOKIE_LENGTH, good),
        "a part of it": re.sub("(whence=[0-9a-f]+)[0-9a-f]", r"\1", good),
        "another end": re.sub("(whence=[0-9a-f]+)[0-9a-f]{4}", r"\g<1>0000", good),
        "another middle": re.sub("(whence=[0-9a-f]{30})[0-9a-f]{4}", r"\g<1>0000", good),
        "a NUL in it": re.sub("(whence=[0-9a-f]{30})[0-9a-f]", "\\g<1>\0", good),
        "of another call": somebody_elses,
        "bytes": cookie.sub("whence=\udcff\udcfe", good),
    }


@pytest.mark.parametrize("route", list(bad_routes(None, ";whence=0", "")))  # type: ignore[arg-type]
def test_request_without_the_dialogs_cookie_is_refused(scene: Scene, route: str) -> None:
    trunk, phone = scene.line()
    call, other = connect(scene, trunk.at, phone), connect(scene, trunk.at, phone)
    value = bad_routes(scene, call.route, other.route)[route]
    for method in ("BYE", "INVITE", "INFO"):
        expected = 400 if "\0" in value else 481
        assert trunk.at.ask(call.from_caller(method, value), scene.edge).status == expected
    assert scene.nothing_came(phone)


def cookie_of(
    scene: Scene,
    call: Call,
    age_s: float,
    *,
    to: Side = Side.CALLEE,
    there: str | None = None,
    from_ip: str | None = None,
) -> str:
    """Return the Route from the caller to the phone in a call of that age."""
    ip, port = call.phone.address
    cookie = write_cookie(
        scene.world.books.dialog_key,
        new_id(Arrival.of(time.time() - age_s), "0123456789abcdef"),
        call.sent.call_id,
        f"udp:{call.caller.address[0]}:{call.caller.address[1]}",
        to,
        (there or f"udp:{ip}:{port}",),
        call.caller.address[0] if from_ip is None else from_ip,
    )
    return re.sub("whence=[0-9a-f]+", f"whence={cookie}", call.route)


def test_cookie_older_than_kamailio_opens_its_dialog(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    for age_s, status in ((400 * OLD_S, 200), (-60, 481), (-OLD_S, 481), (OLD_S - 60, 200)):
        for method in ("INFO", "INVITE"):
            trunk.at.send(call.from_caller(method, cookie_of(scene, call, age_s)), scene.edge)
            for arrived in scene.came(phone):
                phone.send(reply(arrived, 200), scene.edge)
            answer = trunk.at.expect(lambda m: m.status >= 200)
            assert answer.status == status, (age_s, method)


@pytest.mark.parametrize(
    ("method", "age_s", "status"),
    [
        ("INVITE", OLD_S - 60, 200),
        ("INVITE", OLD_S + 2, 481),
        ("REFER", OLD_S + 2, 481),
        ("MESSAGE", OLD_S + 2, 481),
        ("BYE", 400 * OLD_S, 200),
        ("UPDATE", 400 * OLD_S, 200),
    ],
)
def test_cookie_of_an_unknown_source_begins_nothing_after_a_day(
    scene: Scene, method: str, age_s: int, status: int
) -> None:
    """The callee of a dialog without a record may be any source (docs/decisions/0021)."""
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    unknown = scene.endpoint()
    ip, port = trunk.at.address
    route = cookie_of(scene, call, age_s, to=Side.CALLER, there=f"udp:{ip}:{port}", from_ip="")
    sent = replace(call, phone=unknown).from_phone(method)
    fields = tuple((n, route if n == "Route" else v) for n, v in sent.headers)
    unknown.send(Message(sent.start_line, fields), scene.edge)
    for arrived in scene.came(trunk.at):
        trunk.at.send(reply(arrived, 200), scene.edge)
    assert unknown.expect(lambda m: m.status >= 200).status == status


def test_cookie_older_than_kamailio_opens_no_other_dialog(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    ip, port = scene.endpoint("victim").address
    routes = {
        "another way": cookie_of(scene, call, 3600, there=f"udp:{ip}:{port}"),
        "the other party": cookie_of(scene, call, 3600, to=Side.CALLER),
        "another caller": cookie_of(scene, call, 3600, from_ip="192.0.2.1"),
        "an unknown one": cookie_of(scene, call, 3600, from_ip=""),
    }
    for what, route in routes.items():
        assert trunk.at.ask(call.from_caller("INFO", route), scene.edge).status == 481, what
    assert scene.nothing_came(phone)


def test_ack_without_the_cookie_is_dropped(scene: Scene) -> None:
    trunk, phone = scene.line()
    call, other = connect(scene, trunk.at, phone), connect(scene, trunk.at, phone)
    for value in bad_routes(scene, call.route, other.route).values():
        trunk.at.send(call.from_caller("ACK", value, call_id=scene.name("call")), scene.edge)
        assert scene.nothing_came(trunk.at, phone)


def test_ack_of_a_call_without_the_cookie_is_dropped(scene: Scene) -> None:
    trunk, phone = scene.line()
    call, victim = connect(scene, trunk.at, phone), scene.endpoint("victim")
    ack = call.from_caller("ACK", "")
    there = f"ACK sip:{victim.address[0]}:{victim.address[1]} SIP/2.0"
    for start_line in (ack.start_line, there):
        trunk.at.send(Message(start_line, ack.headers), scene.edge)
    assert scene.nothing_came(trunk.at, phone, victim)


def test_cookie_with_another_destination_is_refused(scene: Scene) -> None:
    trunk, phone = scene.line()
    call, victim = connect(scene, trunk.at, phone), scene.endpoint("victim")
    ip, port = victim.address
    cookie = re.findall("whence=[0-9a-f]+", call.route)[0]
    trunk.at.send(call.from_caller("INFO", f"<sip:{ip}:{port};lr;{cookie}>"), scene.edge)
    assert scene.nothing_came(victim)


def test_cookie_in_another_parameter_or_header_is_ignored(scene: Scene) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    bare = f"<sip:{scene.edge[0]};lr>"
    ask = call.from_caller("INFO", bare, headers=[("Record-Route", call.route)])
    assert trunk.at.ask(ask, scene.edge).status == 481
    assert scene.nothing_came(phone)


def test_cancel_reaches_the_phone_and_brings_a_487(scene: Scene) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    arrived = ring(scene, trunk.at, phone, invite)
    trunk.at.send(cancel(invite), scene.edge)
    cancelled = phone.receive()
    assert cancelled.method == "CANCEL"
    assert cancelled["Via"] == arrived["Via"]
    phone.send(reply(cancelled, 200), scene.edge)
    refuse(scene, phone, arrived, 487)
    statuses = {m["CSeq"].split()[1]: m.status for m in scene.came(trunk.at)}
    assert statuses == {"CANCEL": 200, "INVITE": 487}


def test_cancel_without_an_invite_gets_481(scene: Scene) -> None:
    trunk, phone = scene.line()
    for who in (trunk.at, scene.endpoint()):
        assert who.ask(cancel(scene.invite(who)), scene.edge).status == 481
    assert scene.nothing_came(phone)


def test_invite_retransmitted_reaches_the_phone_once(scene: Scene) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    ring(scene, trunk.at, phone, invite)
    trunk.at.send(invite, scene.edge)
    assert scene.nothing_came(phone)
    assert {m.status for m in scene.came(trunk.at)} <= {100, 180}


def test_invite_retransmitted_gets_its_refusal_again(scene: Scene) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    arrived = ring(scene, trunk.at, phone, invite)
    refuse(scene, phone, arrived, 486)
    assert trunk.at.receive().status == 486
    trunk.at.send(invite, scene.edge)
    assert 486 in {m.status for m in scene.came(trunk.at)}
    assert scene.nothing_came(phone)
