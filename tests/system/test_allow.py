"""Unknown sources: how they are listed, allowed for a time, and revoked."""

from functools import partial

import pytest

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import ACCOUNTS, alices_trunk, try_to_call, uri

REPORTS_AT_ONCE = 7
"""Fewer reports than the system queues for the agent (10); it may drop further ones."""


@pytest.fixture
def whence(rig: Rig) -> Whence:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider)], users=["alice"])
    whence.wait_registered()
    return whence


def listed(whence: Whence) -> list[str]:
    return [str(one["source"]) for one in whence.get("/v1/unknown-sources")]


def are_counted(whence: Whence, number: int) -> bool:
    line = f'whence_decisions_total{{decision="unknown",rule="",trunk=""}} {number}.0'
    return line in whence.metrics().splitlines()


def test_allow_admits_a_source_until_its_time_ends(rig: Rig, whence: Whence) -> None:
    phone = rig.phone("alice", whence)
    unknown_source = rig.endpoint("unknown_source", SIP_PORT)
    source = f"udp:{unknown_source.address[0]}:{SIP_PORT}"
    for _ in range(3):
        assert try_to_call(unknown_source, whence) == 403
    eventually(lambda: whence.get("/v1/unknown-sources")[0]["requests"] == 3, what="three requests")
    result = whence.cli("unknown")
    assert (result.returncode, result.stderr) == (0, "")
    (row,) = (line for line in result.stdout.splitlines() if source in line)
    assert uri(whence) in row

    result = whence.cli("allow", source, "--trunk", "alices-trunk", "--for", "8s")
    assert (result.returncode, result.stderr) == (0, "")
    caller = rig.caller(whence, at="unknown_source")
    caller.call(uri(whence), expect=200)
    arrived = phone.calls()[-1]
    assert arrived["X-Whence-Trunk"] == "alices-trunk"
    assert listed(whence) == []

    eventually(lambda: try_to_call(unknown_source, whence) == 403, what="the end of its time")
    eventually(lambda: listed(whence) == [source], what="the unknown source in the list")
    assert len(phone.calls()) >= 1


def test_allowed_source_stays_admitted_after_a_restart(rig: Rig, whence: Whence) -> None:
    rig.phone("alice", whence)
    unknown_source = rig.endpoint("unknown_source", SIP_PORT)
    assert try_to_call(unknown_source, whence) == 403
    source = f"udp:{unknown_source.address[0]}:{SIP_PORT}"
    whence.post(
        "/v1/unknown-sources/allow", {"source": source, "trunk": "alices-trunk", "for_s": 3600}
    )
    whence.restart()
    rig.caller(whence, at="unknown_source").call(uri(whence), expect=200)


def test_revoke_ends_an_allowed_source_at_once(rig: Rig, whence: Whence) -> None:
    rig.phone("alice", whence)
    unknown_source = rig.endpoint("unknown_source", SIP_PORT)
    ip = unknown_source.address[0]
    mine = ("--trunk", "alices-trunk")
    assert whence.cli("allow", f"tcp:{ip}:7", *mine, "--for", "1h").returncode == 0
    assert whence.cli("allow", ip, *mine, "--for", "1h").returncode == 0
    caller = rig.caller(whence, at="unknown_source")
    caller.call(uri(whence), expect=200)
    result = whence.cli("revoke", ip, *mine)
    assert (result.returncode, result.stderr) == (0, "")
    caller.call(uri(whence), expect=403)
    near = whence.explain(f"udp:{ip}:{SIP_PORT}", uri(whence))["nearest"]
    assert [one["code"] for one in near["missing"]] == ["address_revoked"]
    assert ip in near["missing"][0]["message"]
    assert "revoked" in whence.cli("trunk", "alices-trunk").stdout

    for again, why in (
        (("revoke", ip, *mine), f"{ip} is not allowed as trunk alices-trunk"),
        (("revoke", ip, "--trunk", "nobody"), "no trunk nobody is configured"),
        (("allow", "0.0.0.0", *mine, "--for", "1h"), "is no host's address"),
        (("allow", "224.0.0.1", *mine, "--for", "1h"), "is no host's address"),
        (("allow", ip, *mine, "--for", "31d"), "is more than 30d"),
    ):
        result = whence.cli(*again)
        assert result.returncode != 0
        assert why in " ".join(result.stderr.split()), result.stderr


def test_flood_hides_no_unknown_source_and_no_call(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(
        trunks=[alices_trunk(provider)],
        users=["alice"],
        agent={"unknown_sources_size": 20, "call_history_size": 20},
    )
    whence.wait_registered()
    phone = rig.phone("alice", whence)
    rig.caller(whence, at=provider).call(uri(whence), expect=200)
    unknown_source = rig.endpoint("unknown_source", SIP_PORT)
    made_up = [rig.endpoint(f"made-up-{number}") for number in range(200)]
    for number, caller in enumerate([unknown_source] * 3 + made_up, start=1):
        assert try_to_call(caller, whence) == 403
        if number % REPORTS_AT_ONCE == 0 or number == len(made_up) + 3:
            eventually(partial(are_counted, whence, number), what=f"{number} counted decisions")

    first, *others = whence.get("/v1/unknown-sources?limit=1000")
    assert (first["source"], first["requests"]) == (
        f"udp:{unknown_source.address[0]}:{SIP_PORT}",
        3,
    )
    assert len(others) == 20
    (call,) = whence.get(f"/v1/calls/{phone.calls()[-1].call_id}")
    assert call["trunk"] == "alices-trunk"
    assert len(whence.get("/v1/calls?limit=1000")) == 21
