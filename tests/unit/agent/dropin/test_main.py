"""`whence agent --track-only`, beside a worker that writes the directory, without Kamailio.

The worker is the edge's own code that stores answers to REGISTERs (store/worker.py).
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from testkit.api import whole
from testkit.network import Network
from testkit.process import Process, beside_python
from testkit.wait import PATIENCE_S, eventually
from tests.unit.agent.monitoring.reports import UNKNOWN, identified, record, send_messages
from whence.agent.dropin.install import STATE, ExistingKamailio, prepare
from whence.core.identification.address import GRACE_S
from whence.core.registration import uac
from whence.core.registration.events import Action
from whence.core.registration.model import AccountKey, Registration, Reply
from whence.core.registration.uac import UacRequest
from whence.core.sip.contact import Contact
from whence.core.sip.transport_address import TransportAddress, canonical_ip
from whence.ipc.decisions import SOCKET_FILE, message
from whence.store.system_clock import boottime
from whence.store.worker import Change, LearningWriter, UacAccount

OURS = "udp:192.0.2.9:5060"


class Agent:
    """The agent, and a worker of the Kamailio beside it."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.folder = folder
        self.state = folder / STATE
        self.api = f"{network.ip('edge')}:8088"
        self.file = folder / "drop-in.toml"
        prepare(folder, ExistingKamailio())
        self.write("")
        self.worker = LearningWriter(self.state / "directory.db")
        self.process: Process | None = None

    def write(self, text: str) -> None:
        self.file.write_text(f'{text}\n[agent]\napi_listen = "{self.api}"\n')

    def start(self) -> None:
        argv: list[str | Path] = [beside_python("whence"), "agent", "--track-only", "-c", self.file]
        self.process = Process("agent", argv, self.folder / "agent.log")
        eventually(lambda: self.get("/v1/trunks") is not None, what="the API answers")

    def stop(self) -> int:
        self.worker.close()
        return self.process.stop() if self.process else 0

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        url = f"http://{self.api}"
        # verify=False: all requests are http://, and loading CA certificates is slow.
        with httpx.Client(
            base_url=url, trust_env=False, timeout=PATIENCE_S, verify=False
        ) as client:
            return client.request(method, path, **more)

    def get(self, path: str) -> Any:
        return whole(path, lambda one: self.ask("GET", one).raise_for_status().json())

    def registers(
        self, l_uuid: str, granted_s: int, source: str = "udp:192.0.2.1:5060", asked: str = ""
    ) -> None:
        """Store a 2xx for an account of uac, as a worker does."""
        now = time.time()
        contact = Contact.parse(f"<sip:{l_uuid}@192.0.2.9>;expires={granted_s}")
        sent = UacRequest(
            contact.uri,
            "sip:acct1@provider.example",
            f"call-{now}",
            1,
            granted_s,
            now,
            asked=(canonical_ip(asked) if asked else TransportAddress.parse(source).ip,),
        )
        reply = Reply(200, "OK", 1, contacts=(contact,))
        place = TransportAddress.parse(source)

        def step(before: Registration, at: float) -> tuple[Registration, Sequence[Action]]:
            return uac.answered(before, sent, reply, place, at, GRACE_S)

        account = UacAccount(l_uuid, "acct1", "sip:alice@edge.example")
        self.worker.write(
            Change(l_uuid, AccountKey(sent.aor), OURS, boottime(), step, account), 1.0
        )

    def reports(self, data: bytes) -> None:
        send_messages(self.state / SOCKET_FILE, message([data]))


@pytest.fixture
def agent() -> Iterator[Agent]:
    with Network() as network, tempfile.TemporaryDirectory(prefix="whence-track-") as folder:
        agent = Agent(network, Path(folder))
        yield agent
        agent.stop()


def test_agent_shows_what_a_worker_stored(agent: Agent) -> None:
    agent.start()
    agent.registers("acme", 600)
    [trunk] = eventually(lambda: agent.get("/v1/trunks"))
    assert (trunk["id"], trunk["state"], trunk["granted_s"]) == ("acme", "registered", 600)
    assert trunk["aor"] == "sip:acct1@provider.example"
    assert trunk["registrar"] == "udp:192.0.2.1:5060"
    [address] = agent.get("/v1/addresses")
    assert (address["trunk"], address["ip"], address["origin"]) == ("acme", "192.0.2.1", "learned")
    question = {"source": "udp:192.0.2.1:5060", "ruri": "sip:acme@192.0.2.9"}
    assert agent.ask("POST", "/v1/explain", json=question).json()["trunk"] == "acme"
    assert 'whence_registrations{state="registered"} 1.0' in agent.ask("GET", "/metrics").text
    history = agent.get("/v1/trunks/acme")["events"]
    assert [event["what"] for event in history] == ["registered"]


def test_agent_raises_expiry_and_registrar_change(agent: Agent) -> None:
    agent.start()
    agent.registers("acme", 600)
    agent.registers("acme", 1, source="udp:192.0.2.2:5060")
    eventually(lambda: len(agent.get("/v1/alarms")) == 2, what="two alarms")
    kinds = [event["kind"] for event in agent.get("/v1/alarms")]
    assert kinds == ["registrar_changed", "registration_expired"]
    assert agent.get("/v1/trunks")[0]["state"] == "waiting"
    assert "whence_registration_expirations_total 1.0" in agent.ask("GET", "/metrics").text
    assert agent.ask("GET", "/healthz").status_code == 503
    agent.registers("acme", 600)
    assert agent.ask("GET", "/healthz").json() == {
        "kamailio": True,
        "directory": True,
        "disk": True,
    }


def test_agent_reports_and_explains_an_ignored_reply(agent: Agent) -> None:
    agent.start()
    agent.registers("acme", 600, source="udp:192.0.2.66:5060", asked="192.0.2.1")
    (event,) = eventually(lambda: agent.get("/v1/alarms"), what="an alarm")
    assert (event["kind"], event["trunk"]) == ("reply_from_unexpected_address", "acme")
    assert "udp:192.0.2.66:5060" in event["message"]
    assert "192.0.2.1" in event["message"]
    assert agent.get("/v1/addresses") == []
    question = {"source": "udp:192.0.2.66:5060", "ruri": "sip:x@192.0.2.9"}
    explanation = agent.ask("POST", "/v1/explain", json=question).json()
    (missing,) = explanation["nearest"]["missing"]
    assert missing["code"] == "reply_ignored"
    assert "a reply to its REGISTER came from 192.0.2.66" in missing["message"]


def test_agent_receives_decisions(agent: Agent) -> None:
    agent.start()
    agent.reports(record(UNKNOWN, call_id="c-1", at=time.time()))
    [call] = eventually(lambda: agent.get("/v1/calls"))
    assert (call["call_id"], call["decision"]) == ("c-1", "unknown")
    [unknown_source] = agent.get("/v1/unknown-sources")
    assert unknown_source["source"] == "udp:192.0.2.1:5060"
    [explained] = agent.get("/v1/calls/c-1")
    assert explained["now"]["decision"] == "unknown"


def test_agent_that_stops_reads_what_waits(agent: Agent) -> None:
    log = agent.folder / "calls.json"
    agent.file.write_text(f'{agent.file.read_text()}call_log_file = "{log}"\n')
    agent.start()
    for call_id in ("first", "while the agent sleeps"):
        agent.reports(record(identified(), call_id=call_id))
        if call_id == "first":
            eventually(log.exists, what="the first call in the file")
    assert agent.stop() == 0
    written = [json.loads(line)["call_id"] for line in log.read_text().splitlines()]
    assert written == ["first", "while the agent sleeps"]


def test_agent_socket_is_for_its_user_alone(agent: Agent) -> None:
    agent.start()
    assert stat.S_IMODE((agent.state / "decisions.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(agent.state.stat().st_mode) == 0o700
    owner = agent.state.stat().st_uid
    assert {path.stat().st_uid for path in agent.state.iterdir()} == {owner}


def test_allow_admits_an_unknown_source(agent: Agent) -> None:
    agent.start()
    order = {"source": "udp:192.0.2.7:5060", "trunk": "acme", "for_s": 60}
    assert agent.ask("POST", "/v1/unknown-sources/allow", json=order).status_code == 404
    agent.registers("acme", 600)
    assert agent.ask("POST", "/v1/unknown-sources/allow", json=order).status_code == 200
    question = {"source": "udp:192.0.2.7:5060", "ruri": "sip:+1@x"}
    assert agent.ask("POST", "/v1/explain", json=question).json()["trunk"] == "acme"


@pytest.mark.parametrize(
    ("order", "command"),
    [
        ("register", "kamcmd uac.reg_refresh s:acme"),
        ("resume", "kamcmd uac.reg_enable l_uuid s:acme"),
        ("unregister", "kamcmd uac.reg_unregister l_uuid s:acme"),
        ("pause", "kamcmd uac.reg_disable l_uuid s:acme"),
    ],
)
def test_order_names_the_command_of_uac(agent: Agent, order: str, command: str) -> None:
    agent.registers("acme", 600)
    agent.start()
    refused = agent.ask("POST", f"/v1/trunks/acme/{order}")
    assert refused.status_code == 409
    assert refused.json()["detail"].endswith(command)
    assert agent.ask("POST", f"/v1/trunks/bell/{order}").status_code == 404
    users = agent.ask("GET", "/v1/users")
    assert (users.status_code, "kamcmd ul.dump" in users.json()["detail"]) == (409, True)


def test_reload_and_sighup_install_a_valid_file(agent: Agent) -> None:
    agent.registers("acme", 600)
    agent.registers("bell", 600)
    agent.start()
    assert agent.process is not None
    question = {"source": "udp:192.0.2.1:5060", "ruri": "sip:+442071234567@x"}

    def identified() -> Any:
        return agent.ask("POST", "/v1/explain", json=question).json()["trunk"]

    assert identified() is None
    agent.write('[numbers]\nacme = ["+442071234567"]')
    change = agent.ask("POST", "/v1/reload").json()
    assert (change["added"], change["needs_restart"]) == (["acme"], False)
    assert identified() == "acme"
    agent.write('[numbers]\nbell = ["+44"]\nacme = ["x"]')
    refused = agent.ask("POST", "/v1/reload")
    assert (refused.status_code, len(refused.json()["errors"])) == (422, 1)
    assert identified() == "acme"
    agent.write('[numbers]\nbell = ["+442071234567"]')
    agent.process.signal(signal.SIGHUP)
    eventually(lambda: identified() == "bell", what="the new file is installed")
    assert agent.get("/v1/trunks/bell")["numbers"] == ["+442071234567"]


def test_agent_stop_keeps_the_registrations(agent: Agent) -> None:
    agent.start()
    agent.registers("acme", 600)
    assert agent.stop() == 0
    agent.start()
    assert agent.get("/v1/trunks")[0]["state"] == "registered"


def test_agent_beside_another_ends_with_1(agent: Agent) -> None:
    agent.start()
    argv: list[str | Path] = [beside_python("whence"), "agent", "--track-only", "-c", agent.file]
    with Process("second", argv, agent.folder / "second.log") as second:
        assert second.wait(20) == 1
        assert "already runs on the state directory" in second.log


def test_agent_with_a_locked_directory_names_it(agent: Agent) -> None:
    path = agent.state / "directory.db"
    argv: list[str | Path] = [beside_python("whence"), "agent", "--track-only", "-c", agent.file]
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with Process("refused", argv, agent.folder / "refused.log") as refused:
            assert refused.wait(20) == 1
            assert refused.log.splitlines() == [
                f"whence: the directory {path} cannot be written: database is locked; end what "
                "has locked it"
            ]


def test_agent_without_a_directory_says_how_to_make_it(agent: Agent) -> None:
    elsewhere = agent.folder / "elsewhere"
    elsewhere.mkdir()
    file = elsewhere / "drop-in.toml"
    file.write_text("")
    argv: list[str | Path] = [beside_python("whence"), "agent", "--track-only", "-c", file]
    with Process("lost", argv, agent.folder / "lost.log") as lost:
        assert lost.wait(20) == 1
        assert f"make it with: whence drop-in {elsewhere}" in lost.log
        assert "Traceback" not in lost.log


def test_root_becomes_the_owner_of_the_directory(agent: Agent) -> None:
    """In a child, because root gives up its rights permanently.

    It imports first in this process: the other user may have no access to the test's Python.
    """
    if os.geteuid() != 0:
        agent.start()
        return
    for path in (*agent.state.iterdir(), agent.state):
        os.chown(path, 65534, 65534)
    pid = os.fork()
    if pid == 0:
        try:
            from whence.agent.runtime.state_directory import become_owner

            become_owner(agent.state)
            alike = os.getresuid() == (65534,) * 3 and os.getresgid() == (65534,) * 3
            os._exit(0 if alike and os.getgroups() == [] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
