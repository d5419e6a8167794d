"""A socket with `advertise = "auto"`: the caller reaches us at the address that it used."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from testkit.sip import Endpoint, Message, reply, request
from tests.contract.scene import Scene
from tests.contract.world import Caller, World

PUBLIC = "203.0.113.7:1024"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("auto"), advertise="auto") as world:
        yield world


@dataclass
class Dialog:
    """A call to the public address, which was answered."""

    trunk: Caller
    pbx: Endpoint
    invite: Message
    arrived: Message
    ringing: Message
    answer: Message

    def from_caller(self, method: str, route: str | None = None, cseq: int = 2) -> Message:
        return request(
            method,
            f"sip:pbx@{self.pbx.address[0]}:{self.pbx.address[1]}",
            self.trunk.at.address,
            from_uri="sip:tester@invalid",
            to_uri=self.invite["To"].strip("<>"),
            from_tag=self.invite["From"].partition("tag=")[2],
            to_tag="rig",
            call_id=self.invite.call_id,
            cseq=cseq,
            headers=[("Route", route or self.answer["Record-Route"])],
        )

    def from_pbx(self, method: str) -> Message:
        return request(
            method,
            self.arrived["Contact"].strip("<>"),
            self.pbx.address,
            from_uri=self.invite["To"].strip("<>"),
            to_uri="sip:tester@invalid",
            from_tag="rig",
            to_tag=self.invite["From"].partition("tag=")[2],
            call_id=self.invite.call_id,
            headers=[("Route", self.arrived["Record-Route"])],
        )


def connect(scene: Scene, ruri: str, at: str = "provider") -> Dialog:
    pbx = scene.endpoint("pbx")
    trunk = scene.trunk(f"sip:pbx@{pbx.address[0]}:{pbx.address[1]}", at=at)
    invite = request("INVITE", ruri, trunk.at.address)
    trunk.at.send(invite, scene.edge)
    arrived = pbx.expect(lambda m: m.call_id == invite.call_id)
    contact = ("Contact", f"<sip:pbx@{pbx.address[0]}:{pbx.address[1]}>")
    pbx.send(reply(arrived, 180, headers=[contact]), scene.edge)
    ringing = trunk.at.expect(lambda m: m.status == 180)
    pbx.send(reply(arrived, 200, headers=[contact]), scene.edge)
    answer = trunk.at.expect(lambda m: m.status == 200)
    return Dialog(trunk, pbx, invite, arrived, ringing, answer)


def test_record_route_for_the_caller_has_the_address_it_used(scene: Scene) -> None:
    dialog = connect(scene, f"sip:x@{PUBLIC}")
    assert dialog.arrived["Record-Route"].startswith(f"<sip:{scene.edge[0]};")
    for answer in (dialog.ringing, dialog.answer):
        assert answer["Record-Route"].startswith(f"<sip:{PUBLIC};")
        assert scene.edge[0] not in str(answer)


def test_dialog_with_the_public_route_passes_both_ways(scene: Scene) -> None:
    dialog = connect(scene, f"sip:x@{PUBLIC}")
    dialog.trunk.at.send(dialog.from_caller("ACK", cseq=1), scene.edge)
    ack = dialog.pbx.expect(lambda m: m.method == "ACK")
    assert "Route" not in ack
    dialog.pbx.send(dialog.from_pbx("INFO"), scene.edge)
    info = dialog.trunk.at.expect(lambda m: m.method == "INFO")
    dialog.trunk.at.send(reply(info, 200), scene.edge)
    dialog.trunk.at.send(dialog.from_caller("BYE"), scene.edge)
    bye = dialog.pbx.expect(lambda m: m.method == "BYE")
    assert "Route" not in bye
    dialog.pbx.send(reply(bye, 200), scene.edge)
    ended = dialog.trunk.at.expect(lambda m: m.method == "BYE" and m.is_reply)
    assert ended.status == 200


@pytest.mark.parametrize("host", ["edge.example", "{edge}", "{caller}", "[2001:db8::9]:5060"])
def test_record_route_of_other_request_uris_works(scene: Scene, host: str) -> None:
    """The edge copies no host name of the provider into Record-Route; a dialog works with each."""
    caller = scene.endpoint("provider")
    host = host.format(edge=scene.edge[0], caller=caller.address[0])
    dialog = connect(scene, f"sip:x@{host}")
    dialog.trunk.at.send(dialog.from_caller("BYE"), scene.edge)
    assert dialog.pbx.expect(lambda m: m.method == "BYE")


def test_route_with_another_cookie_is_refused(scene: Scene) -> None:
    dialog, other = (connect(scene, f"sip:x@{PUBLIC}", at) for at in ("provider", "other"))
    route = dialog.answer["Record-Route"]
    wrong = [
        other.answer["Record-Route"],
        re.sub(r"whence=[0-9a-f]{8}", "whence=00000000", route),
        re.sub(r";whence=[0-9a-f]+", "", route),
    ]
    for bad in wrong:
        answer = dialog.trunk.at.ask(dialog.from_caller("INFO", bad), scene.edge)
        assert answer.status == 481
    assert scene.nothing_came(dialog.pbx)


def test_second_route_of_another_host_is_refused(scene: Scene) -> None:
    """The cookie makes the first Route ours. A second one with it would leave for its host."""
    dialog = connect(scene, f"sip:x@{PUBLIC}")
    route = dialog.answer["Record-Route"]
    evil = route.replace(f"sip:{PUBLIC}", "sip:198.51.100.66:5060")
    answer = dialog.trunk.at.ask(dialog.from_caller("INFO", f"{route}, {evil}"), scene.edge)
    assert answer.status == 481
    assert scene.nothing_came(dialog.pbx)


def test_advertised_name_without_dns_starts_and_works(tmp_path: Path) -> None:
    """Kamailio would not start with a name in `listen` that DNS does not answer."""
    with World(tmp_path, advertise="sip.nowhere.invalid") as world, Scene(world) as scene:
        dialog = connect(scene, f"sip:x@{PUBLIC}")
        assert dialog.answer["Record-Route"].startswith(f"<sip:{PUBLIC};")
        dialog.trunk.at.send(dialog.from_caller("BYE"), scene.edge)
        assert dialog.pbx.expect(lambda m: m.method == "BYE")
