"""Numbers of two trunks at one provider: national spellings, prefixes, fallback."""

from dataclasses import dataclass

import pytest

from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sipp import Phone
from testkit.whence import Whence, trunk
from tests.system.scene import ACCOUNTS, ALICE, BOB, source, uri


@dataclass
class Scene:
    """Alice's trunk has one number in its British spelling; bob's has a prefix around it."""

    rig: Rig
    whence: Whence
    provider: Provider
    alice: Phone
    bob: Phone

    def call(self, user: str, *, to: str | None = None, params: str = "") -> str:
        """Make a call; return its trunk, or the status of the refusal."""
        before = len(self.alice.calls()), len(self.bob.calls())
        caller = self.rig.caller(self.whence, at=self.provider)
        outcome = caller.call(uri(self.whence, user) + params, to=to)
        rang = [*self.alice.calls()[before[0] :], *self.bob.calls()[before[1] :]]
        assert len(rang) == (1 if outcome.status == 200 else 0)
        return rang[0]["X-Whence-Trunk"] if rang else str(outcome.status)

    def change(self, **more: dict[str, object]) -> None:
        """Write more keys into trunks of the file, and reload. *more*: trunk → keys."""
        trunks = [{**t, **more.get(str(t["id"]), {})} for t in self.whence.trunks]
        self.whence.edit(trunks=trunks)
        self.whence.post("/v1/reload", {})


@pytest.fixture
def scene(rig: Rig) -> Scene:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(
        trunks=[
            trunk("alices", provider, "acct1", ALICE, ["020 7123 4567"]),
            trunk("bobs", provider, "acct2", BOB, ["+4420712345*"]),
        ],
        users=["alice", "bob"],
        edge={"country": "44"},
    )
    whence.wait_registered()
    return Scene(rig, whence, provider, rig.phone("alice", whence), rig.phone("bob", whence))


def test_number_in_each_spelling_finds_its_trunk(scene: Scene) -> None:
    for written in (
        "+442071234567",
        "00442071234567",
        "02071234567",
        "2071234567",
        "020-7123.4567",
        "+44(0)2071234567",
        "%2B44%2020%207123%204567",
        "02071234567;phone-context=+44",
        "7123-4567;phone-context=+44-20",
    ):
        assert scene.call(written, params=";user=phone") == "alices", written
    for written in ("+442071234568", "02071234599", "00442071234500"):
        assert scene.call(written) == "bobs", written
    assert scene.call("anybody", to="sip:02071234567@provider.example") == "alices"
    assert scene.call("anybody", to="sip:02071234568@provider.example") == "bobs"
    assert scene.call("+442071239999") == "403"


def test_number_of_no_trunk_goes_to_the_fallback(scene: Scene) -> None:
    assert scene.call("+442079999999") == "403"
    scene.change(bobs={"fallback": True})
    assert scene.call("+442079999999") == "bobs"
    assert scene.call("02071234567") == "alices"
    explanation = scene.whence.explain(source(scene.provider), uri(scene.whence, "+442079999999"))
    assert (explanation["trunk"], explanation["reason"]) == ("bobs", "fallback")


def test_unmatched_refuse_at_a_lone_trunk_refuses_the_call(scene: Scene) -> None:
    scene.change(bobs={"enabled": False})
    assert scene.call("+442079999999") == "alices"
    scene.change(alices={"unmatched": "refuse"})
    assert scene.call("+442079999999") == "403"
    assert scene.call("02071234567") == "alices"
    assert scene.call("acct1") == "alices"
    explanation = scene.whence.explain(source(scene.provider), uri(scene.whence, "+442079999999"))
    assert (explanation["decision"], explanation["reason"]) == ("refused", "unmatched")


def test_conflict_of_numbers_is_reported_in_each_output(scene: Scene) -> None:
    whence = scene.whence
    assert whence.get("/v1/conflicts") == []
    assert whence.cli("conflicts").stdout == "no trunks conflict\n"
    scene.change(bobs={"numbers": ["+4420712345*", "+44 20 7123 4567"]})
    assert scene.call("02071234567") == "403"
    (conflict,) = whence.get("/v1/conflicts")
    assert (conflict["kind"], conflict["trunks"]) == ("number", ["alices", "bobs"])
    assert conflict["shared"] == ["+442071234567"]
    table = whence.cli("conflicts")
    assert table.returncode == 0
    assert "alices, bobs" in table.stdout
    assert "whence_conflicts 1.0" in whence.metrics().splitlines()
    assert whence.log.count("conflict: trunks alices, bobs at ") == 1
    checked = whence.cli("check", "-c", str(whence.file))
    assert checked.returncode == 0
    assert "warning: trunks alices, bobs at " in checked.stdout
    scene.change(bobs={"fallback": True})
    assert scene.call("02071234567") == "bobs"
    assert whence.get("/v1/conflicts") == []
