"""Kamailio is a proxy as RFC 3261 section 16 and RFC 3263 describe it, not as its defaults are."""

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from testkit.answers import NAPTR, SERVFAIL, SRV, A, Answer, AnsweringServer, a, srv
from testkit.network import Network
from testkit.sip import Endpoint, Headers, Message, place, reply, request
from tests.contract.call import Call, connect, is_method, ring
from tests.contract.phones import ask, credentials
from tests.contract.reports import Agent
from tests.contract.scene import Scene
from tests.contract.world import World

TIMER_C_S = 3.0


@pytest.fixture(scope="module")
def names() -> Iterator[dict[tuple[str, int], Answer]]:
    yield {}


@pytest.fixture(scope="module")
def dns(names: dict[tuple[str, int], Answer]) -> Iterator[AnsweringServer]:
    with Network() as network, AnsweringServer(network.ip("dns"), names) as server:
        yield server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, dns: AnsweringServer) -> Iterator[World]:
    """A Kamailio with TCP, a name server, and a Timer C of three seconds."""
    folder = tmp_path_factory.mktemp("proxy")
    parameters = f'modparam("tm", "fr_inv_timer", {TIMER_C_S * 1000:.0f})'
    with World(folder, tcp=True, resolver=dns.ip, parameters=parameters) as world:
        yield world


def without(message: Message, *names: str) -> Message:
    kept = tuple((name, value) for name, value in message.headers if name not in names)
    return Message(message.start_line, kept, message.body)


def with_value(message: Message, name: str, value: str) -> Message:
    fields = tuple((n, value if n == name else v) for n, v in message.headers)
    return Message(message.start_line, fields, message.body)


# Timer C (RFC 3261 16.6, step 11, and 16.8).


def test_timer_c_is_restarted_by_a_provisional_reply(scene: Scene) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    arrived = ring(scene, trunk.at, phone, invite)
    time.sleep(TIMER_C_S / 2)  # half of the time under test
    phone.send(reply(arrived, 183), scene.edge)
    sent_at = time.monotonic()
    trunk.at.expect(lambda m: m.status == 183, what="the 183 at the caller")
    phone.expect(is_method("CANCEL"), what="the CANCEL of Timer C")
    assert time.monotonic() - sent_at > TIMER_C_S * 0.9
    assert trunk.at.expect(lambda m: m.status >= 300).status == 408


# Failover of targets (RFC 3263 4.3).


def pbx(scene: Scene, machine: str, port: int = 0) -> Endpoint:
    return scene.endpoint(machine, port)


def answer_with(endpoint: Endpoint, scene: Scene, invite: Message, status: int) -> None:
    arrived = endpoint.expect(
        lambda m: m.method == "INVITE" and m.call_id == invite.call_id, what="the INVITE"
    )
    endpoint.send(reply(arrived, status), scene.edge)


def test_target_with_503_is_followed_by_its_next_server(
    scene: Scene, names: dict[tuple[str, int], Answer]
) -> None:
    first, second = pbx(scene, "pbx-1", 5060), pbx(scene, "pbx-2", 5060)
    host = f"{scene.name('pbx')}.example"
    names[host, A] = a(first.address[0], second.address[0])
    trunk = scene.trunk(f"sip:x@{host}:5060")
    invite = scene.invite(trunk.at)
    trunk.at.send(invite, scene.edge)
    answer_with(first, scene, invite, 503)
    answer_with(second, scene, invite, 200)
    assert trunk.at.expect(lambda m: m.status >= 200).status == 200


def test_target_that_refuses_tcp_is_followed_by_its_next_server(
    scene: Scene, names: dict[tuple[str, int], Answer]
) -> None:
    host, dead = f"{scene.name('pbx')}.example", scene.ip("dead")
    with socket.create_server((scene.ip("pbx"), 0)) as alive:
        port = alive.getsockname()[1]
        names[host, A] = a(dead, alive.getsockname()[0])
        trunk = scene.trunk(f"sip:x@{host}:{port};transport=tcp")
        trunk.at.send(scene.invite(trunk.at), scene.edge)
        alive.settimeout(20)
        accepted, _ = alive.accept()
        with accepted:
            accepted.settimeout(20)
            assert accepted.recv(65535).startswith(b"INVITE ")


def test_srv_records_are_tried_by_priority(
    scene: Scene, names: dict[tuple[str, int], Answer]
) -> None:
    first, second = pbx(scene, "pbx-1"), pbx(scene, "pbx-2")
    domain = f"{scene.name('pbx')}.example"
    hosts = [f"{name}.{domain}" for name in ("one", "two")]
    names[domain, A] = Answer()
    names[f"_sip._udp.{domain}", SRV] = srv(
        (20, second.address[1], hosts[1]), (10, first.address[1], hosts[0])
    )
    for host, endpoint in zip(hosts, (first, second), strict=True):
        names[host, A] = a(endpoint.address[0])
    trunk = scene.trunk(f"sip:x@{domain}")
    invite = scene.invite(trunk.at)
    trunk.at.send(invite, scene.edge)
    answer_with(first, scene, invite, 503)
    answer_with(second, scene, invite, 486)
    assert trunk.at.expect(lambda m: m.status >= 200).status == 486


@pytest.mark.parametrize("by_srv", [False, True])
def test_target_with_ttl_0_is_found(
    scene: Scene, names: dict[tuple[str, int], Answer], by_srv: bool
) -> None:
    target, host = pbx(scene, "pbx"), f"{scene.name('pbx')}.example"
    names[host, A] = a(target.address[0], ttl_s=0)
    uri = f"sip:x@{host}:{target.address[1]}"
    if by_srv:
        servers = srv((10, target.address[1], f"one.{host}"))
        names[f"_sip._udp.{host}", SRV] = replace(servers, ttl_s=0)
        names[f"one.{host}", A], names[host, A] = names[host, A], Answer()
        uri = f"sip:x@{host}"
    trunk = scene.trunk(uri)
    for _ in range(3):
        invite = scene.invite(trunk.at)
        trunk.at.send(invite, scene.edge)
        target.expect(lambda m, one=invite: m.call_id == one.call_id)  # type: ignore[misc]


@pytest.mark.parametrize("code", [SERVFAIL, 4, 5])
def test_srv_error_is_followed_by_the_a_record(
    scene: Scene, names: dict[tuple[str, int], Answer], code: int
) -> None:
    target, host = pbx(scene, "pbx", 5060), f"{scene.name('pbx')}.example"
    names[host, A] = a(target.address[0])
    for service in ("udp", "tcp"):
        names[f"_sip._{service}.{host}", SRV] = Answer(code=code)
    names[f"_sips._tcp.{host}", SRV] = Answer(code=code)
    names[host, NAPTR] = Answer(code=code)
    trunk = scene.trunk(f"sip:x@{host}")
    invite = scene.invite(trunk.at)
    trunk.at.send(invite, scene.edge)
    target.expect(lambda m: m.call_id == invite.call_id, what="the call")


# Replies (RFC 3261 18.2.2, RFC 3581 4).


@pytest.mark.parametrize("rport", [True, False])
def test_reply_follows_rport_of_the_request(scene: Scene, rport: bool) -> None:
    trunk, phone = scene.line()
    named = scene.endpoint("provider")
    invite = request("INVITE", scene.uri("+4420"), named.address)
    if not rport:
        invite = with_value(invite, "Via", invite["Via"].replace(";rport", ""))
    trunk.at.send(invite, scene.edge)
    arrived = phone.expect(lambda m: m.call_id == invite.call_id)
    phone.send(reply(arrived, 180), scene.edge)
    receiver = trunk.at if rport else named
    receiver.expect(lambda m: m.status == 180, what="the 180")
    assert scene.nothing_came(named if rport else trunk.at)


def test_late_answer_follows_the_via_without_rport(scene: Scene) -> None:
    trunk, phone = scene.line()
    named = scene.endpoint("provider")
    invite = request("INVITE", scene.uri("+4420"), named.address)
    invite = with_value(invite, "Via", invite["Via"].replace(";rport", ""))
    trunk.at.send(invite, scene.edge)
    arrived = phone.expect(lambda m: m.call_id == invite.call_id)
    contact = [("Contact", f"<sip:{place(phone.address)}>")]
    answer = reply(arrived, 200, headers=contact)
    phone.send(answer, scene.edge)
    named.expect(lambda m: m.status == 200)
    scene.world.restart()
    phone.send(answer, scene.edge)
    assert named.expect(lambda m: m.status == 200).call_id == invite.call_id


def test_phone_behind_nat_without_rport_registers(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")

    def register(headers: Headers = ()) -> Message:
        asked = ask(phone, user, headers)
        inside = re.sub(r"UDP [^;]+;rport", "UDP 192.168.7.7:5060", asked["Via"])
        return with_value(asked, "Via", inside)

    challenge = phone.ask(register(), scene.edge)
    assert challenge.status == 401
    assert phone.ask(register(credentials(challenge, user)), scene.edge).status == 200


# Headers that a proxy does not read.

ODD = [
    "<sip:@{host}>;tag=1",
    "<sip:>;tag=1",
    "<sip:a@b@{host}>;tag=1",
    "<urn:service:sos>;tag=1",
    '"Odd \\" name" <sip:%00@[::1]:99>;tag=1',
    "anonymous <sip:anonymous@anonymous.invalid>;tag=1",
]


@pytest.mark.parametrize("value", ODD)
def test_odd_from_passes_unchanged(scene: Scene, value: str) -> None:
    trunk, phone = scene.line()
    value = value.replace("{host}", scene.edge[0])
    invite = with_value(scene.invite(trunk.at), "From", value)
    trunk.at.send(invite, scene.edge)
    arrived = phone.expect(lambda m: m.call_id == invite.call_id)
    assert arrived["From"] == value


@pytest.mark.parametrize("value", ODD)
def test_odd_to_passes_unchanged(scene: Scene, value: str) -> None:
    trunk, phone = scene.line()
    value = value.replace("{host}", scene.edge[0]).replace(";tag=1", "")
    invite = with_value(scene.invite(trunk.at), "To", value)
    trunk.at.send(invite, scene.edge)
    arrived = phone.expect(lambda m: m.call_id == invite.call_id)
    assert arrived["To"] == value


@pytest.mark.parametrize("header", ["Expires: soon", "Date: x", "Min-Expires: -1", "Reason: ,;="])
def test_odd_header_passes_unchanged(scene: Scene, header: str) -> None:
    trunk, phone = scene.line()
    name, _, value = header.partition(": ")
    invite = scene.invite(trunk.at, headers=[(name, value)])
    trunk.at.send(invite, scene.edge)
    assert phone.expect(lambda m: m.call_id == invite.call_id)[name] == value


@pytest.mark.parametrize(("sent", "arrives"), [(None, "70"), ("70", "69"), ("200", "199")])
def test_max_forwards_is_decremented_or_70(scene: Scene, sent: str | None, arrives: str) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at)
    if sent is None:
        invite = without(invite, "Max-Forwards")
    else:
        invite = with_value(invite, "Max-Forwards", sent)
    trunk.at.send(invite, scene.edge)
    assert phone.expect(lambda m: m.call_id == invite.call_id)["Max-Forwards"] == arrives


@pytest.mark.parametrize("value", ["abc", "-1", "1 2", "", "99999999999999999999"])
def test_max_forwards_that_is_no_number_gets_400(scene: Scene, agent: Agent, value: str) -> None:
    trunk = scene.trunk("nobody")
    invite = with_value(scene.invite(trunk.at), "Max-Forwards", value)
    assert trunk.at.ask(invite, scene.edge).status == 400
    assert agent.report().reason == "malformed"


# Methods.


@pytest.mark.parametrize("method", ["BYE", "PRACK", "UPDATE", "INFO"])
@pytest.mark.parametrize("to_tag", [None, "made-up"])
def test_request_of_no_dialog_gets_481(scene: Scene, method: str, to_tag: str | None) -> None:
    trunk, phone = scene.line()
    for who in (trunk.at, scene.endpoint()):
        sent = request(method, scene.uri("+4420"), who.address, to_tag=to_tag)
        assert who.ask(sent, scene.edge).status == 481
    assert scene.nothing_came(phone)


@pytest.mark.parametrize("method", ["NOTIFY", "REFER", "SUBSCRIBE", "MESSAGE"])
def test_request_with_an_unknown_to_tag_gets_481(scene: Scene, method: str) -> None:
    trunk, phone = scene.line()
    sent = request(method, scene.uri("+4420"), trunk.at.address, to_tag="made-up")
    assert trunk.at.ask(sent, scene.edge).status == 481
    assert scene.nothing_came(phone)


def test_register_in_a_dialog_gets_481(scene: Scene) -> None:
    """A target may trust the edge's ip, and register the caller as one of its own users."""
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    assert trunk.at.ask(call.from_caller("REGISTER"), scene.edge).status == 481
    assert scene.nothing_came(phone)


METHODS = "INVITE ACK CANCEL BYE OPTIONS MESSAGE PRACK UPDATE INFO REFER NOTIFY SUBSCRIBE REGISTER"


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("PUBLISH", 405)])
def test_allow_lists_each_method(scene: Scene, method: str, status: int) -> None:
    trunk = scene.trunk("nobody")
    answer = trunk.at.ask(request(method, scene.uri(), trunk.at.address), scene.edge)
    assert answer.status == status
    assert answer["Allow"].split(", ") == METHODS.split()


@pytest.mark.parametrize("in_dialog", [False, True])
def test_proxy_require_gets_420(scene: Scene, in_dialog: bool) -> None:
    trunk, phone = scene.line()
    headers = [("Proxy-Require", "one, two")]
    sent = scene.invite(trunk.at, headers=headers)
    if in_dialog:
        sent = connect(scene, trunk.at, phone).from_caller("INFO", headers=headers)
    answer = trunk.at.ask(sent, scene.edge)
    assert (answer.status, answer["Unsupported"]) == (420, "one, two")
    assert scene.nothing_came(phone)


@pytest.mark.parametrize("agent", ["SIPClient 2.0", "MySipClient", "sipclick/1", "X-sipcli2"])
def test_user_agent_like_a_scanners_is_served(scene: Scene, agent: str) -> None:
    unknown, headers = scene.endpoint(), [("User-Agent", agent)]
    assert unknown.ask(scene.invite(unknown, headers=headers), scene.edge).status == 403


@pytest.mark.parametrize("agent", ["sipcli/v1.8", "friendly-scanner"])
def test_user_agent_of_a_scanner_is_served_for_a_trunk(scene: Scene, agent: str) -> None:
    trunk, phone = scene.line()
    invite = scene.invite(trunk.at, headers=[("User-Agent", agent)])
    trunk.at.send(invite, scene.edge)
    phone.expect(lambda m: m.call_id == invite.call_id, what="the call")


# Strict routers (RFC 3261 16.4, and 16.6, step 6).


def from_strict_router(request_: Message, route: str) -> Message:
    """Send as a strict router does: our Record-Route as Request-URI, the target as last Route."""
    ours = route[route.index("<") + 1 : route.index(">")]
    start = request_.start_line.replace(request_.request_uri, ours, 1)
    return with_value(Message(start, request_.headers), "Route", f"<{request_.request_uri}>")


@pytest.mark.parametrize("method", ["INFO", "BYE", "INVITE"])
def test_request_of_a_strict_router_reaches_the_target(scene: Scene, method: str) -> None:
    trunk, phone = scene.line()
    call = connect(scene, trunk.at, phone)
    sent = call.from_caller(method)
    trunk.at.send(from_strict_router(sent, call.route), scene.edge)
    arrived = phone.expect(is_method(method))
    assert arrived.request_uri == sent.request_uri
    assert "Route" not in arrived
    phone.send(reply(arrived, 200), scene.edge)
    assert trunk.at.expect(lambda m: m.status >= 200).status == 200


def test_request_of_a_strict_router_leads_nowhere_else(scene: Scene) -> None:
    trunk, phone = scene.line()
    call, victim = connect(scene, trunk.at, phone), scene.endpoint("victim")
    sent = call.from_caller("INFO")
    strict = from_strict_router(sent, call.route)
    bad = [
        with_value(strict, "Route", f"<sip:x@{place(victim.address)}>"),
        with_value(strict, "Route", f"<sip:{place(victim.address)};lr>, <{sent.request_uri}>"),
        with_value(strict, "Route", f"<{sent.request_uri}>, <sip:{place(victim.address)}>"),
        Message(strict.start_line.replace("whence=", "whence=0"), strict.headers),
        without(strict, "Route"),
    ]
    for one in bad:
        assert trunk.at.ask(one, scene.edge).status == 481, one
    assert scene.nothing_came(victim, phone)


def answered_by(scene: Scene, recorded: str) -> tuple[Call, Endpoint]:
    """Return a call of which a proxy behind the edge recorded its route, and that proxy."""
    proxy = scene.endpoint("proxy")
    ip, port = proxy.address
    trunk = scene.trunk(f"sip:x@{ip}:{port}")
    invite = scene.invite(trunk.at)
    trunk.at.send(invite, scene.edge)
    arrived = proxy.expect(is_method("INVITE"))
    routes = recorded.replace("{proxy}", f"{ip}:{port}")
    fields = [
        (n, f"{routes}, {v}" if n == "Record-Route" else v)
        for n, v in reply(arrived, 200, headers=[("Contact", "<sip:agent@192.0.2.9:5070>")]).headers
    ]
    proxy.send(Message("SIP/2.0 200 OK", tuple(fields)), scene.edge)
    answer = trunk.at.expect(lambda m: m.status == 200)
    return Call(trunk.at, proxy, invite, arrived, answer), proxy


@pytest.mark.parametrize("is_strict", [True, False])
def test_request_to_a_strict_router_has_it_as_request_uri(scene: Scene, is_strict: bool) -> None:
    call, proxy = answered_by(scene, "<sip:{proxy}>" if is_strict else "<sip:{proxy};lr>")
    entries = [f"<{one}>" for one in re.findall("<([^>]*)>", call.answer["Record-Route"])]
    call.caller.send(call.from_caller("INFO", ", ".join(reversed(entries))), scene.edge)
    arrived = proxy.expect(is_method("INFO"))
    at, target = f"sip:{place(proxy.address)}", "sip:agent@192.0.2.9:5070"
    if is_strict:
        assert (arrived.request_uri, arrived["Route"]) == (at, f"<{target}>")
    else:
        assert (arrived.request_uri, arrived["Route"]) == (target, f"<{at};lr>")


# Refusals are reported to the agent, for the list of calls.


def refused(scene: Scene, who: Endpoint, kind: str) -> tuple[Message, int]:
    """Return a request that the edge refuses, and the status of its answer."""
    invite = scene.invite(who)
    return {
        "malformed": (with_value(invite, "CSeq", "x INVITE"), 400),
        "unsupported_scheme": (
            Message(invite.start_line.replace("sip:", "http:", 1), invite.headers),
            416,
        ),
        "unsupported_extension": (scene.invite(who, headers=[("Proxy-Require", "x")]), 420),
        "too_many_hops": (with_value(invite, "Max-Forwards", "0"), 483),
        "no_dialog": (scene.invite(who, to_tag="made-up"), 481),
    }[kind]


KINDS = ["malformed", "unsupported_scheme", "unsupported_extension", "too_many_hops", "no_dialog"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_trunk", [True, False])
def test_refusal_is_reported_with_its_reason(
    scene: Scene, agent: Agent, kind: str, is_trunk: bool
) -> None:
    who = scene.trunk("nobody").at if is_trunk else scene.endpoint()
    sent, status = refused(scene, who, kind)
    who.send(sent, scene.edge)
    assert who.expect(lambda m: m.call_id == sent.call_id).status == status
    report = agent.report()
    assert (report.kind, report.reason) == ("refused" if is_trunk else "unknown", kind)
    assert (report.method, report.call_id) == ("INVITE", sent.call_id)
    assert (report.ruri, report.trunk) == (sent.request_uri, None)


def test_call_of_a_user_without_a_phone_is_reported(scene: Scene, agent: Agent) -> None:
    trunk = scene.trunk(scene.user())
    assert trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 480
    assert agent.report().kind == "identified"
    assert agent.report().reason == "user_not_registered"


def test_method_that_a_trunk_may_not_begin_is_reported(scene: Scene, agent: Agent) -> None:
    trunk = scene.trunk("nobody")
    sent = request("SUBSCRIBE", scene.uri("+4420"), trunk.at.address)
    assert trunk.at.ask(sent, scene.edge).status == 405
    report = agent.report()
    assert (report.kind, report.reason) == ("refused", "method_not_allowed")


def test_scanner_is_reported(scene: Scene, agent: Agent) -> None:
    unknown = scene.endpoint()
    unknown.send(scene.invite(unknown, headers=[("User-Agent", "sipcli/v1.8")]), scene.edge)
    report = agent.report()
    assert (report.kind, report.reason) == ("unknown", "scanner")
