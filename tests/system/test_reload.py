"""SIGHUP: what changed in the file counts at once, and what did not change is left alone."""

from dataclasses import dataclass

import pytest

from testkit.process import alive
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sipp import Caller, Phone
from testkit.wait import eventually
from testkit.whence import Table, Whence
from tests.system.scene import (
    ACCOUNTS,
    ALICES_NUMBER,
    BOB,
    BOBS_NUMBER,
    alices_trunk,
    bobs_trunk,
    decided,
    source,
    uri,
)

ACCOUNT_3 = {"user": "acct3", "password": "secret of acct3"}


@dataclass
class Scene:
    provider: Provider
    whence: Whence
    alice: Phone
    bob: Phone
    caller: Caller

    def change(self, *trunks: Table) -> None:
        """Let the file have these trunks, and no others."""
        self.whence.edit(trunks=trunks)
        self.whence.reload()

    def known(self) -> set[str]:
        return {one["trunk"] for one in self.whence.get("/v1/addresses")}

    def registers_of(self, account: str) -> int:
        return len([seen for seen in self.provider.registers() if seen.user == account])


@pytest.fixture(scope="module")
def started(shared_rig: Rig) -> Scene:
    rig = shared_rig
    provider = rig.provider(accounts={**ACCOUNTS, ACCOUNT_3["user"]: ACCOUNT_3["password"]})
    whence = rig.whence(users=["alice", "bob"])
    return Scene(
        provider,
        whence,
        rig.phone("alice", whence),
        rig.phone("bob", whence),
        rig.caller(whence, at=provider),
    )


@pytest.fixture
def scene(started: Scene) -> Scene:
    """Alice's trunk is registered, and nothing else is in the file."""
    started.whence.edit(trunks=[alices_trunk(started.provider)], users=["alice", "bob"])
    started.whence.reload()
    eventually(
        lambda: (
            [one["state"] for one in started.whence.get("/v1/trunks")] == ["registered"]
            and started.known() == {"alices-trunk"}
            and not started.provider.contacts("acct2")
        ),
        what="alice's trunk alone",
    )
    return started


def test_a_trunk_that_is_added_registers(scene: Scene) -> None:
    before = scene.registers_of("acct1"), scene.whence.trunk("alices-trunk")
    scene.change(alices_trunk(scene.provider), bobs_trunk(scene.provider))
    eventually(lambda: scene.whence.trunk("bobs-trunk"), what="the new trunk")
    scene.whence.wait_registered()
    calls = len(scene.bob.calls())
    scene.caller.call(uri(scene.whence, BOBS_NUMBER), expect=200)
    assert len(scene.bob.calls()) == calls + 1
    assert (scene.registers_of("acct1"), scene.whence.trunk("alices-trunk")) == before


def test_a_trunk_that_is_removed_is_unregistered_and_its_address_ends_at_once(scene: Scene) -> None:
    scene.change(alices_trunk(scene.provider), bobs_trunk(scene.provider))
    eventually(lambda: scene.known() == {"alices-trunk", "bobs-trunk"}, what="both trunks")
    scene.change(bobs_trunk(scene.provider))
    eventually(lambda: scene.known() == {"bobs-trunk"}, what="the end of the address")
    eventually(lambda: not scene.provider.contacts("acct1"), what="the end of the registration")
    assert len(scene.provider.contacts("acct2")) == 1
    # What is left is bob's: it is the only trunk there, so that alice's number is bob's call.
    assert decided(scene.whence, scene.provider, ALICES_NUMBER) == "identified"
    scene.change()
    eventually(lambda: not scene.known(), what="the end of all addresses")
    scene.caller.call(uri(scene.whence), expect=403)


def test_the_address_ends_also_where_the_registrar_does_not_answer(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider)], users=["alice"])
    whence.wait_registered()
    provider.stop()
    whence.edit(trunks=[])
    whence.reload()
    eventually(lambda: decided(whence, provider) == "unknown", what="its end")
    assert whence.get("/v1/addresses") == []
    provider.start()  # and it can stop without waiting for the answer


def test_a_trunk_that_is_disabled_is_unregistered_and_comes_back(scene: Scene) -> None:
    off = alices_trunk(scene.provider, enabled=False)
    scene.change(off)
    eventually(lambda: not scene.provider.contacts("acct1"), what="it unregistered")
    assert scene.known() == set()
    stands = scene.whence.wait_state("alices-trunk", "unregistered")
    assert (stands["enabled"], stands["next_at"]) == (False, None)
    scene.caller.call(uri(scene.whence), expect=403)

    scene.change(alices_trunk(scene.provider))
    scene.whence.wait_registered()
    scene.caller.call(uri(scene.whence), expect=200)


def test_a_file_that_was_cut_off_takes_nothing_away(scene: Scene) -> None:
    whole = scene.whence.file.read_text()
    scene.whence.file.write_text("# begun anew\n")
    try:
        said = scene.whence.cli("reload")
    finally:
        scene.whence.file.write_text(whole)
    assert said.returncode == 1
    assert "is empty; to remove all trunks, keep [edge] in it" in said.stderr
    assert scene.known() == {"alices-trunk"}
    scene.caller.call(uri(scene.whence), expect=200)


@pytest.mark.parametrize("change", ["disabled", "removed", "another account"])
def test_the_calls_of_what_is_no_trunk_any_more_go_to_no_other_at_its_address(
    scene: Scene, change: str
) -> None:
    """Its provider may call the Contact that it has for a while yet."""
    after: dict[str, list[Table]] = {
        "disabled": [alices_trunk(scene.provider, enabled=False)],
        "removed": [],
        "another account": [{**alices_trunk(scene.provider), **ACCOUNT_3}],
    }
    on = [alices_trunk(scene.provider), bobs_trunk(scene.provider)]
    scene.change(*on)
    scene.whence.wait_registered()
    (contact,) = scene.provider.contacts("acct1")
    scene.caller.call(contact.uri, expect=200)
    rang = len(scene.alice.calls()), len(scene.bob.calls())

    scene.whence.edit(trunks=[*after[change], on[1]])
    scene.whence.post("/v1/reload", {})  # when this answers, the change is made
    scene.whence.wait_registered()
    scene.caller.call(contact.uri, expect=403)
    assert (len(scene.alice.calls()), len(scene.bob.calls())) == rang
    explained = scene.whence.explain(source(scene.provider), contact.uri)
    assert (explained["decision"], explained["reason"]) == ("refused", "token_from_wrong_source")

    (owner,) = explained["steps"][-1]["left"]
    assert (
        owner == "alices-trunk" if change == "disabled" else owner.startswith("alices-trunk:gone@")
    )

    def is_told() -> bool:
        events = scene.whence.get("/v1/alarms")
        return (owner, "token_from_wrong_source") in {(one["trunk"], one["kind"]) for one in events}

    eventually(is_told, what="the alarm")


def test_a_password_that_is_mended_registers_at_once(scene: Scene) -> None:
    scene.change(alices_trunk(scene.provider, password="wrong"))
    scene.whence.wait_state("alices-trunk", "auth_failed")
    # What was granted with the right one stands until its time.
    assert scene.known() == {"alices-trunk"}
    seen = scene.registers_of("acct1")
    scene.change(alices_trunk(scene.provider))
    scene.whence.wait_registered()
    assert scene.registers_of("acct1") == seen + 2


def test_another_target_counts_without_a_register(scene: Scene) -> None:
    registers, calls = scene.registers_of("acct1"), len(scene.bob.calls())
    scene.change({**alices_trunk(scene.provider), "target": BOB})
    eventually(lambda: scene.whence.trunk("alices-trunk")["target"] == BOB, what="the change")
    scene.caller.call(uri(scene.whence), expect=200)
    assert len(scene.bob.calls()) == calls + 1
    assert scene.registers_of("acct1") == registers


def test_another_account_is_another_registration(scene: Scene) -> None:
    """The same trunk, now with acct2: acct1 is unregistered."""
    scene.change({**bobs_trunk(scene.provider), "id": "alices-trunk"})
    eventually(lambda: scene.provider.contacts("acct2"), what="acct2 registered")
    eventually(lambda: not scene.provider.contacts("acct1"), what="acct1 unregistered")
    scene.whence.wait_registered()
    assert scene.known() == {"alices-trunk"}


def test_users_come_and_go(scene: Scene, shared_rig: Rig) -> None:
    whence, endpoint = scene.whence, shared_rig.endpoint("phone-carol")

    def registers() -> int:
        answer = endpoint.register(whence.address, "carol", "carol's password", whence.domain)
        return answer.status

    assert registers() == 401
    for users, expected in ((["alice", "bob", "carol"], 200), (["alice", "bob"], 401)):
        whence.edit(users=users)
        whence.reload()
        eventually(
            lambda users=users: [one["name"] for one in whence.get("/v1/users")] == users,  # type: ignore[misc]
            what="the change",
        )
        assert registers() == expected


def test_a_faulty_file_changes_nothing_and_the_log_says_why(scene: Scene) -> None:
    whence = scene.whence
    before = whence.get("/v1/trunks"), whence.get("/v1/addresses"), scene.registers_of("acct1")
    pids = [whence.agent_pid(), *whence.kamailio_pids()]
    logged = len(whence.log)
    whence.file.write_text(
        whence.file.read_text("utf-8") + '\n[[trunk]]\nid = "new"\npassword = "hush"\n', "utf-8"
    )
    whence.reload()
    eventually(lambda: "not reloaded" in whence.log[logged:], what="the fault in the log")
    said = whence.log[logged:]
    for missing in ("registrar", "user", "target"):
        assert f'trunk "new": {missing}: is missing' in said
    assert "hush" not in said
    assert before == (
        whence.get("/v1/trunks"),
        whence.get("/v1/addresses"),
        scene.registers_of("acct1"),
    )
    assert all(map(alive, pids))
    scene.caller.call(uri(whence), expect=200)
