"""The history of calls: `whence explain --call`, `whence calls`, the call log.

Calls are identified without an agent too; the edge then counts the reports that are lost.
"""

import json
import os
import re
import signal
from dataclasses import dataclass
from typing import Any

import pytest

from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Endpoint, request
from testkit.sipp import Caller, Phone
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import (
    ACCOUNTS,
    ALICES_NUMBER,
    UNASSIGNED_NUMBER,
    alices_trunk,
    bobs_trunk,
    try_to_call,
    uri,
)


@dataclass
class Scene:
    whence: Whence
    provider: Provider
    phone: Phone
    caller: Caller
    at_provider: Endpoint
    unknown_source: Endpoint

    def explained(self, call_id: str) -> str:
        """Wait until the agent has the call; return the output of `whence explain --call`."""

        def output() -> str:
            done = self.whence.cli("explain", "--call", call_id)
            return done.stdout if done.returncode == 0 else ""

        return eventually(output, what=f"the call {call_id}")


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    rig = shared_rig
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(
        trunks=[alices_trunk(provider), bobs_trunk(provider)],
        users=["alice", "bob"],
        agent={"call_log_file": "calls.json"},
    )
    whence.wait_registered()
    return Scene(
        whence,
        provider,
        rig.phone("alice", whence),
        rig.caller(whence, at=provider),
        rig.endpoint("provider", 5070),
        rig.endpoint("unknown_source", SIP_PORT),
    )


def test_call_identified_is_found_by_its_call_id(scene: Scene) -> None:
    scene.caller.call(uri(scene.whence), expect=200)
    call_id = scene.phone.calls()[-1].call_id
    output = scene.explained(call_id)
    assert "it was identified as trunk alices-trunk: number of trunk alices-trunk" in output
    assert "now it would be identified as trunk alices-trunk" in output
    assert f"Request-URI: {uri(scene.whence)}" in output
    assert re.search(rf"INVITE from udp:{re.escape(scene.provider.ip)}:\d+", output)
    rows = scene.whence.cli("calls").stdout
    assert call_id in rows

    metrics = scene.whence.metrics().splitlines()
    counted = 'whence_decisions_total{decision="identified",rule="number",trunk="alices-trunk"} '
    assert any(line.startswith(counted) for line in metrics)
    assert any(
        line.startswith('whence_trunk_last_call_timestamp_seconds{trunk="alices-trunk"} ')
        for line in metrics
    )

    def written() -> dict[str, Any]:
        lines = (scene.whence.file.parent / "calls.json").read_text("ascii").splitlines()
        (found,) = (one for one in map(json.loads, lines) if one["call_id"] == call_id)
        return dict(found)

    call = eventually(written, what="the line of the call")
    assert (call["trunk"], call["state"], call["status"]) == ("alices-trunk", "ended", 200)
    assert call["target"] == "sip:alice@edge.example"
    assert call["duration_s"] >= 0


def test_call_refused_is_explained(scene: Scene) -> None:
    call = request("INVITE", uri(scene.whence, UNASSIGNED_NUMBER), scene.at_provider.address)
    assert scene.at_provider.ask(call, scene.whence.address).status == 403
    output = scene.explained(call.call_id)
    assert "it was refused: ambiguous" in output
    assert "trunks: alices-trunk, bobs-trunk" in output


def test_call_unknown_to_the_agent_gives_one_sentence(scene: Scene) -> None:
    done = scene.whence.cli("explain", "--call", "nobody@nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "no call with the Call-ID nobody@nowhere is in memory" in line


HOSTILE = ["\x1b]0;owned\x07\x1b[31m", "\x7f\x08\x08", "\u202egnp.exe", "\x9b2J", "\x1f1\x1f2"]
IN_URIS = ["\x1bc", *HOSTILE[1:]]  # with a bracket it is not a URI


@pytest.mark.parametrize("hostile", HOSTILE)
def test_call_id_cannot_control_a_terminal(scene: Scene, hostile: str) -> None:
    call = request(
        "INVITE", uri(scene.whence), scene.unknown_source.address, call_id=f"id{hostile}"
    )
    assert scene.unknown_source.ask(call, scene.whence.address).status == 403
    assert_printable(scene, call.call_id)


@pytest.mark.parametrize("hostile", IN_URIS)
@pytest.mark.parametrize("where", ["Request-URI", "To", "P-Called-Party-ID"])
def test_uri_cannot_control_a_terminal(scene: Scene, hostile: str, where: str) -> None:
    written = f"sip:%1b%5b31m{hostile}x@{scene.whence.address[0]}"
    call = request(
        "INVITE",
        written if where == "Request-URI" else uri(scene.whence),
        scene.unknown_source.address,
        to_uri=written if where == "To" else None,
        headers=[("P-Called-Party-ID", f"<{written}>")] if where == "P-Called-Party-ID" else [],
    )
    status = scene.unknown_source.ask(call, scene.whence.address).status
    if where == "Request-URI" and any(c < " " or c == "\x7f" for c in hostile):
        assert status == 400  # no decision on a malformed Request-URI, and so no call to show
        shown = json.dumps(scene.whence.get("/v1/unknown-sources"), ensure_ascii=False)
        assert shown.isprintable()
        return
    assert status == 403
    assert_printable(scene, call.call_id)


def assert_printable(scene: Scene, call_id: str) -> None:
    """Assert that all output about a call exists, and that all of it is printable."""
    as_json = scene.whence.cli("explain", "--call", call_id, "--json").stdout
    texts = [scene.explained(call_id), as_json]
    for path in ("/v1/calls?limit=1", "/v1/unknown-sources"):
        texts += [json.dumps(scene.whence.get(path), ensure_ascii=False, indent=1)]
    assert all(texts)
    assert not {c for text in texts for c in text if not c.isprintable()} - {"\n"}


def test_calls_without_an_agent_go_on_and_are_counted(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(
        trunks=[alices_trunk(provider)],
        users=["alice"],
        agent={"on_stop": "leave"},
        edge={"workers": 1},
    )
    whence.wait_registered()
    phone = rig.phone("alice", whence)
    caller = rig.caller(whence, at=provider)
    caller.call(uri(whence), expect=200)

    def dropped() -> float:
        (line,) = (
            line
            for line in whence.metrics().splitlines()
            if line.startswith("whence_decision_reports_dropped_total ")
        )
        return float(line.split()[1])

    # The agent dies and leaves its socket file. `whence run` starts it again after a short wait.
    phone.behave("busy")
    at_provider = rig.endpoint("provider")
    call = request("INVITE", uri(whence), at_provider.address)
    whence.kill_agent()
    assert at_provider.ask(call, whence.address).status == 486  # before the new agent runs
    assert len(phone.calls()) == 2
    phone.behave("answers")
    whence.wait_healthy()
    unknown_source = rig.unknown_source()
    assert try_to_call(unknown_source, whence) == 403
    eventually(lambda: dropped() >= 1, what="the count of lost reports")

    # With its next report, the look-out sends how many it has lost.
    caller.call(uri(whence, ALICES_NUMBER), expect=200)
    eventually(
        lambda: "ended" in [call["state"] for call in whence.get("/v1/calls")],
        what="the end of the call",
    )

    # The agent is stopped by a signal, and reports pile up in the queue of the worker.
    before, agent = dropped(), whence.agent_pid()
    os.kill(agent, signal.SIGSTOP)
    try:
        for _ in range(40):
            assert try_to_call(unknown_source, whence) == 403
        caller.call(uri(whence, ALICES_NUMBER), expect=200)
    finally:
        os.kill(agent, signal.SIGCONT)
    calls = whence.get("/v1/calls?limit=41")
    assert [call["decision"] for call in calls] == ["identified"] + ["unknown"] * 40
    assert dropped() == before
