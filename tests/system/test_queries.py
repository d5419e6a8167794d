"""Commands that query the agent, and the API itself: for operators, programs and browsers."""

import json
import os
import re
import signal
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from testkit.api import numbers
from testkit.network import SIP_PORT
from testkit.process import Process, beside_python
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.wait import PATIENCE_S, eventually
from testkit.whence import API_PORT, Whence, trunk
from tests.system.scene import (
    ACCOUNTS,
    ALICE,
    ALICES_NUMBER,
    UNASSIGNED_NUMBER,
    alices_trunk,
    bobs_trunk,
    source,
    uri,
)

CLOCK = r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"
"""An instant. It has a date if that is not today, as in the last hour of a day."""


@dataclass
class Scene:
    whence: Whence
    provider: Provider

    def rows(self, *command: str) -> list[list[str]]:
        """Run a command, and return the rows of its table, split into columns; first the header."""
        result = self.whence.cli(*command)
        assert (result.returncode, result.stderr) == (0, "")
        lines = [line for line in result.stdout.splitlines() if line.strip(" ─")]
        return [re.split(r" {2,}", line.strip()) for line in lines]

    def as_json(self, *command: str) -> Any:
        result = self.whence.cli(*command, "--json")
        assert (result.returncode, result.stderr) == (0, "")
        return numbers(json.loads(result.stdout))


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    rig = shared_rig
    provider = rig.provider(accounts=ACCOUNTS)
    other = rig.provider("other", accounts={"acct9": "right"}, domain="other.example")
    whence = rig.whence(
        trunks=[
            alices_trunk(provider),
            bobs_trunk(provider),
            trunk("denied", other, "acct9", ALICE, password="wrong"),
            trunk("off", other, "acct9", ALICE, enabled=False),
        ],
        users=["alice", "bob"],
    )
    whence.wait_registered("alices-trunk", "bobs-trunk")
    whence.wait_state("denied", "auth_failed")
    rig.phone("alice", whence)
    return Scene(whence, provider)


def test_trunks_command_lists_each_trunk(scene: Scene) -> None:
    heads, alice, bob, denied, off = scene.rows("trunks")
    assert heads == [
        *("trunk", "state", "granted until", "next REGISTER", "registrar", "last answer"),
        *("failures", "since", "why"),
    ]
    registrar = f"udp:{scene.provider.ip}:5060"
    for row, name in ((alice, "alices-trunk"), (bob, "bobs-trunk")):
        assert row[:2] == [name, "registered"]
        assert re.fullmatch(rf"{CLOCK} \(in (59 min \d+ s|1 h 0 min)\)", row[2]), row
        assert re.fullmatch(rf"{CLOCK} \(in 4\d min \d+ s\)", row[3]), row
        assert row[4:7] == [registrar, "200 OK", "0"]
        assert re.fullmatch(rf"{CLOCK} \(.* ago\)", row[7]), row
        assert row[8:] == ["granted 3600 s"]
    assert denied[:3] == ["denied", "auth_failed", "-"]
    assert denied[4:7] + denied[8:] == ["-", "401 Unauthorized", "1", "wrong credentials"]
    assert off[:7] == ["off", "unregistered", "-", "-", "-", "none", "0"]
    assert off[8:] == ["unregistered"]
    assert scene.as_json("trunks") == scene.whence.get("/v1/trunks")


def test_addresses_command_lists_each_address(scene: Scene) -> None:
    heads, *rows = scene.rows("addresses")
    assert heads == ["trunk", "ip", "port", "transport", "until", "origin", "since", "note"]
    expected = [scene.provider.ip, "any (5060)", "udp"]
    assert [row[5] for row in rows] == ["learned", "learned"]
    assert [row[:4] for row in rows] == [["alices-trunk", *expected], ["bobs-trunk", *expected]]
    assert scene.as_json("addresses") == scene.whence.get("/v1/addresses")


def test_users_command_lists_each_user(scene: Scene, shared_rig: Rig) -> None:
    heads, alice, bob = scene.rows("users")
    assert heads == ["user", "until", "phone"]
    assert alice[::2] == ["alice@edge.example", f"sip:alice@{shared_rig.ip('phone-alice')}:5060"]
    assert bob == ["bob@edge.example", "-", "not registered"]
    assert scene.as_json("users") == scene.whence.get("/v1/users")


def test_explain_shows_the_decision_and_its_steps(scene: Scene) -> None:
    asked = ["--source", source(scene.provider), "--ruri", uri(scene.whence)]
    first, heads, *steps = scene.rows("explain", *asked)
    assert first == ["identified as trunk alices-trunk: number of trunk alices-trunk"]
    assert heads == ["rule", "compared", "fits"]
    learned = rf"\(learned {scene.provider.ip} over udp, port {SIP_PORT}, .* more\)"
    assert steps[0][:2] == ["address", source(scene.provider)]
    assert re.fullmatch(f"alices-trunk {learned}, bobs-trunk {learned}", steps[0][2])
    assert steps[-1][:2] == ["number", f"{ALICES_NUMBER} in Request-URI"]
    assert steps[-1][2] == f"alices-trunk (its {ALICES_NUMBER})"
    answer = scene.as_json("explain", *asked)
    assert (answer["decision"], answer["trunk"]) == ("identified", "alices-trunk")
    assert [step["left"] for step in answer["steps"]][-1] == ["alices-trunk"]


@pytest.mark.parametrize("header", ["--to", "--p-called-party-id"])
def test_explain_with_a_number_header_finds_the_trunk(scene: Scene, header: str) -> None:
    called = f'"Bob, B" <{uri(scene.whence, ALICES_NUMBER)}>;tag=1'
    asked = ["--source", source(scene.provider), "--ruri", uri(scene.whence, UNASSIGNED_NUMBER)]
    assert scene.as_json("explain", *asked)["decision"] == "refused"
    assert scene.as_json("explain", *asked, header, called)["trunk"] == "alices-trunk"


def test_explain_of_an_unknown_source_gives_the_reason(scene: Scene) -> None:
    asked = ["--source", "udp:198.51.100.7:5060", "--ruri", uri(scene.whence)]
    assert scene.rows("explain", *asked)[0] == ["unknown: no address admits the source"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["--source", "198.51.100.7", "--ruri", "sip:x@y"], 'write transport:ip:port, "udp:'),
        (["--source", "udp:198.51.100.7:5060", "--ruri", "hello"], "is not a SIP URI; write"),
    ],
)
def test_explain_with_a_wrong_argument_gives_one_sentence(
    scene: Scene, asked: list[str], expected: str
) -> None:
    result = scene.whence.cli("explain", *asked)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert expected in line


def test_command_without_an_agent_says_what_to_do(scene: Scene) -> None:
    for command in ("trunks", "addresses", "users"):
        result = scene.whence.cli(command, "--api", f"http://{scene.provider.ip}:{API_PORT}")
        assert (result.returncode, result.stdout) == (1, "")
        (line,) = result.stderr.splitlines()
        assert "no agent answers at" in line
        assert "whence run -c FILE" in line


def test_command_takes_the_api_from_the_environment(scene: Scene) -> None:
    """A web proxy in the environment is not used for loopback."""
    # `Whence.cli` would add --api.
    asked = Process(
        "by-environment",
        [beside_python("whence"), "trunks", "--json"],
        scene.whence.file.with_suffix(".environment"),
        env={"WHENCE_API": scene.whence.api, "http_proxy": "http://198.51.100.1:3128"},
    )
    with asked:
        assert asked.wait(30) == 0
    assert len(json.loads(asked.log)) == 4


# --- the API


def test_api_refuses_a_foreign_host(scene: Scene) -> None:
    """A web page in the operator's browser must not reach the API by a name of its own."""
    with httpx.Client(base_url=scene.whence.api, trust_env=False) as client:
        for path in ("/v1/trunks", "/metrics", "/docs", "/healthz"):
            for host in ("evil.example", f"evil.example:{API_PORT}", "198.51.100.7"):
                refusal = client.get(path, headers={"Host": host})
                assert refusal.status_code == 400
                assert "trunk" not in refusal.text
        assert client.get("/healthz", headers={"Host": f"localhost:{API_PORT}"}).status_code == 200


def test_api_serves_its_description(scene: Scene) -> None:
    described = scene.whence.get("/openapi.json")
    assert {"/healthz", "/v1/trunks", "/v1/addresses", "/v1/users", "/v1/explain"} <= set(
        described["paths"]
    )
    with httpx.Client(base_url=scene.whence.api, trust_env=False) as client:
        assert client.get("/docs").status_code == 200


def test_metrics_have_registrations_and_addresses(scene: Scene) -> None:
    output = scene.whence.metrics()
    for line in (
        'whence_registrations{state="registered"} 2.0',
        'whence_registrations{state="auth_failed"} 1.0',
        "whence_registrations_active 2.0",
        'whence_addresses{origin="learned"} 2.0',
        'whence_registration_attempts_total{outcome="registered"} 2.0',
        'whence_registration_attempts_total{outcome="auth_failed"} 1.0',
    ):
        assert line in output.splitlines(), output


def test_healthz_with_kamailio_stopped_is_503(scene: Scene) -> None:
    assert scene.whence.get("/healthz") == {"kamailio": True, "directory": True, "disk": True}
    pids = scene.whence.kamailio_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: scene.whence.health() == 503, what="status 503")
        with httpx.Client(base_url=scene.whence.api, trust_env=False, timeout=PATIENCE_S) as client:
            assert client.get("/healthz").json() == {
                "kamailio": False,
                "directory": True,
                "disk": True,
            }
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    scene.whence.wait_healthy()
