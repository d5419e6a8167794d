"""The agent socket: it serves the agent alone, and its replies have a source header and a MAC."""

from collections.abc import Callable

import pytest

from testkit.sip import Endpoint, Message, reply
from tests.contract.agent_requests import keep_alive, options, register
from tests.contract.scene import Scene
from tests.contract.world import whence_headers
from whence.ipc import headers

Make = Callable[..., Message]
"""`register` or `keep_alive`."""

SPELLINGS = ["{0}: forged", "{1} : forged", "{0}\t:\r\n forged", "{0}: forged\r\n{1}: again"]


def has_source_once(scene: Scene, answer: Message, registrar: Endpoint) -> bool:
    """Return whether it has one source header, of `registrar`, and its MAC."""
    found = [(n, v) for n, v in answer.headers if n.lower().startswith("x-whence")]
    ip, port = registrar.address
    source, number = f"udp:{ip}:{port}", str(int(answer["CSeq"].split()[0]))
    key = scene.world.books.agent_key
    mac = headers.reply_mac(key, answer.call_id, number, answer.status, source)
    return found == [(headers.SOURCE, source), (headers.MAC, mac)]


def changed(message: Message, **values: str) -> Message:
    """Replace the values of headers; an empty value removes the header."""
    wanted = {name.replace("_", "-"): value for name, value in values.items()}
    fields = tuple((name, wanted.get(name, value)) for name, value in message.headers)
    return Message(message.start_line, tuple((n, v) for n, v in fields if v))


def test_register_leaves_from_its_socket_to_its_next_hop(scene: Scene) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    agent.send(
        register(scene.world, agent, registrar.address, scene.name("call")), scene.agent_socket
    )
    arrived = registrar.receive()
    assert arrived.method == "REGISTER"
    assert arrived.source == scene.edge
    assert arrived.request_uri == "sip:provider.example"
    assert whence_headers(arrived) == []


@pytest.mark.parametrize("status", [100, 200, 401, 403, 423, 503])
def test_answer_gets_a_source_header(scene: Scene, status: int) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    agent.send(
        register(scene.world, agent, registrar.address, scene.name("call")), scene.agent_socket
    )
    answer = reply(registrar.receive(), status, headers=[("Contact", "<sip:a@b>;expires=60")])
    registrar.send(answer, scene.edge)
    if status > 100:
        came = agent.expect(lambda m: m.status == status)
        assert has_source_once(scene, came, registrar)
        assert came["Contact"] == "<sip:a@b>;expires=60"


def test_source_header_names_the_answering_server(scene: Scene) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    other = scene.endpoint("another-registrar")
    agent.send(
        register(scene.world, agent, registrar.address, scene.name("call")), scene.agent_socket
    )
    other.send(reply(registrar.receive(), 200), scene.edge)
    assert has_source_once(scene, agent.receive(), other)


def test_answer_with_leading_zeros_in_cseq_gets_a_source_header(scene: Scene) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    agent.send(
        register(scene.world, agent, registrar.address, scene.name("call")), scene.agent_socket
    )
    answer = reply(registrar.receive(), 200)
    lines = tuple((n, f"0000000{v}" if n == "CSeq" else v) for n, v in answer.headers)
    registrar.send(Message(answer.start_line, lines), scene.edge)
    received = agent.receive()
    assert received["CSeq"] == "00000001 REGISTER"
    assert has_source_once(scene, received, registrar)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_source_header_of_the_registrar_is_removed(scene: Scene, spelling: str) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    agent.send(
        register(scene.world, agent, registrar.address, scene.name("call")), scene.agent_socket
    )
    answer = str(reply(registrar.receive(), 200))
    lines = [
        spelling.format(name, name.lower()) for name in (headers.SOURCE, headers.MAC, headers.TRUNK)
    ]
    head, rest = answer.split("\r\n", 1)
    fields = rest.removesuffix("\r\n\r\n")
    registrar.send("\r\n".join([head, *lines, fields, *lines, "", ""]), scene.edge)
    came = agent.receive()
    assert has_source_once(scene, came, registrar)
    assert "forged" not in str(came)


def test_register_retransmitted_leaves_once(scene: Scene) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    ask = register(scene.world, agent, registrar.address, scene.name("call"))
    agent.send(ask, scene.agent_socket)
    # A provisional answer, so that the edge does not repeat the REGISTER.
    registrar.send(reply(registrar.receive(), 100), scene.edge)
    agent.send(ask, scene.agent_socket)
    scene.await_agent_socket()
    assert scene.nothing_came(registrar)


def test_register_retransmitted_gets_answer_and_mac_again(scene: Scene) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    ask = register(scene.world, agent, registrar.address, scene.name("call"))
    agent.send(ask, scene.agent_socket)
    registrar.send(reply(registrar.receive(), 200), scene.edge)
    assert has_source_once(scene, agent.receive(), registrar)
    agent.send(ask, scene.agent_socket)
    assert has_source_once(scene, agent.receive(), registrar)
    assert scene.nothing_came(registrar)


WRONG_MACS = {
    "no MAC": {"X_Whence_Mac": ""},
    "a made-up MAC": {"X_Whence_Mac": "0" * 32},
    "a MAC of bytes": {"X_Whence_Mac": "\udcff\udcfe"},
    "a MAC that is no ASCII": {"X_Whence_Mac": "ü"},
    "the MAC of another call": {"Call_ID": "another"},
    "a Call-ID of bytes": {"Call_ID": "\udcff\udcfe"},
    "the MAC of another request": {"CSeq": "2 REGISTER"},
    "another next hop": {"X_Whence_Next_Hop": "sip:192.0.2.1:5060"},
    "no next hop": {"X_Whence_Next_Hop": ""},
    "another socket": {"X_Whence_Socket": "udp:192.0.2.1:5060"},
}


@pytest.mark.parametrize("change", WRONG_MACS)
def test_request_without_a_valid_mac_is_refused(scene: Scene, change: str) -> None:
    process, registrar = scene.agent(), scene.endpoint("registrar")
    ask = register(scene.world, process, registrar.address, scene.name("call"))
    process.send(changed(ask, **WRONG_MACS[change]), scene.agent_socket)
    answer = process.receive()
    assert answer.status in (400, 403, 500)
    assert whence_headers(answer) == []
    scene.await_agent_socket()
    assert scene.nothing_came(registrar)


def test_mac_of_another_method_is_refused(scene: Scene) -> None:
    process, registrar = scene.agent(), scene.endpoint("registrar")
    ask = register(scene.world, process, registrar.address, scene.name("call"))
    for method in ("INVITE", "MESSAGE", "OPTIONS", "BYE"):
        other = changed(ask, CSeq=f"1 {method}")
        start_line = other.start_line.replace("REGISTER", method)
        assert process.ask(Message(start_line, other.headers), scene.agent_socket).status == 403
    scene.await_agent_socket()
    assert scene.nothing_came(registrar)


def test_mac_at_another_socket_is_refused(scene: Scene) -> None:
    unknown_source, registrar = scene.endpoint(), scene.endpoint("registrar")
    ask = register(scene.world, unknown_source, registrar.address, scene.name("call"))
    assert unknown_source.ask(ask, scene.edge).status == 403
    assert scene.nothing_came(registrar)


def test_options_of_the_agent_gets_200(scene: Scene) -> None:
    agent = scene.agent()
    ask = options(scene.world, agent, scene.name("call"))
    assert agent.ask(ask, scene.agent_socket).status == 200


@pytest.mark.parametrize("status", [200, 404])
def test_keep_alive_answer_gets_a_source_header(scene: Scene, status: int) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    ask = keep_alive(scene.world, agent, registrar.address, scene.name("call"))
    agent.send(ask, scene.agent_socket)
    arrived = registrar.receive()
    assert (arrived.method, arrived.source) == ("OPTIONS", scene.edge)
    assert whence_headers(arrived) == []
    registrar.send(reply(arrived, status), scene.edge)
    assert has_source_once(scene, agent.receive(), registrar)


def test_reply_of_no_transaction_gets_no_mac(scene: Scene) -> None:
    agent, unknown_source = scene.agent(), scene.endpoint()
    registrar = scene.endpoint("registrar")
    ask = register(scene.world, agent, registrar.address, scene.name("call"))
    via = f"SIP/2.0/UDP {scene.edge[0]};branch=z9hG4bKmade.up.0"
    forged = reply(Message(ask.start_line, (("Via", via), *ask.headers)), 200)
    unknown_source.send(forged, scene.edge)
    unknown_source.send(forged, scene.agent_socket)
    unknown_source.send(
        reply(ask, 200, headers=[(headers.SOURCE, "udp:192.0.2.1:5060")]), scene.edge
    )
    scene.await_edge()
    scene.await_agent_socket()
    for came in scene.came(agent):
        assert not came.get(headers.MAC)
        assert not has_source_once(scene, came, unknown_source)


# The addresses inside, and how the registrar sees the edge.


@pytest.mark.parametrize("make", [register, keep_alive])
def test_agent_request_leaves_with_one_via_and_rport(scene: Scene, make: Make) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    agent.send(make(scene.world, agent, registrar.address, scene.name("call")), scene.agent_socket)
    arrived = registrar.receive()
    (via,) = arrived.all("Via")
    sent_by, *params = via.removeprefix("SIP/2.0/UDP ").split(";")
    assert sent_by.partition(":")[0] == scene.edge[0]
    assert "rport" in params
    assert f":{agent.address[1]}" not in str(arrived)


@pytest.mark.parametrize("make", [register, keep_alive])
def test_agent_reply_has_the_agents_via_alone(scene: Scene, make: Make) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    sent = make(scene.world, agent, registrar.address, scene.name("call"))
    agent.send(sent, scene.agent_socket)
    registrar.send(reply(registrar.receive(), 200), scene.edge)
    assert agent.receive().all("Via") == sent.all("Via")


@pytest.mark.parametrize(
    ("params", "seen_at"),
    [
        (";received=203.0.113.9;rport=1024", "203.0.113.9:1024"),
        (";received=203.0.113.9", "203.0.113.9:5060"),
        (";received=203.0.113.9;received=203.0.113.8", ""),
        (";received=evil.example;rport=1024", ""),
        (";received=203.0.113.9;rport=70000", ""),
        ("", ""),
    ],
)
def test_agent_reply_says_where_the_edge_was_seen(scene: Scene, params: str, seen_at: str) -> None:
    agent, registrar = scene.agent(), scene.endpoint("registrar")
    sent = register(scene.world, agent, registrar.address, scene.name("call"))
    agent.send(sent, scene.agent_socket)
    answer = reply(registrar.receive(), 200)
    answer = changed(answer, Via=answer["Via"].replace(";rport", "") + params)
    forged = str(answer).replace("\r\nTo:", f"\r\n{headers.SEEN_AT}: 198.51.100.6:6\r\nTo:", 1)
    registrar.send(forged, scene.edge)
    came = agent.receive()
    assert came.all(headers.SEEN_AT) == ([seen_at] if seen_at else [])
    mac = headers.reply_mac(
        scene.world.books.agent_key,
        came.call_id,
        came["CSeq"].split()[0],
        200,
        came[headers.SOURCE],
        seen_at=seen_at,
    )
    assert came[headers.MAC] == mac
