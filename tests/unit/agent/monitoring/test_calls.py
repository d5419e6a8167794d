"""Decisions: kept within bounds, counted, written to a file, and listed by the API."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from testkit.disk import needs_root, small_disk
from tests.unit.agent.api.agent import NOW, Agent, Story
from tests.unit.agent.monitoring.reports import (
    UNKNOWN,
    identified,
    record,
    refused,
    send_messages,
)
from whence.agent.monitoring.call_log import CallsFile
from whence.agent.monitoring.call_record import CallRecord
from whence.agent.monitoring.calls import SAME_LIMIT, Calls
from whence.agent.monitoring.decision_receiver import DecisionReceiver
from whence.core.identification.decision import Decision
from whence.errors import DecisionSocketError
from whence.ipc import decisions
from whence.ipc.decisions import message

WithAgent = Callable[[Story], None]


def send(calls: Calls, decision: Decision = UNKNOWN, **parts: Any) -> None:
    data = record(decision, **parts)
    calls.receive(decisions.read(data), data)


def ids(found: list[CallRecord]) -> list[str]:
    return [one.call_id for one in found]


def test_last_returns_the_newest_decisions_first() -> None:
    calls = Calls(3)
    for number in range(5):
        send(calls, identified(), call_id=f"a{number}", at=NOW + number)
    send(calls, UNKNOWN, call_id="s", at=NOW + 3.5)
    assert ids(calls.last(10)) == ["a4", "s", "a3", "a2"]
    assert ids(calls.last(2)) == ["a4", "s"]


def test_flood_of_unknown_sources_evicts_no_call_of_a_trunk() -> None:
    calls = Calls(10)
    send(calls, identified(), call_id="mine")
    send(calls, refused("acme", "bell"), call_id="refused")
    for number in range(1000):
        send(calls, UNKNOWN, call_id=str(number))
    assert ids(calls.of("mine")) == ["mine"]
    assert ids(calls.of("refused")) == ["refused"]
    assert len(calls.last(1000)) == 12


def test_options_of_a_provider_evict_no_call() -> None:
    calls = Calls(2)
    send(calls, identified(), call_id="mine")
    for number in range(10):
        send(calls, identified(), call_id=str(number), method="OPTIONS")
    assert ids(calls.last(10)) == ["mine"]
    assert calls.last_call_at == {"acme": NOW}
    assert calls.decisions["identified", "number", "acme"] == 11  # type: ignore[index]


def test_calls_with_limit_zero_keep_none_and_count_all() -> None:
    calls = Calls(0)
    send(calls, identified())
    assert calls.last(10) == []
    assert sum(calls.decisions.values()) == 1


def test_calls_of_finds_a_call_by_its_whole_call_id() -> None:
    calls = Calls(10)
    for call_id in ("abc@x", "bc@x", "c\x1fbc@x", ""):
        send(calls, call_id=call_id)
    assert ids(calls.of("bc@x")) == ["bc@x"]
    assert ids(calls.of("abc@x")) == ["abc@x"]
    assert ids(calls.of("c\x1fbc@x")) == ["c\x1fbc@x"]
    assert ids(calls.of("@x")) == []


def test_calls_of_finds_an_escaped_call_id() -> None:
    calls = Calls(10)
    send(calls, call_id="a\x1b[31m\u202e")
    assert len(calls.of("a\x1b[31m\u202e")) == 1
    assert len(calls.of(r"a\x1b[31m\u202e")) == 1


def test_calls_of_finds_a_very_long_call_id() -> None:
    calls = Calls(10)
    send(calls, call_id="a" * 5000)
    assert len(calls.of("a" * 5000)) == 1


def test_call_id_of_many_decisions_returns_the_last() -> None:
    calls = Calls(1000)
    for number in range(100):
        send(calls, call_id="same", at=NOW + number)
    found = calls.of("same")
    assert [one.at for one in found] == [NOW + n for n in range(100 - SAME_LIMIT, 100)]


# The file of calls.


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_call_log_has_a_line_of_json_for_a_trunks_call(tmp_path: Path) -> None:
    file = tmp_path / "calls.json"
    calls = Calls(0, CallsFile(file))
    send(calls, identified(), call_id="a", to="sip:b@x")
    send(calls, UNKNOWN, call_id="an unknown source's")
    send(calls, refused("acme", "bell"), call_id="\x1b[31m", ruri="sip:\u202e@x\n{}")
    first, second = lines(file)
    assert first == {
        "at": NOW,
        "call_id": "a",
        "direction": "in",
        "method": "INVITE",
        "caller": None,
        "called": "sip:+442071234567@edge.example",
        "user": None,
        "target": None,
        "emergency": False,
        "state": None,
        "status": None,
        "outcome": None,
        "failure": None,
        "answered_at": None,
        "answered_by": None,
        "ended_at": None,
        "duration_s": None,
        "hung_up_by": None,
        "tried": [],
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


def test_call_log_is_renamed_at_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "calls.json"
    calls = Calls(0, CallsFile(file, limit=4000))
    for number in range(100):
        send(calls, identified(), call_id=str(number))
    former = tmp_path / "calls.json.1"
    assert sorted(tmp_path.iterdir()) == [file, former]
    assert all(one.stat().st_size < 5000 for one in (file, former))
    last = [one["call_id"] for one in lines(former) + lines(file)]
    assert last == [str(n) for n in range(100 - len(last), 100)]


def test_call_log_that_cannot_be_written_is_logged_once(
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
    caplog.set_level("INFO")
    file.rmdir()
    send(calls, identified())
    assert caplog.records[-1].getMessage() == f"{file}: calls are written again"
    assert len(lines(file)) == 1
    assert len(calls.last(10)) == 4


@needs_root
def test_call_log_on_a_full_disk_has_no_part_of_a_line(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 200_000) as disk:
        file = disk.path / "calls.json"
        written = CallsFile(file)
        calls = Calls(10, written)
        while not written.errors:
            send(calls, identified(), call_id="before")
        before = lines(file)
        assert {one["call_id"] for one in before} == {"before"}
        os.truncate(file, len(file.read_bytes().partition(b"\n")[0]) + 1)
        send(calls, identified(), call_id="after")
        assert [one["call_id"] for one in lines(file)] == ["before", "after"]


# The socket.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / decisions.SOCKET_FILE


@pytest.fixture
def calls() -> Calls:
    return Calls(10)


@pytest.fixture
def receiver(path: Path, calls: Calls) -> Iterator[DecisionReceiver]:
    receiver = DecisionReceiver(path, [calls])
    yield receiver
    receiver.close()


def test_receiver_counts_dropped_reports(
    receiver: DecisionReceiver, calls: Calls, path: Path
) -> None:
    first, second = (record(call_id=id_) for id_ in "ab")
    send_messages(path, message([first], 3), message([second], 4))
    receiver.drain()
    assert sorted(ids(calls.last(10))) == ["a", "b"]
    assert receiver.dropped == 7


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\xff" * 100,
        b"9" + message([record()])[1:],
        message([record()])[:40],
        message([record()[:40]]),
    ],
)
def test_receiver_counts_and_logs_an_invalid_message_once(
    receiver: DecisionReceiver,
    calls: Calls,
    path: Path,
    data: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    send_messages(path, data, data, message([record(call_id="a")]))
    receiver.drain()
    assert ids(calls.last(10)) == ["a"]
    assert receiver.invalid == 2
    assert len(caplog.records) == 1


def test_receiver_socket_is_for_its_user_only(receiver: DecisionReceiver, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_receiver_replaces_the_socket_of_a_former_agent(path: Path) -> None:
    for _ in range(2):
        DecisionReceiver(path).close()
    assert path.is_socket()


def test_receiver_that_cannot_be_made_raises_with_a_remedy(path: Path) -> None:
    path.mkdir()
    with pytest.raises(
        DecisionSocketError, match=r"cannot be made: .*; remove what is in its place"
    ):
        DecisionReceiver(path)


# The API.


async def happened(agent: Agent, *records: bytes) -> None:
    for data in records:
        agent.calls.receive(decisions.read(data), data)


def test_api_explains_a_call_as_it_was_and_as_it_is_now(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await happened(agent, record(identified("acme"), "a/b@x%41?", "udp:192.0.2.1:40000"))
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

    with_agent(story)


def test_refused_call_is_explained_after_its_source_is_allowed(
    with_agent: WithAgent,
) -> None:
    async def story(agent: Agent) -> None:
        ruri = "sip:+442071234567@edge.example"
        data = record(UNKNOWN, "late", "udp:192.0.2.1:40000", ruri=ruri, at=NOW + 3700)
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

    with_agent(story)


def test_call_without_its_evidence_has_no_then(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await happened(agent, record(UNKNOWN, "odd", "udp:192.0.2.1:40000", at=NOW))
        (call,) = await agent.get("/v1/calls/odd")
        assert (call["decision"], call["then"]) == ("unknown", None)
        assert call["now"]["decision"] == "identified"

    with_agent(story)


@pytest.mark.parametrize("call_id", ["%2E%2E", "%2E", "%00", "a%0Ab", "x" * 3000, "%FF"])
def test_call_that_is_not_in_memory_answers_404(with_agent: WithAgent, call_id: str) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask(f"/v1/calls/{call_id}")
        assert answer.status_code == 404
        assert answer.json()["detail"].isprintable()

    with_agent(story)


HOSTILE = "\x1b]0;owned\x07\r\n\x9b31m\u202e"


def test_api_escapes_hostile_texts_of_a_call(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        uri = f"sip:%1b%5b31m{HOSTILE}@edge.example"
        data = record(UNKNOWN, f"id{HOSTILE}", ruri=uri, to=uri, called=uri, method=HOSTILE[:5])
        await happened(agent, data)
        for path in ("/v1/calls", r"/v1/calls/id%5Cx1b]0;owned%5Cx07%5Cr%5Cn%5Cx9b31m%5Cu202e"):
            (call,) = await agent.get(path)
            assert _all_printable(call), call
            assert "owned" in call["call_id"]
        explained = await agent.explain("udp:192.0.2.1:5060", "sip:%1b[31m@edge.example")
        assert _all_printable(explained)

    with_agent(story)


def _all_printable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_all_printable, value.values()))
    if isinstance(value, list):
        return all(map(_all_printable, value))
    return not isinstance(value, str) or value.isprintable()


def test_call_with_uris_that_were_cut_has_no_now(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await happened(agent, record(ruri=f"sip:{'+' * 5000}@x", call_id="long"))
        (call,) = await agent.get("/v1/calls/long")
        assert call["now"] is None
        assert call["ruri"].endswith("…")

    with_agent(story)


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", ""])
def test_calls_with_a_wrong_limit_answer_422(with_agent: WithAgent, limit: str) -> None:
    async def story(agent: Agent) -> None:
        assert (await agent.ask(f"/v1/calls?limit={limit}")).status_code == 422

    with_agent(story)


def test_metrics_count_decisions_of_present_trunks(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await happened(
            agent,
            record(identified("acme"), at=NOW - 20),
            record(identified("acme"), at=NOW - 10),
            record(identified("gone")),
            record(refused("acme", "bell")),
            *[record(UNKNOWN, source=f"udp:192.0.2.{n}:5060") for n in range(100, 110)],
        )
        text = (await agent.ask("/metrics")).text
        samples = dict(re.findall(r"^(\w+(?:\{.*?\})?) (\S+)$", text, re.MULTILINE))
        decided = {name: count for name, count in samples.items() if "whence_decisions_" in name}
        assert decided == {
            'whence_decisions_total{decision="identified",rule="number",trunk="acme"}': "2.0",
            'whence_decisions_total{decision="refused",rule="",trunk=""}': "1.0",
            'whence_decisions_total{decision="unknown",rule="",trunk=""}': "10.0",
        }
        assert float(samples['whence_trunk_last_call_timestamp_seconds{trunk="acme"}']) == NOW - 10
        assert 'trunk="gone"' not in text
        assert samples["whence_decision_reports_dropped_total"] == "0.0"

    with_agent(story)


def test_api_lists_calls_by_filters_and_pages(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        for number in range(5):
            decision = identified("acme" if number % 2 else "bell")
            await happened(agent, record(decision, str(number), at=NOW + number))
        found = await agent.get("/v1/calls?trunk=bell&number=0044%2020%2071234567")
        assert [call["call_id"] for call in found] == ["4", "2", "0"]
        found = await agent.get("/v1/calls?since=1970-01-12T13:46:43Z")
        assert [call["call_id"] for call in found] == ["4", "3"]
        pages, cursor = [], ""
        while cursor is not None:
            answer = await agent.ask(f"/v1/calls?limit=2{cursor and '&cursor=' + quote(cursor)}")
            page = answer.json()
            pages.append([call["call_id"] for call in page["items"]])
            cursor = page["next"]
        assert pages == [["4", "3"], ["2", "1"], ["0"]]
        for wrong in ("trunks=acme", "number=1", "failed=maybe", "since=yesterday"):
            assert (await agent.ask(f"/v1/calls?{wrong}")).status_code == 422

    with_agent(story)
