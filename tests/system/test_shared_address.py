"""Two trunks at one address, and one at another provider: each call finds its own trunk."""

import re
from dataclasses import dataclass

import pytest

from testkit.provider import Contact, Provider
from testkit.rig import Rig
from testkit.sipp import Phone
from testkit.whence import Whence, trunk
from tests.system.scene import (
    ACCOUNTS,
    ALICES_NUMBER,
    BOB,
    BOBS_NUMBER,
    UNASSIGNED_NUMBER,
    alices_trunk,
    bobs_trunk,
    source,
    uri,
)


@dataclass
class Scene:
    """Two trunks at one provider, and another one of bob's at a second provider."""

    rig: Rig
    whence: Whence
    provider: Provider
    other: Provider
    alice: Phone
    bob: Phone

    def call(
        self, request_uri: str, at: Provider, *, to: str | None = None, expect: int = 200
    ) -> str:
        """Make a call from a provider; return its trunk, or "" if it was refused."""
        before = len(self.alice.calls()), len(self.bob.calls())
        self.rig.caller(self.whence, at=at).call(request_uri, to=to, expect=expect)
        rang = [*self.alice.calls()[before[0] :], *self.bob.calls()[before[1] :]]
        assert len(rang) == (1 if expect == 200 else 0)
        return rang[0]["X-Whence-Trunk"] if rang else ""


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    rig = shared_rig
    provider = rig.provider(accounts=ACCOUNTS)
    other = rig.provider("other", accounts={"acct9": "secret of acct9"}, domain="other.example")
    whence = rig.whence(
        trunks=[
            alices_trunk(provider),
            bobs_trunk(provider),
            trunk("bobs-other-trunk", other, "acct9", BOB),
        ],
        users=["alice", "bob"],
    )
    whence.wait_registered()
    return Scene(rig, whence, provider, other, rig.phone("alice", whence), rig.phone("bob", whence))


def test_trunk_learns_the_address_of_its_own_provider(scene: Scene) -> None:
    learned = {one["trunk"]: one["ip"] for one in scene.whence.get("/v1/addresses")}
    assert learned == {
        "alices-trunk": scene.provider.ip,
        "bobs-trunk": scene.provider.ip,
        "bobs-other-trunk": scene.other.ip,
    }


@pytest.mark.parametrize(
    ("number", "expected"), [(ALICES_NUMBER, "alices-trunk"), (BOBS_NUMBER, "bobs-trunk")]
)
@pytest.mark.parametrize("prefix", ["+", "", "00"])
@pytest.mark.parametrize("separator", ["", "-", "."])
def test_number_in_each_form_finds_its_trunk(
    scene: Scene, number: str, expected: str, prefix: str, separator: str
) -> None:
    written = prefix + separator.join([number[1:3], number[3:5], number[5:]])
    assert scene.call(uri(scene.whence, written), scene.provider) == expected


def test_number_in_to_counts_without_one_in_the_request_uri(scene: Scene) -> None:
    to = f"sip:{BOBS_NUMBER}@provider.example"
    assert scene.call(uri(scene.whence, "edge"), scene.provider, to=to) == "bobs-trunk"


def test_number_in_the_request_uri_comes_before_to(scene: Scene) -> None:
    to = f"sip:{BOBS_NUMBER}@provider.example"
    called = uri(scene.whence, ALICES_NUMBER)
    assert scene.call(called, scene.provider, to=to) == "alices-trunk"


@pytest.mark.parametrize(
    ("account", "expected"), [("acct1", "alices-trunk"), ("acct2", "bobs-trunk")]
)
def test_contact_at_the_registrar_finds_its_trunk(
    scene: Scene, account: str, expected: str
) -> None:
    """The provider calls the Contact that we registered; its user part is the trunk's token."""
    (contact,) = scene.provider.contacts(account)
    assert scene.call(contact.uri, scene.provider) == expected


@pytest.mark.parametrize(
    ("account", "expected"), [("acct1", "alices-trunk"), ("acct2", "bobs-trunk")]
)
def test_account_finds_its_trunk(scene: Scene, account: str, expected: str) -> None:
    assert scene.call(uri(scene.whence, account), scene.provider) == expected


def test_ambiguous_call_is_refused_with_its_candidates(scene: Scene) -> None:
    called = uri(scene.whence, UNASSIGNED_NUMBER)
    scene.call(called, scene.provider, expect=403)
    asked = ["explain", "--source", source(scene.provider), "--ruri", called]
    result = scene.whence.cli(*asked)
    assert result.returncode == 0
    first, second, *_ = result.stdout.splitlines()
    assert first == "refused: ambiguous"
    assert second == "candidates: alices-trunk, bobs-trunk"


def test_lone_trunk_gets_calls_without_its_number(scene: Scene) -> None:
    """The other provider has one trunk, without numbers."""
    assert scene.call(uri(scene.whence, UNASSIGNED_NUMBER), scene.other) == "bobs-other-trunk"


def test_number_of_a_trunk_elsewhere_goes_to_no_other(scene: Scene) -> None:
    scene.call(uri(scene.whence, ALICES_NUMBER), scene.other, expect=403)
    explained = scene.whence.explain(source(scene.other), uri(scene.whence, ALICES_NUMBER))
    assert explained["reason"] == "number_of_another_trunk"


def test_account_in_the_request_uri_comes_before_to(scene: Scene) -> None:
    to = f"sip:{BOBS_NUMBER}@provider.example"
    assert scene.call(uri(scene.whence, "acct1"), scene.provider, to=to) == "alices-trunk"


def test_token_from_a_wrong_provider_is_refused(scene: Scene) -> None:
    (contact,) = scene.provider.contacts("acct1")
    scene.call(contact.uri, scene.other, expect=403)
    assert scene.whence.explain(source(scene.other), contact.uri)["reason"] == (
        "token_from_wrong_source"
    )


def test_tokens_are_random_and_distinct(scene: Scene) -> None:
    tokens = [re.split("[:@]", contact.uri)[1] for contact in _contacts(scene)]
    assert len(set(tokens)) == 3
    assert all(re.fullmatch("[0-9a-f]{24}", token) for token in tokens)


def _contacts(scene: Scene) -> list[Contact]:
    asked = [(scene.provider, "acct1"), (scene.provider, "acct2"), (scene.other, "acct9")]
    return [contact for provider, account in asked for contact in provider.contacts(account)]
