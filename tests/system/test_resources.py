"""Limits for unknown sources: log lines, password guesses, connections."""

import re
import socket
import subprocess
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.sip import Endpoint, request
from testkit.stream import StreamEndpoint
from testkit.wait import PATIENCE_S, eventually
from testkit.whence import Whence
from tests.system.scene import ACCOUNTS, alices_trunk, try_to_call, uri

FAILURES = 4
FILTER = Path(__file__).parents[2] / "packaging/fail2ban/filter.d/whence.conf"


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    rig = shared_rig
    provider = rig.provider(accounts=ACCOUNTS)
    # One worker reads the requests in their order, so an answer proves that earlier ones were read.
    edge = {"password_failures": FAILURES, "workers": 1}
    whence = rig.whence(trunks=[alices_trunk(provider)], users=["alice"], edge=edge)
    whence.wait_registered()
    return whence


def reasons(whence: Whence, ip: str) -> list[str]:
    for one in whence.get("/v1/unknown-sources"):
        if f":{ip}:" in one["source"]:
            return list(one["reasons"])
    return []


def has_too_many(whence: Whence, ip: str) -> bool:
    return "too_many_connections" in reasons(whence, ip)


BROKEN: dict[str, str | tuple[str, str]] = {
    "via": "A a SIP/2.0\r\nVia: SIP/2.0/UDP h;;,;,,\r\n\r\n",
    "noise": "\0" * 200,
    "from": ("From: .*?\r\n", "From: <sip:\r\n"),
    "folded-cseq": ("CSeq: 1 ", "CSeq: 1\r\n "),
    "to": ("To: .*?\r\n", 'To: "<sip:\r\n'),
    "no-call-id": ("Call-ID: .*?\r\n", ""),
    "max-forwards": ("Max-Forwards: 70", "Max-Forwards: x"),
    "length": ("Content-Length: 0", "Content-Length: xx"),
}


def broken(kind: str, sender: Endpoint, whence: Whence) -> str:
    how = BROKEN[kind]
    if isinstance(how, str):
        return how
    return re.sub(*how, str(request("INVITE", uri(whence), sender.address)))


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_message_costs_one_line_and_is_listed(
    shared_rig: Rig, whence: Whence, kind: str
) -> None:
    sender = shared_rig.endpoint(f"breaks-{kind}")
    before = len(whence.log.splitlines())
    rounds = 0

    def is_listed() -> bool:
        """Send five messages, and return whether the sender is listed.

        Kamailio may only count messages of a second in which many arrive.
        """
        nonlocal rounds
        rounds += 1
        for _ in range(5):
            sender.send(broken(kind, sender, whence), whence.address)
        assert try_to_call(shared_rig.endpoint("fence"), whence) == 403
        second = int(time.time())
        eventually(lambda: int(time.time()) > second, what="the next second")
        return "unreadable_message" in reasons(whence, sender.address[0])

    eventually(is_listed, what="the sender in the list")
    lines = [line for line in whence.log.splitlines()[before:] if line.startswith("kamailio:")]
    assert len(lines) <= 3 * rounds, lines
    assert not any("<sip:" in line or "h;;" in line for line in lines), (
        "no text of the sender in the log"
    )


def test_folded_cseq_is_answered(shared_rig: Rig, whence: Whence) -> None:
    sender = shared_rig.endpoint("folds")
    invite = request("INVITE", uri(whence), sender.address)
    sender.send(str(invite).replace("CSeq: 1 ", "CSeq: 1\r\n\t"), whence.address)
    answer = sender.receive()
    assert (answer.status, answer.call_id) == (400, invite.call_id)


def test_guessed_password_is_logged_listed_and_blocked(
    shared_rig: Rig, whence: Whence, tmp_path: Path
) -> None:
    guesser = shared_rig.endpoint("guesser")
    ip = guesser.address[0]
    for i in range(FAILURES):
        assert guesser.register(whence.address, "alice", f"no-{i}", "edge.example").status == 401
    wanted = f"phone_password_wrong source={ip} blocked_s="
    eventually(lambda: whence.log.count(wanted) == FAILURES, what="a line for each")
    assert f"{wanted}60 user=alice" in whence.log
    blocked = request("REGISTER", "sip:edge.example", guesser.address)
    guesser.send(blocked, whence.address)
    assert try_to_call(shared_rig.endpoint("fence"), whence) == 403
    assert guesser.waiting() == [], "not even a challenge"
    assert reasons(whence, ip) == ["wrong_password"]
    (alice,) = whence.get("/v1/users")
    assert alice["wrong_passwords"] == FAILURES
    kinds = [one["kind"] for one in whence.get("/v1/alarms")]
    assert "phone_password_guessed" in kinds
    metrics = whence.metrics()
    assert f'whence_unknown_source_notices_total{{reason="wrong_password"}} {FAILURES}.0' in metrics
    assert "whence_phone_password_blocks_total 1.0" in metrics
    row = next(line for line in whence.cli("unknown").stdout.splitlines() if f":{ip}:" in line)
    assert "wrong password" in row
    assert "user alice" in row

    log = tmp_path / "log"
    log.write_text(whence.log)
    command = ["fail2ban-regex", str(log), str(FILTER)]
    output = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    assert f"Failregex: {FAILURES} total" in output, output


def test_phone_elsewhere_registers_while_a_guesser_is_blocked(
    shared_rig: Rig, whence: Whence
) -> None:
    phone = shared_rig.endpoint("at-home")
    secret = whence.password("alice")
    assert phone.register(whence.address, "alice", secret, "edge.example").status == 200


def test_idle_connections_leave_room_for_a_phone(shared_rig: Rig) -> None:
    """Several sources open more TCP connections than Kamailio accepts by default."""
    rig = shared_rig
    provider = rig.provider("other-provider", accounts=ACCOUNTS)
    own = rig.network.ip("streams")
    edge = {"listen": [f"udp:{own}:{SIP_PORT}", f"tcp:{own}:{SIP_PORT}"]}
    whence = rig.whence("streams", trunks=[alices_trunk(provider)], users=["alice"], edge=edge)
    whence.wait_registered()
    crowd = [rig.network.ip(f"crowd-{i}") for i in range(3)]
    with ExitStack() as opened:
        for ip in crowd:
            for _ in range(800):
                one = opened.enter_context(socket.socket())
                one.bind((ip, 0))
                one.settimeout(PATIENCE_S)
                one.connect(whence.address)
        with StreamEndpoint(rig.endpoint("at-home").address[0]) as phone:
            secret = whence.password("alice")
            assert phone.register(whence.address, "alice", secret, "edge.example").status == 200
        for ip in crowd:
            eventually(partial(has_too_many, whence, ip), what="the reason in the list")
