"""What happened: kept, counted, told by the API, and bounded whatever is sent."""

from __future__ import annotations

import json
import re
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agent.api.agent import NOW, Agent, Story
from tests.unit.agent.monitoring.reports import UNKNOWN, datagram, identified, refused
from whence.agent.monitoring.calls import SAME_LIMIT, Calls, CallsFile
from whence.agent.monitoring.decision_receiver import DecisionReceiver
from whence.core.identification.decision import Decision
from whence.errors import DecisionSocketError
from whence.ipc import decisions

Tell = Callable[[Story], None]


def send(calls: Calls, decision: Decision = UNKNOWN, **parts: Any) -> None:
    data = datagram(decision, **parts)
    calls.receive(decisions.read(data), data)


def ids(found: list[decisions.DecisionReport]) -> list[str]:
    return [one.call_id for one in found]


def test_the_last_decisions_are_kept_the_newest_first() -> None:
    calls = Calls(3)
    for number in range(5):
        send(calls, identified(), call_id=f"a{number}", at=NOW + number)
    send(calls, UNKNOWN, call_id="s", at=NOW + 3.5)
    assert ids(calls.last(10)) == ["a4", "s", "a3", "a2"]
    assert ids(calls.last(2)) == ["a4", "s"]


def test_a_flood_of_unknown_sources_pushes_out_no_call_of_a_trunk() -> None:
    calls = Calls(10)
    send(calls, identified(), call_id="mine")
    send(calls, refused("acme", "bell"), call_id="refused")
    for number in range(1000):
        send(calls, UNKNOWN, call_id=str(number))
    assert ids(calls.of("mine")) == ["mine"]
    assert ids(calls.of("refused")) == ["refused"]
    assert len(calls.last(1000)) == 12


def test_providers_who_ask_whether_we_live_push_out_no_call() -> None:
    calls = Calls(2)
    send(calls, identified(), call_id="mine")
    for number in range(10):
        send(calls, identified(), call_id=str(number), method="OPTIONS")
    assert ids(calls.last(10)) == ["mine"]
    assert calls.last_call_at == {"acme": NOW}
    assert calls.decisions["identified", "number", "acme"] == 11  # type: ignore[index]


def test_a_limit_of_none_keeps_none_and_counts_all() -> None:
    calls = Calls(0)
    send(calls, identified())
    assert calls.last(10) == []
    assert sum(calls.decisions.values()) == 1


def test_a_call_is_found_by_its_call_id_and_by_no_part_of_it() -> None:
    calls = Calls(10)
    for call_id in ("abc@x", "bc@x", "c\x1fbc@x", ""):
        send(calls, call_id=call_id)
    assert ids(calls.of("bc@x")) == ["bc@x"]
    assert ids(calls.of("abc@x")) == ["abc@x"]
    assert ids(calls.of("c\x1fbc@x")) == ["c\x1fbc@x"]
    assert ids(calls.of("@x")) == []


def test_a_call_id_is_found_as_it_is_shown_too() -> None:
    calls = Calls(10)
    send(calls, call_id="a\x1b[31m\u202e")
    assert len(calls.of("a\x1b[31m\u202e")) == 1
    assert len(calls.of(r"a\x1b[31m\u202e")) == 1


def test_a_very_long_call_id_is_found_by_all_of_it() -> None:
    calls = Calls(10)
    send(calls, call_id="a" * 5000)
    assert len(calls.of("a" * 5000)) == 1


def test_of_many_with_one_call_id_the_last_are_told() -> None:
    calls = Calls(1000)
    for number in range(100):
        send(calls, call_id="same", at=NOW + number)
    found = calls.of("same")
    assert [one.at for one in found] == [NOW + n for n in range(100 - SAME_LIMIT, 100)]


# The file of calls.


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_trunks_calls_are_written_as_lines_of_json(tmp_path: Path) -> None:
    file = tmp_path / "calls.json"
    calls = Calls(0, CallsFile(file))
    send(calls, identified(), call_id="a", to="sip:b@x")
    send(calls, UNKNOWN, call_id="an unknown source's")
    send(calls, refused("acme", "bell"), call_id="\x1b[31m", ruri="sip:\u202e@x\n{}")
    first, second = lines(file)
    assert first == {
        "at": NOW,
        "call_id": "a",
        "method": "INVITE",
        "source": "udp:192.0.2.1:5060",
        "ruri": "sip:+442071234567@edge.example",
        "to": "sip:b@x",
        "p_called_party_id": None,
        "headers": [],
        "decision": "identified",
        "trunk": "acme",
        "rule": "number",
        "reason": "number",
        "message": "number of trunk acme",
        "named": ["acme"],
        "from_cache": False,
    }
    assert second["named"] == ["acme", "bell"]
    assert second["call_id"].isprintable() and second["ruri"].isprintable()
    assert file.read_bytes().isascii()


def test_the_file_is_followed_by_another_and_both_are_bounded(tmp_path: Path) -> None:
    file = tmp_path / "calls.json"
    calls = Calls(0, CallsFile(file, limit=2000))
    for number in range(100):
        send(calls, identified(), call_id=str(number))
    former = tmp_path / "calls.json.1"
    assert sorted(tmp_path.iterdir()) == [file, former]
    assert all(one.stat().st_size < 2500 for one in (file, former))
    last = [one["call_id"] for one in lines(former) + lines(file)]
    assert last == [str(n) for n in range(100 - len(last), 100)]


def test_a_file_that_cannot_be_written_costs_the_line_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "calls.json"
    written = CallsFile(file)
    calls = Calls(10, written)
    file.mkdir()
    for _ in range(3):
        send(calls, identified())
    assert written.errors == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: calls are not written: Is a directory"
    ]
    file.rmdir()
    send(calls, identified())
    assert len(lines(file)) == 1
    assert len(calls.last(10)) == 4


# The socket.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / decisions.SOCKET_FILE


def say(path: Path, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as edge:
        for data in datagrams:
            edge.sendto(data, str(path))


@pytest.fixture
def calls() -> Calls:
    return Calls(10)


@pytest.fixture
def hearing(path: Path, calls: Calls) -> Iterator[DecisionReceiver]:
    hearing = DecisionReceiver(path, [calls])
    yield hearing
    hearing.close()


def test_what_is_told_is_heard_and_what_was_dropped_is_counted(
    hearing: DecisionReceiver, calls: Calls, path: Path
) -> None:
    say(path, datagram(call_id="a", dropped=3), datagram(call_id="b", dropped=4))
    hearing.read()
    assert sorted(ids(calls.last(10))) == ["a", "b"]
    assert hearing.dropped == 7


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"9" + datagram()[1:], datagram()[:40]])
def test_what_no_edge_sent_is_counted_logged_once_and_harms_nothing(
    hearing: DecisionReceiver,
    calls: Calls,
    path: Path,
    data: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    say(path, data, data, datagram(call_id="a"))
    hearing.read()
    assert ids(calls.last(10)) == ["a"]
    assert hearing.invalid == 2
    assert len(caplog.records) == 1


def test_only_our_user_can_tell_us_something(hearing: DecisionReceiver, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_former_agent_left_is_replaced(path: Path) -> None:
    for _ in range(2):
        DecisionReceiver(path).close()
    assert path.is_socket()


def test_where_it_cannot_be_made_one_sentence_says_so(path: Path) -> None:
    path.mkdir()
    with pytest.raises(
        DecisionSocketError, match=r"cannot be made: .*; remove what is in its place"
    ):
        DecisionReceiver(path)


# The API.


async def happened(agent: Agent, *datagrams: bytes) -> None:
    for data in datagrams:
        agent.calls.receive(decisions.read(data), data)


def test_the_api_tells_a_call_as_it_was_decided_and_as_it_would_be_now(tell: Tell) -> None:
    async def story(agent: Agent) -> None:
        await happened(agent, datagram(identified("acme"), "a/b@x%41?", "udp:192.0.2.1:40000"))
        (listed,) = await agent.get("/v1/calls")
        (call,) = await agent.get("/v1/calls/a%2Fb%40x%2541%3F")
        then, now = call.pop("then"), call.pop("now")
        assert call == listed
        assert then == now
        assert (call["decision"], call["trunk"], call["rule"]) == ("identified", "acme", "number")
        assert (call["call_id"], call["at"]) == ("a/b@x%41?", NOW)
        assert (now["decision"], now["trunk"]) == ("identified", "acme")
        assert [step["rule"] for step in now["steps"]] == ["address", "token", "number"]
        agent.node.clock.now = NOW + 4000
        (call,) = await agent.get("/v1/calls/a%2Fb%40x%2541%3F")
        assert (call["decision"], call["now"]["decision"]) == ("identified", "unknown")
        assert call["then"]["steps"] == now["steps"]

    tell(story)


def test_a_refused_call_is_explained_as_it_was_also_when_it_would_be_let_in_now(
    tell: Tell,
) -> None:
    async def story(agent: Agent) -> None:
        ruri = "sip:+442071234567@edge.example"
        data = datagram(UNKNOWN, "late", "udp:192.0.2.1:40000", ruri=ruri, at=NOW + 3700)
        await happened(agent, data)
        agent.node.clock.now = NOW + 4000
        order = {"source": "192.0.2.1", "trunk": "acme", "for_s": 60}
        answer = await agent.ask("/v1/unknown-sources/allow", order)
        assert answer.status_code == 200, answer.text
        (call,) = await agent.get("/v1/calls/late")
        assert (call["then"]["decision"], call["now"]["decision"]) == ("unknown", "identified")
        assert call["then"]["nearest"] == {
            "trunk": "acme",
            "missing": [
                {
                    "code": "address_expired",
                    "message": "its address 192.0.2.1 expired 1 min 8 s ago",
                }
            ],
        }

    tell(story)


def test_what_was_decided_on_what_is_told_no_more_is_not_made_up(tell: Tell) -> None:
    async def story(agent: Agent) -> None:
        await happened(agent, datagram(UNKNOWN, "odd", "udp:192.0.2.1:40000", at=NOW))
        (call,) = await agent.get("/v1/calls/odd")
        assert (call["decision"], call["then"]) == ("unknown", None)
        assert call["now"]["decision"] == "identified"

    tell(story)


@pytest.mark.parametrize("call_id", ["%2E%2E", "%2E", "%00", "a%0Ab", "x" * 3000, "%FF"])
def test_a_call_that_is_not_remembered_is_a_404_in_one_clean_line(tell: Tell, call_id: str) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask(f"/v1/calls/{call_id}")
        assert answer.status_code == 404
        assert answer.json()["detail"].isprintable()

    tell(story)


HOSTILE = "\x1b]0;owned\x07\r\n\x9b31m\u202e"


def test_nothing_hostile_is_told_as_it_came(tell: Tell) -> None:
    async def story(agent: Agent) -> None:
        uri = f"sip:%1b%5b31m{HOSTILE}@edge.example"
        data = datagram(UNKNOWN, f"id{HOSTILE}", ruri=uri, to=uri, called=uri, method=HOSTILE[:5])
        await happened(agent, data)
        for path in ("/v1/calls", r"/v1/calls/id%5Cx1b]0;owned%5Cx07%5Cr%5Cn%5Cx9b31m%5Cu202e"):
            (call,) = await agent.get(path)
            assert _all_printable(call), call
            assert "owned" in call["call_id"]
        explained = await agent.explain("udp:192.0.2.1:5060", "sip:%1b[31m@edge.example")
        assert _all_printable(explained)

    tell(story)


def _all_printable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_all_printable, value.values()))
    if isinstance(value, list):
        return all(map(_all_printable, value))
    return not isinstance(value, str) or value.isprintable()


def test_a_call_whose_uris_were_cut_is_told_without_what_would_be_now(tell: Tell) -> None:
    async def story(agent: Agent) -> None:
        await happened(agent, datagram(ruri=f"sip:{'+' * 5000}@x", call_id="long"))
        (call,) = await agent.get("/v1/calls/long")
        assert call["now"] is None
        assert call["ruri"].endswith("…")

    tell(story)


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", ""])
def test_a_wrong_limit_is_a_422(tell: Tell, limit: str) -> None:
    async def story(agent: Agent) -> None:
        assert (await agent.ask(f"/v1/calls?limit={limit}")).status_code == 422

    tell(story)


def test_metrics_count_decisions_and_name_only_trunks_that_are_there(tell: Tell) -> None:
    async def story(agent: Agent) -> None:
        await happened(
            agent,
            datagram(identified("acme"), at=NOW - 20),
            datagram(identified("acme"), at=NOW - 10),
            datagram(identified("gone")),
            datagram(refused("acme", "bell")),
            *[datagram(UNKNOWN, source=f"udp:192.0.2.{n}:5060") for n in range(100, 110)],
        )
        text = (await agent.ask("/metrics")).text
        samples = dict(re.findall(r"^(\w+(?:\{.*?\})?) (\S+)$", text, re.MULTILINE))
        told_of = {name: count for name, count in samples.items() if "whence_decisions_" in name}
        assert told_of == {
            'whence_decisions_total{decision="identified",rule="number",trunk="acme"}': "2.0",
            'whence_decisions_total{decision="refused",rule="",trunk=""}': "1.0",
            'whence_decisions_total{decision="unknown",rule="",trunk=""}': "10.0",
        }
        assert float(samples['whence_trunk_last_call_timestamp_seconds{trunk="acme"}']) == NOW - 10
        assert 'trunk="gone"' not in text
        assert samples["whence_decision_reports_dropped_total"] == "0.0"

    tell(story)
