"""An unknown source is listed in any flood, allowed for a while, and then unknown again."""

from functools import partial

import pytest

from testkit.network import SIP_PORT
from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import ACCOUNTS, alices_trunk, try_to_call, uri

TOLD_AT_ONCE = 7
"""Fewer than the system may queue for the agent (10): what is more may be dropped."""


@pytest.fixture
def whence(rig: Rig) -> Whence:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider)], users=["alice"])
    whence.wait_registered()
    return whence


def listed(whence: Whence) -> list[str]:
    return [str(one["source"]) for one in whence.get("/v1/unknown-sources")]


def were_told(whence: Whence, number: int) -> bool:
    told = f'whence_decisions_total{{decision="unknown",rule="",trunk=""}} {number}.0'
    return told in whence.metrics().splitlines()


def test_an_unknown_source_is_allowed_and_its_time_ends(rig: Rig, whence: Whence) -> None:
    phone = rig.phone("alice", whence)
    unknown_source = rig.endpoint("unknown_source", SIP_PORT)
    source = f"udp:{unknown_source.address[0]}:{SIP_PORT}"
    for _ in range(3):
        assert try_to_call(unknown_source, whence) == 403
    eventually(lambda: whence.get("/v1/unknown-sources")[0]["requests"] == 3, what="three requests")
    said = whence.cli("unknown")
    assert (said.returncode, said.stderr) == (0, "")
    (row,) = (line for line in said.stdout.splitlines() if source in line)
    assert uri(whence) in row

    said = whence.cli("allow", source, "--trunk", "alices-trunk", "--for", "8s")
    assert (said.returncode, said.stderr) == (0, "")
    caller = rig.caller(whence, at="unknown_source")
    caller.call(uri(whence), expect=200)
    arrived = phone.calls()[-1]
    assert arrived["X-Whence-Trunk"] == "alices-trunk"
    assert listed(whence) == []

    eventually(lambda: try_to_call(unknown_source, whence) == 403, what="the end of its time")
    eventually(lambda: listed(whence) == [source], what="the unknown source")
    assert len(phone.calls()) >= 1


def test_who_is_let_in_stays_so_through_restarts_of_everything(rig: Rig, whence: Whence) -> None:
    rig.phone("alice", whence)
    unknown_source = rig.endpoint("unknown_source", SIP_PORT)
    assert try_to_call(unknown_source, whence) == 403
    source = f"udp:{unknown_source.address[0]}:{SIP_PORT}"
    whence.post(
        "/v1/unknown-sources/allow", {"source": source, "trunk": "alices-trunk", "for_s": 3600}
    )
    whence.restart()
    rig.caller(whence, at="unknown_source").call(uri(whence), expect=200)


def test_a_source_allowed_by_mistake_is_revoked_at_once(rig: Rig, whence: Whence) -> None:
    rig.phone("alice", whence)
    unknown_source = rig.endpoint("unknown_source", SIP_PORT)
    ip = unknown_source.address[0]
    mine = ("--trunk", "alices-trunk")
    assert whence.cli("allow", f"tcp:{ip}:7", *mine, "--for", "1h").returncode == 0
    assert whence.cli("allow", ip, *mine, "--for", "1h").returncode == 0
    caller = rig.caller(whence, at="unknown_source")
    caller.call(uri(whence), expect=200)
    said = whence.cli("revoke", ip, *mine)
    assert (said.returncode, said.stderr) == (0, "")
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
        said = whence.cli(*again)
        assert said.returncode != 0
        assert why in " ".join(said.stderr.split()), said.stderr


def test_a_flood_hides_neither_an_unknown_source_nor_a_call(
    rig: Rig,
) -> None:
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
    for number, who in enumerate([unknown_source] * 3 + made_up, start=1):
        assert try_to_call(who, whence) == 403
        if number % TOLD_AT_ONCE == 0 or number == len(made_up) + 3:
            eventually(partial(were_told, whence, number), what=f"{number} of them told")

    first, *others = whence.get("/v1/unknown-sources?limit=1000")
    assert (first["source"], first["requests"]) == (
        f"udp:{unknown_source.address[0]}:{SIP_PORT}",
        3,
    )
    assert len(others) == 20
    (call,) = whence.get(f"/v1/calls/{phone.calls()[-1].call_id}")
    assert call["trunk"] == "alices-trunk"
    assert len(whence.get("/v1/calls?limit=1000")) == 21
