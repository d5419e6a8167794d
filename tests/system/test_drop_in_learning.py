"""A drop-in's uac registers; whoever else answers its REGISTERs is not the record's provider."""

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
class Story:
    """A record whose registrar is played by hand; an impostor who sees its REGISTERs."""

    native: DropIn
    registrar: Endpoint
    impostor: Endpoint
    phone: Endpoint
    seen: set[str] = field(default_factory=set)

    def asked(self, at: Endpoint | None = None) -> Message:
        """Return the next REGISTER that is no retransmission."""
        found = (at or self.registrar).expect(
            lambda m: m.method == "REGISTER" and m["Via"] not in self.seen, 20, "a REGISTER"
        )
        self.seen.add(found["Via"])
        return found

    def refresh(self) -> Message:
        self.native.rpc("uac.reg_refresh", "acme")
        return self.asked()

    def answer(self, asked: Message, who: Endpoint) -> None:
        """Grant a REGISTER from anywhere, and wait until that is written down."""
        contact = f"{asked['Contact'].partition(';expires')[0]};expires=600"
        who.send(reply(asked, 200, headers=[("Contact", contact)]), self.native.address)
        query = f"SELECT 1 FROM registration WHERE call_id = '{asked.call_id}' AND granted_s = 600"
        eventually(lambda: self.native.rows(query), what="it is written down")

    def learned(self) -> dict[str, float]:
        query = "SELECT ip, expires_at FROM address WHERE origin = 'learned'"
        return dict(self.native.rows(query))

    def is_admitted(self, who: Endpoint) -> bool:
        """Call from there: the phone rings, or the call is refused."""
        call = request("INVITE", f"sip:acct1@{self.native.address[0]}", who.address)
        if who.address[0] not in self.learned():
            assert who.ask(call, self.native.address).status in (403, 404, 407)
            return False
        who.send(call, self.native.address)
        arrived = self.phone.expect(lambda m: m.call_id == call.call_id, what="the call")
        self.phone.send(reply(arrived, 486), self.native.address)
        who.expect(lambda m: m.status == 486, what="the refusal")
        return arrived["X-Whence-Trunk"] == "acme"


def start(rig: Rig, file: str = "", proxy: str = "", **more: str) -> Story:
    """Start it; *file*: what drop-in.toml says, *proxy*: where the REGISTERs go."""
    registrar = rig.endpoint("registrar", SIP_PORT)
    there = rig.provider(accounts=ACCOUNTS)
    native = rig.drop_in(
        records=[Record("acme", "alice", "acct1", there)], users=USERS, start=False, **more
    )
    native.update("uacreg", auth_proxy=proxy or f"sip:{place(registrar.address)}")
    if file:
        (native.folder / "drop-in.toml").write_text(file)
        native.say(native.folder.parent)
    native.start()
    phone = rig.endpoint("phone", SIP_PORT)
    assert phone.register(native.address, "alice", USERS["alice"], native.address[0]).status == 200
    return Story(native, registrar, rig.endpoint("impostor", SIP_PORT), phone)


def test_an_impostors_200_admits_none_of_his_calls(rig: Rig) -> None:
    story = start(rig)
    registrar, impostor = story.registrar, story.impostor
    with Tracking(story.native) as agent:
        story.answer(story.asked(), impostor)
        assert not story.is_admitted(impostor)
        (event,) = eventually(lambda: agent.get("/v1/alarms"), what="the alarm")
        assert (event["kind"], event["trunk"]) == (ALARM, "acme")
        assert place(impostor.address) in event["message"]
        assert registrar.address[0] in event["message"]
        assert f"trunk acme: {ALARM}: udp:{place(impostor.address)}" in story.native.log
        source = f"udp:{place(impostor.address)}"
        said = agent.says("explain", "--source", source, "--ruri", "sip:x@edge.example")
        assert f"acme: a reply to its REGISTER came from {impostor.address[0]}" in said
        assert ALARM in agent.says("trunk", "acme")

        story.answer(story.refresh(), registrar)
        before = story.learned()
        assert before.keys() == {registrar.address[0]}
        story.answer(story.refresh(), impostor)
        assert story.learned() == before, "neither ended nor extended"
        assert story.is_admitted(registrar)
        assert not story.is_admitted(impostor)
        kinds = {e["kind"] for e in agent.get("/v1/alarms")}
        assert kinds == {ALARM}, "no server has changed"


def test_the_servers_late_answer_counts(rig: Rig) -> None:
    story = start(rig)
    asked = story.asked()
    story.answer(asked, story.impostor)
    contact = f"{asked['Contact'].partition(';expires')[0]};expires=600"
    granted = reply(asked, 200, headers=[("Contact", contact)])
    story.registrar.send(granted, story.native.address)
    eventually(lambda: story.learned().keys() == {story.registrar.address[0]}, what="it counts")
    assert story.is_admitted(story.registrar)
    assert not story.is_admitted(story.impostor)


@pytest.mark.parametrize("how", ["networks", "all", "one"])
def test_what_drop_in_toml_permits_is_learned(rig: Rig, how: str) -> None:
    ip = rig.ip("impostor")
    file = {
        "networks": f'[networks]\nacme = ["{ip}"]\n',
        "all": 'learn_from = "any"\n',
        "one": '[learn_from]\nacme = "any"\n',
    }[how]
    story = start(rig, file)
    story.answer(story.asked(), story.impostor)
    assert story.learned().keys() == {ip}
    assert story.is_admitted(story.impostor)
    assert ALARM not in story.native.log


def test_another_records_networks_permit_nothing(rig: Rig) -> None:
    ip = rig.ip("impostor")
    story = start(rig, f'learn_from = {{bell = "any"}}\n[networks]\nbell = ["{ip}"]\n')
    story.answer(story.asked(), story.impostor)
    assert story.learned() == {}


def test_the_second_server_of_a_failover_was_asked_too(rig: Rig) -> None:
    """tm asks it by itself, without the event route; who was not asked is none of them."""
    second = rig.endpoint("second", SIP_PORT)
    dns = rig.nameserver(
        srv("_sip._udp.provider.example", "one.example", priority=1),
        srv("_sip._udp.provider.example", "two.example", priority=2),
        address("one.example", rig.ip("registrar")),
        address("two.example", rig.ip("second")),
        port=53,
    )
    story = start(
        rig,
        proxy="sip:provider.example",
        settings="use_dns_failover=on\nuse_dns_cache=on\ndns_try_naptr=no\n",
        nameserver=dns.address[0],
        own_event_route=FAST,
    )
    story.asked()
    story.answer(story.asked(second), second)
    assert story.learned().keys() == {second.address[0]}
    assert story.is_admitted(second)
    story.native.rpc("uac.reg_refresh", "acme")
    story.answer(story.asked(second), story.impostor)
    assert story.learned().keys() == {second.address[0]}
    assert not story.is_admitted(story.impostor)
