"""A provider calls a number or account of a trunk that is not registered there."""

from dataclasses import dataclass
from typing import Any

import pytest

from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Endpoint, place, request
from testkit.sipp import Phone
from testkit.wait import eventually
from testkit.whence import Whence, trunk
from tests.system.pbx import Pbx
from tests.system.scene import ALICE, source, uri

KIND = "number_of_another_trunk"

ABSENT = {"disabled": "+4930222", "elsewhere": "+4930333", "rejected": "+4930444"}
"""Trunk that is not registered at the provider → its number. Its account lacks the +."""

ACCOUNTS = {"acct1": "secret 1", "acct2": "secret 2"}


@dataclass
class Scene:
    """`mine` and `fallback` at one provider, `lonely` alone at another, three absent trunks."""

    rig: Rig
    whence: Whence
    provider: Provider
    lonely: Provider
    alice: Phone
    mine: Endpoint
    alone: Endpoint

    def status(self, caller: Endpoint, user: str, called: str = "") -> int:
        """Make a call, with a P-Called-Party-ID if given, and return its final status."""
        headers = [("P-Called-Party-ID", f"<sip:{called}@provider.example>")] if called else []
        invite = request("INVITE", uri(self.whence, user), caller.address, headers=headers)
        return caller.ask(invite, self.whence.address).status

    def events(self, trunk_id: str) -> list[dict[str, Any]]:
        """Return the alarms of this kind for one trunk."""
        events = self.whence.get("/v1/alarms")
        return [one for one in events if (one["kind"], one["trunk"]) == (KIND, trunk_id)]


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    rig = shared_rig
    provider = rig.provider(accounts={**ACCOUNTS, "4930222": "x", "4930444": "y"})
    lonely = rig.provider("lonely", accounts={"acct9": "secret 9"}, domain="lonely.example")
    other = rig.provider("other", accounts={"4930333": "z"}, domain="other.example")
    absent = {"disabled": provider, "elsewhere": other, "rejected": provider}
    more: dict[str, dict[str, object]] = {
        "disabled": {"enabled": False},
        "rejected": {"password": "wrong"},
    }
    whence = rig.whence(
        trunks=[
            trunk("mine", provider, "acct1", ALICE, ["+4930111"]),
            trunk("fallback", provider, "acct2", ALICE, ["+4930112"], fallback=True),
            trunk("lonely", lonely, "acct9", ALICE),
            *(
                trunk(id_, at, ABSENT[id_][1:], ALICE, [ABSENT[id_]], **more.get(id_, {}))
                for id_, at in absent.items()
            ),
        ],
        users=["alice"],
    )
    whence.wait_registered("mine", "fallback", "lonely", "elsewhere")
    eventually(lambda: whence.trunk("rejected")["failures"], what="the registrar's refusal")
    mine, alone = (rig.endpoint(one.name, 5070) for one in (provider, lonely))
    return Scene(rig, whence, provider, lonely, rig.phone("alice", whence), mine, alone)


@pytest.mark.parametrize("absent", ABSENT)
def test_call_to_an_absent_trunk_is_refused(scene: Scene, absent: str) -> None:
    number = ABSENT[absent]
    before = len(scene.alice.calls())
    for caller in (scene.mine, scene.alone):
        for user in (number, number[1:], f"00{number[1:]}", "+49-30-" + number[5:]):
            assert scene.status(caller, user) == 403
            assert scene.status(caller, "unassigned", called=user) == 403
    assert len(scene.alice.calls()) == before


@pytest.mark.parametrize("absent", ABSENT)
def test_explain_and_alarms_name_code_and_trunk(scene: Scene, absent: str) -> None:
    number = ABSENT[absent]
    assert scene.status(scene.mine, number) == 403
    asked = ["--source", source(scene.provider), "--ruri", uri(scene.whence, number)]
    result = scene.whence.cli("explain", *asked)
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == "refused: number of another trunk"
    assert f"nearest: {absent}: " in result.stdout
    eventually(lambda: scene.events(absent), what="the alarm")
    result = scene.whence.cli("alarms")
    assert any(KIND in line and absent in line for line in result.stdout.splitlines())


def test_call_without_a_known_number_goes_to_the_fallback(scene: Scene) -> None:
    for at, user, expected in (
        (scene.provider, "+4930111", "mine"),
        (scene.provider, "acct1", "mine"),
        (scene.provider, "unassigned", "fallback"),
        (scene.lonely, "unassigned", "lonely"),
    ):
        before = len(scene.alice.calls())
        scene.rig.caller(scene.whence, at=at).call(uri(scene.whence, user), expect=200)
        (rang,) = scene.alice.calls()[before:]
        assert rang["X-Whence-Trunk"] == expected


def test_check_reports_a_number_that_is_an_account(rig: Rig) -> None:
    provider = rig.provider(accounts={"4930222": "x", "acct4": "y"})
    whence = rig.whence(
        trunks=[
            trunk("three", provider, "4930222", ALICE, ["+4930111"]),
            trunk("four", provider, "acct4", ALICE, ["+4930222"]),
        ],
        users=["alice"],
    )
    result = whence.cli("check", "-c", str(whence.file))
    assert "4930222 is a number of one and the account of another" in result.stdout
    whence.wait_registered()
    caller = rig.endpoint(provider.name, 5070)
    for user in ("4930222", "+4930222"):
        invite = request("INVITE", uri(whence, user), caller.address)
        assert caller.ask(invite, whence.address).status == 403
        explained = whence.explain(source(provider), uri(whence, user))
        assert (explained["decision"], explained["reason"]) == ("refused", "ambiguous")
    (found,) = whence.get("/v1/conflicts")
    assert (found["kind"], found["trunks"]) == ("number_is_account", ["four", "three"])


def test_block_target_gets_the_extension(rig: Rig) -> None:
    provider = rig.provider(accounts={"4930123450": "x"})
    pbx = Pbx(rig)
    target = pbx.uri.replace("pbx@", "{number}@")
    block = trunk("block", provider, "4930123450", target, ["+49301234*"])
    whence = rig.whence(trunks=[block], users=["alice"], edge={"country": "49"})
    whence.wait_registered()
    caller = rig.endpoint(provider.name, 5070)

    def rings(user: str, to: str) -> str:
        to_uri = f"sip:{to}@provider.example"
        invite = request("INVITE", uri(whence, user), caller.address, to_uri=to_uri)
        caller.send(invite, whence.address)
        return pbx.receive().request_uri.partition(":")[2].partition("@")[0]

    assert rings("4930123450", "+4930123477") == "+4930123477"
    assert rings("+4930123478", "+4930123477") == "+4930123478"
    assert rings("4930123450", "+4930123450") in ("4930123450", "+4930123450")
    for format_, expected in (
        ("e164", "+4930123477"),
        ("national", "030123477"),
        ("plain", "4930123477"),
    ):
        whence.edit(trunks=[{**block, "number_format": format_}])
        whence.reload()
        eventually(
            lambda number=expected: rings("4930123450", "00493012-3477") == number,  # type: ignore[misc]
            what=f"the number as {format_}",
        )

    whence.edit(trunks=[{**block, "target": ALICE}])
    whence.reload()
    alice = rig.phone("alice", whence)

    def at_alice() -> bool:
        called = rig.caller(whence, at=provider)
        called.call(uri(whence, "4930123450"), to="sip:+4930123477@provider.example", expect=200)
        return bool(alice.calls())

    eventually(at_alice, what="a call at alice")
    assert alice.calls()[-1].all("P-Called-Party-ID") == ["<sip:+4930123477@edge.example>"]
    assert place(whence.address) not in alice.calls()[-1].request_uri
