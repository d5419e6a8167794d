"""Several accounts, and several providers: each call to its own trunk, and to no other."""

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
    NOBODYS_NUMBER,
    alices_trunk,
    bobs_trunk,
    source,
    uri,
)


@dataclass
class Scene:
    """Two trunks at one provider, and one more for bob at another provider."""

    rig: Rig
    whence: Whence
    provider: Provider
    other: Provider
    alice: Phone
    bob: Phone

    def call(
        self, request_uri: str, at: Provider, *, to: str | None = None, expect: int = 200
    ) -> str:
        """Call from a provider; return the trunk as which the call came to its phone, if one."""
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


def test_each_trunk_has_the_address_of_its_own_provider(scene: Scene) -> None:
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
def test_a_number_tells_them_apart_however_it_is_written(
    scene: Scene, number: str, expected: str, prefix: str, separator: str
) -> None:
    written = prefix + separator.join([number[1:3], number[3:5], number[5:]])
    assert scene.call(uri(scene.whence, written), scene.provider) == expected


def test_a_number_in_to_tells_where_the_request_uri_has_none(scene: Scene) -> None:
    to = f"sip:{BOBS_NUMBER}@provider.example"
    assert scene.call(uri(scene.whence, "edge"), scene.provider, to=to) == "bobs-trunk"


def test_a_number_in_the_request_uri_comes_before_the_one_in_to(scene: Scene) -> None:
    to = f"sip:{BOBS_NUMBER}@provider.example"
    called = uri(scene.whence, ALICES_NUMBER)
    assert scene.call(called, scene.provider, to=to) == "alices-trunk"


@pytest.mark.parametrize(
    ("account", "expected"), [("acct1", "alices-trunk"), ("acct2", "bobs-trunk")]
)
def test_the_contact_that_the_registrar_holds_tells_them_apart(
    scene: Scene, account: str, expected: str
) -> None:
    """The provider calls the very Contact that we registered: the token in it is the trunk's."""
    (held,) = scene.provider.contacts(account)
    assert scene.call(held.uri, scene.provider) == expected


@pytest.mark.parametrize(
    ("account", "expected"), [("acct1", "alices-trunk"), ("acct2", "bobs-trunk")]
)
def test_the_account_tells_them_apart(scene: Scene, account: str, expected: str) -> None:
    assert scene.call(uri(scene.whence, account), scene.provider) == expected


def test_where_nothing_tells_the_call_is_refused_and_explain_names_the_candidates(
    scene: Scene,
) -> None:
    called = uri(scene.whence, NOBODYS_NUMBER)
    scene.call(called, scene.provider, expect=403)
    asked = ["explain", "--source", source(scene.provider), "--ruri", called]
    said = scene.whence.cli(*asked)
    assert said.returncode == 0
    first, second, *_ = said.stdout.splitlines()
    assert first == "refused: ambiguous"
    assert second == "candidates: alices-trunk, bobs-trunk"


def test_the_other_provider_needs_no_number(scene: Scene) -> None:
    """It has one trunk there, which has none."""
    assert scene.call(uri(scene.whence, NOBODYS_NUMBER), scene.other) == "bobs-other-trunk"


def test_number_of_a_trunk_elsewhere_goes_to_no_other(scene: Scene) -> None:
    scene.call(uri(scene.whence, ALICES_NUMBER), scene.other, expect=403)
    explained = scene.whence.explain(source(scene.other), uri(scene.whence, ALICES_NUMBER))
    assert explained["reason"] == "number_of_another_trunk"


def test_account_in_the_request_uri_beats_a_number_in_to(scene: Scene) -> None:
    to = f"sip:{BOBS_NUMBER}@provider.example"
    assert scene.call(uri(scene.whence, "acct1"), scene.provider, to=to) == "alices-trunk"


def test_a_token_from_the_wrong_provider_is_refused(scene: Scene) -> None:
    (held,) = scene.provider.contacts("acct1")
    scene.call(held.uri, scene.other, expect=403)
    assert scene.whence.explain(source(scene.other), held.uri)["reason"] == (
        "token_from_wrong_source"
    )


def test_a_token_cannot_be_guessed_from_another(scene: Scene) -> None:
    tokens = [re.split("[:@]", contact.uri)[1] for contact in _held(scene)]
    assert len(set(tokens)) == 3
    assert all(re.fullmatch("[0-9a-f]{24}", token) for token in tokens)


def _held(scene: Scene) -> list[Contact]:
    asked = [(scene.provider, "acct1"), (scene.provider, "acct2"), (scene.other, "acct9")]
    return [contact for provider, account in asked for contact in provider.contacts(account)]
