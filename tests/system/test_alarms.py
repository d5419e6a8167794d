"""Alarms in the API, in `whence alarms`, in the log, and at the webhook."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from testkit.api import numbers
from testkit.rig import Rig
from testkit.sip import request
from testkit.wait import eventually
from testkit.whence import Whence, trunk
from tests.system.scene import ACCOUNTS, ALICE, ALICES_NUMBER, alices_trunk, place, try_to_call

TOKEN = "the-webhooks-token"


class Receiver:
    """An HTTP server for the webhook. It keeps each POST, and answers with `status`."""

    def __init__(self, ip: str) -> None:
        self.status = 200
        self.posts: list[tuple[int, dict[str, Any], str | None]] = []
        """Each POST: the status of the answer, the alarm, and the header Authorization."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = numbers(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                receiver.posts.append((receiver.status, body, self.headers.get("Authorization")))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer((ip, 0), Handler)
        self.url = f"http://{ip}:{self._server.server_port}/hidden-path"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def accepted(self, kind: str) -> list[dict[str, Any]]:
        return [event for status, event, _ in self.posts if status == 200 and event["kind"] == kind]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver(rig: Rig) -> Iterator[Receiver]:
    receiver = Receiver(rig.ip("receiver"))
    yield receiver
    receiver.close()


def alarms_of(whence: Whence, kind: str) -> list[dict[str, Any]]:
    return [event for event in whence.get("/v1/alarms") if event["kind"] == kind]


def test_webhook_after_a_failure_gets_the_alarms(rig: Rig, receiver: Receiver) -> None:
    provider = rig.provider(accounts=ACCOUNTS, grants_s=6)
    other = rig.provider("other", accounts={"acct9": "right"}, domain="other.example")
    (rig.directory / "hook.token").write_text(TOKEN)
    whence = rig.whence(
        trunks=[alices_trunk(provider), trunk("others-trunk", other, "acct9", ALICE)],
        users=["alice"],
        agent={
            "webhook": receiver.url,
            "webhook_token_file": "hook.token",
            "on_stop": "leave",
        },
    )
    whence.wait_registered()
    receiver.status = 503
    (contact,) = provider.contacts("acct1")
    token = contact.uri.partition(":")[2].partition("@")[0]
    thief = rig.endpoint("other", 5070)
    for _ in range(3):
        stolen = request("INVITE", f"sip:{token}@{place(whence.address)}", thief.address)
        assert thief.ask(stolen, whence.address).status == 403
    (event,) = eventually(lambda: alarms_of(whence, "token_from_wrong_source"), what="the alarm")
    assert event["trunk"] == "alices-trunk"
    assert place(thief.address) in event["message"]
    eventually(lambda: receiver.posts, what="a POST that fails")
    receiver.status = 200
    eventually(lambda: receiver.accepted("token_from_wrong_source") == [event], what="the post")
    assert {sent for _, _, sent in receiver.posts} == {f"Bearer {TOKEN}"}

    provider.refuse(503)
    eventually(lambda: receiver.accepted("registration_expired"), what="the expiry")
    (expired,) = alarms_of(whence, "registration_expired")
    assert (expired["trunk"], expired["left_out"]) == ("alices-trunk", 0)
    result = whence.cli("alarms")
    assert (result.returncode, result.stderr) == (0, "")
    assert "registration_expired" in result.stdout and str(event["id"]) in result.stdout
    shown = whence.cli("alarms", "--since", str(event["id"]), "--json").stdout
    (after,) = numbers(json.loads(shown))
    assert after == expired

    assert whence.log.count("token_from_wrong_source: a call that names its token") == 1
    for secret in (TOKEN, "hidden-path"):
        assert secret not in whence.log


def test_many_unknown_requests_raise_one_alarm(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(
        trunks=[alices_trunk(provider)],
        users=["alice"],
        agent={"unknown_requests_per_minute_alarm": 10},
    )
    whence.wait_registered()
    unknown_source = rig.unknown_source()
    for _ in range(30):
        assert try_to_call(unknown_source, whence) == 403
    (event,) = eventually(lambda: alarms_of(whence, "many_unknown_requests"), what="the alarm")
    assert "more than 10 requests of unknown sources in a minute" in event["message"]
    assert f"{unknown_source.address[0]}" in event["message"]
    assert len(alarms_of(whence, "many_unknown_requests")) == 1


def test_conflict_at_a_learned_address_raises_one_alarm(rig: Rig) -> None:
    """The agent looks for conflicts after each registration, without a request of an operator."""
    provider = rig.provider(accounts=ACCOUNTS, refuses=403)
    both = [trunk(user, provider, user, ALICE, [ALICES_NUMBER]) for user in ("acct1", "acct2")]
    whence = rig.whence(trunks=both, users=["alice"], agent={"on_stop": "leave"})
    for one in ("acct1", "acct2"):
        whence.wait_state(one, "waiting")
    assert alarms_of(whence, "conflict") == [], "no trunk has an address yet"
    provider.accept()
    whence.cli("register", "acct1")
    whence.cli("register", "acct2")
    whence.wait_registered()
    (event,) = eventually(lambda: alarms_of(whence, "conflict"), what="the alarm")
    assert event["trunk"] == "acct1"
    assert f"trunks acct1, acct2 at {provider.ip}" in event["message"]
    assert "whence_conflicts 1.0" in whence.metrics().splitlines()
    assert whence.log.count("conflict: trunks acct1, acct2 at ") == 1


def webhook_lines(receiver: Receiver) -> list[tuple[str, str, str | None]]:
    return [
        (event["status"], event["kind"], event["trunk"])
        for status, event, _ in receiver.posts
        if status == 200
    ]


def test_trunk_that_cannot_register_fires_and_resolves(rig: Rig, receiver: Receiver) -> None:
    """The alarm is open over a restart of the agent, and its all-clear is of the next agent."""
    provider = rig.provider(accounts=ACCOUNTS)
    other = rig.provider("other", accounts={"acct9": "right"}, domain="other.example")
    other.stop()
    whence = rig.whence(
        trunks=[
            alices_trunk(provider, password="wrong"),
            trunk("others-trunk", other, "acct9", ALICE),
        ],
        users=["alice"],
        agent={"webhook": receiver.url, "on_stop": "leave", "unreachable_alarm_after": 2},
        registration={"response_timeout": 1, "backoff": {"unreachable": [1, 2]}},
    )
    failing = {
        ("firing", "auth_failed", "alices-trunk"),
        ("firing", "registrar_unreachable", "others-trunk"),
    }
    eventually(lambda: set(webhook_lines(receiver)) == failing, what="both alarms")
    assert "WARNING alarm: trunk alices-trunk: auth_failed: " in whence.log
    assert 'whence_trunk_registered{trunk="others-trunk"} 0.0' in whence.metrics().splitlines()

    whence.kill_agent()
    whence.wait_healthy()
    whence.cli("pause", "others-trunk")
    (paused,) = eventually(lambda: receiver.posts[2:], what="an all-clear")
    assert paused[1]["status"] == "resolved"
    assert paused[1]["cleared_message"] == "the operator paused the trunk"

    rows = whence.cli("alarms").stdout.splitlines()
    kinds = [
        kind for row in rows for kind in ("auth_failed", "registrar_unreachable") if kind in row
    ]
    assert kinds == ["auth_failed", "registrar_unreachable"], "the open one is first"

    whence.edit(trunks=[alices_trunk(provider), whence.trunks[1]])
    whence.reload()
    whence.wait_registered("alices-trunk")
    cleared = ("resolved", "auth_failed", "alices-trunk")
    eventually(lambda: cleared in webhook_lines(receiver), what="the all-clear")
    assert len(receiver.posts) == 4, "no alarm was repeated"
    assert not [alarm for alarm in whence.get("/v1/alarms") if alarm["status"] == "firing"]
    assert "whence_trunks_wanted 1.0" in whence.metrics().splitlines()
    assert "whence_trunks_registered 1.0" in whence.metrics().splitlines()


def test_kamailio_that_crashed_is_an_alarm_and_a_metric(rig: Rig) -> None:
    whence = rig.whence(users=["alice"])
    whence.crash_kamailio()
    (alarm,) = eventually(lambda: alarms_of(whence, "kamailio_restarted"), what="the alarm")
    assert alarm["message"] == "Kamailio was started again: kamailio ended (signal 9)"
    assert "whence_kamailio_restarts_total 1.0" in whence.metrics().splitlines()
