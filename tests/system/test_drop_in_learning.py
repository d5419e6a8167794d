"""From which replies to uac's REGISTERs a drop-in learns an address.

An impostor who sees a REGISTER and answers it is not the account's provider.
"""

from dataclasses import dataclass, field

import pytest

from testkit.drop_in import DropIn, Record
from testkit.nameserver import address, srv
from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Endpoint, Message, place, reply, request
from testkit.tracking import Tracking
from testkit.wait import eventually

ACCOUNTS = {"acct1": "secret of acct1"}
USERS = {"alice": "alice's secret"}
ALARM = "reply_from_unexpected_address"
FAST = """event_route[tm:local-request] {
	t_set_fr(1500, 1500);
	python_exec("whence_local_request");
}
"""


@dataclass
class Scene:
    """A uac account whose registrar the test plays, and an impostor who sees its REGISTERs."""

    native: DropIn
    registrar: Endpoint
    impostor: Endpoint
    phone: Endpoint
    seen: set[str] = field(default_factory=set)

    def next_register(self, at: Endpoint | None = None) -> Message:
        """Return the next REGISTER that is not a retransmission."""
        found = (at or self.registrar).expect(
            lambda m: m.method == "REGISTER" and m["Via"] not in self.seen, 20, "a REGISTER"
        )
        self.seen.add(found["Via"])
        return found

    def refresh(self) -> Message:
        self.native.rpc("uac.reg_refresh", "acme")
        return self.next_register()

    def answer(self, register: Message, who: Endpoint) -> None:
        """Grant a REGISTER from any source, and wait until the directory has the grant."""
        contact = f"{register['Contact'].partition(';expires')[0]};expires=600"
        who.send(reply(register, 200, headers=[("Contact", contact)]), self.native.address)
        query = (
            f"SELECT 1 FROM registration WHERE call_id = '{register.call_id}' AND granted_s = 600"
        )
        eventually(lambda: self.native.rows(query), what="the grant in the directory")

    def learned(self) -> dict[str, float]:
        query = "SELECT ip, expires_at FROM address WHERE origin = 'learned'"
        return dict(self.native.rows(query))

    def is_admitted(self, who: Endpoint) -> bool:
        """Make a call from this source; return whether the phone rings."""
        call = request("INVITE", f"sip:acct1@{self.native.address[0]}", who.address)
        if who.address[0] not in self.learned():
            assert who.ask(call, self.native.address).status in (403, 404, 407)
            return False
        who.send(call, self.native.address)
        arrived = self.phone.expect(lambda m: m.call_id == call.call_id, what="the call")
        self.phone.send(reply(arrived, 486), self.native.address)
        who.expect(lambda m: m.status == 486, what="the refusal")
        return arrived["X-Whence-Trunk"] == "acme"


def start(rig: Rig, file: str = "", proxy: str = "", **more: str) -> Scene:
    """Start the drop-in. *file*: content of drop-in.toml; *proxy*: destination of REGISTERs."""
    registrar = rig.endpoint("registrar", SIP_PORT)
    there = rig.provider(accounts=ACCOUNTS)
    native = rig.drop_in(
        records=[Record("acme", "alice", "acct1", there)], users=USERS, start=False, **more
    )
    native.update("uacreg", auth_proxy=proxy or f"sip:{place(registrar.address)}")
    if file:
        (native.folder / "drop-in.toml").write_text(file)
        native.install(native.folder.parent)
    native.start()
    phone = rig.endpoint("phone", SIP_PORT)
    assert phone.register(native.address, "alice", USERS["alice"], native.address[0]).status == 200
    return Scene(native, registrar, rig.endpoint("impostor", SIP_PORT), phone)


def test_impostor_reply_200_admits_no_call(rig: Rig) -> None:
    scene = start(rig)
    registrar, impostor = scene.registrar, scene.impostor
    with Tracking(scene.native) as agent:
        scene.answer(scene.next_register(), impostor)
        assert not scene.is_admitted(impostor)
        (event,) = eventually(lambda: agent.get("/v1/alarms"), what="the alarm")
        assert (event["kind"], event["trunk"]) == (ALARM, "acme")
        assert place(impostor.address) in event["message"]
        assert registrar.address[0] in event["message"]
        assert f"trunk acme: {ALARM}: udp:{place(impostor.address)}" in scene.native.log
        source = f"udp:{place(impostor.address)}"
        output = agent.output("explain", "--source", source, "--ruri", "sip:x@edge.example")
        assert f"acme: a reply to its REGISTER came from {impostor.address[0]}" in output
        assert ALARM in agent.output("trunk", "acme")

        scene.answer(scene.refresh(), registrar)
        before = scene.learned()
        assert before.keys() == {registrar.address[0]}
        scene.answer(scene.refresh(), impostor)
        assert scene.learned() == before, "the address neither ended nor was extended"
        assert scene.is_admitted(registrar)
        assert not scene.is_admitted(impostor)
        kinds = {e["kind"] for e in agent.get("/v1/alarms")}
        assert kinds == {ALARM}, "no alarm about a changed server"


def test_late_reply_of_the_server_is_learned(rig: Rig) -> None:
    scene = start(rig)
    register = scene.next_register()
    scene.answer(register, scene.impostor)
    contact = f"{register['Contact'].partition(';expires')[0]};expires=600"
    granted = reply(register, 200, headers=[("Contact", contact)])
    scene.registrar.send(granted, scene.native.address)
    eventually(
        lambda: scene.learned().keys() == {scene.registrar.address[0]},
        what="the address of the server",
    )
    assert scene.is_admitted(scene.registrar)
    assert not scene.is_admitted(scene.impostor)


@pytest.mark.parametrize("how", ["networks", "all", "one"])
def test_source_permitted_by_drop_in_toml_is_learned(rig: Rig, how: str) -> None:
    ip = rig.ip("impostor")
    file = {
        "networks": f'[networks]\nacme = ["{ip}"]\n',
        "all": 'learn_from = "any"\n',
        "one": '[learn_from]\nacme = "any"\n',
    }[how]
    scene = start(rig, file)
    scene.answer(scene.next_register(), scene.impostor)
    assert scene.learned().keys() == {ip}
    assert scene.is_admitted(scene.impostor)
    assert ALARM not in scene.native.log


def test_networks_of_another_account_permit_nothing(rig: Rig) -> None:
    ip = rig.ip("impostor")
    scene = start(rig, f'learn_from = {{bell = "any"}}\n[networks]\nbell = ["{ip}"]\n')
    scene.answer(scene.next_register(), scene.impostor)
    assert scene.learned() == {}


def test_second_server_of_a_failover_is_learned(rig: Rig) -> None:
    """Kamailio's tm sends to it without the event route. An impostor stays rejected."""
    second = rig.endpoint("second", SIP_PORT)
    dns = rig.nameserver(
        srv("_sip._udp.provider.example", "one.example", priority=1),
        srv("_sip._udp.provider.example", "two.example", priority=2),
        address("one.example", rig.ip("registrar")),
        address("two.example", rig.ip("second")),
        port=53,
    )
    scene = start(
        rig,
        proxy="sip:provider.example",
        settings="use_dns_failover=on\nuse_dns_cache=on\ndns_try_naptr=no\n",
        nameserver=dns.address[0],
        own_event_route=FAST,
    )
    scene.next_register()
    scene.answer(scene.next_register(second), second)
    assert scene.learned().keys() == {second.address[0]}
    assert scene.is_admitted(second)
    scene.native.rpc("uac.reg_refresh", "acme")
    scene.answer(scene.next_register(second), scene.impostor)
    assert scene.learned().keys() == {second.address[0]}
    assert not scene.is_admitted(scene.impostor)
