"""Reload (SIGHUP): changes of the file take effect at once; unchanged trunks keep everything."""

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
        """Write a file with these trunks only, and reload."""
        self.whence.edit(trunks=trunks)
        self.whence.reload()

    def trunks_with_an_address(self) -> set[str]:
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
    """Reset the file to alice's trunk, and wait until it is the only registered one."""
    started.whence.edit(trunks=[alices_trunk(started.provider)], users=["alice", "bob"])
    started.whence.reload()
    eventually(
        lambda: (
            [one["state"] for one in started.whence.get("/v1/trunks")] == ["registered"]
            and started.trunks_with_an_address() == {"alices-trunk"}
            and not started.provider.contacts("acct2")
        ),
        what="alice's trunk as the only one",
    )
    return started


def test_reload_with_a_new_trunk_registers_it(scene: Scene) -> None:
    before = scene.registers_of("acct1"), scene.whence.trunk("alices-trunk")
    scene.change(alices_trunk(scene.provider), bobs_trunk(scene.provider))
    eventually(lambda: scene.whence.trunk("bobs-trunk"), what="the new trunk")
    scene.whence.wait_registered()
    calls = len(scene.bob.calls())
    scene.caller.call(uri(scene.whence, BOBS_NUMBER), expect=200)
    assert len(scene.bob.calls()) == calls + 1
    assert (scene.registers_of("acct1"), scene.whence.trunk("alices-trunk")) == before


def test_reload_without_a_trunk_unregisters_it(scene: Scene) -> None:
    scene.change(alices_trunk(scene.provider), bobs_trunk(scene.provider))
    eventually(
        lambda: scene.trunks_with_an_address() == {"alices-trunk", "bobs-trunk"}, what="both trunks"
    )
    scene.change(bobs_trunk(scene.provider))
    eventually(
        lambda: scene.trunks_with_an_address() == {"bobs-trunk"}, what="the end of the address"
    )
    eventually(lambda: not scene.provider.contacts("acct1"), what="the end of the registration")
    assert len(scene.provider.contacts("acct2")) == 1
    # Bob's trunk is the only one at this address, so a call to alice's number is identified as its.
    assert decided(scene.whence, scene.provider, ALICES_NUMBER) == "identified"
    scene.change()
    eventually(lambda: not scene.trunks_with_an_address(), what="the end of all addresses")
    scene.caller.call(uri(scene.whence), expect=403)


def test_reload_with_a_dead_registrar_ends_the_address(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider)], users=["alice"])
    whence.wait_registered()
    provider.stop()
    whence.edit(trunks=[])
    whence.reload()
    eventually(lambda: decided(whence, provider) == "unknown", what="the end of the address")
    assert whence.get("/v1/addresses") == []
    provider.start()  # so that the stop does not wait for its answer


def test_reload_disables_and_enables_a_trunk(scene: Scene) -> None:
    off = alices_trunk(scene.provider, enabled=False)
    scene.change(off)
    eventually(lambda: not scene.provider.contacts("acct1"), what="no contact")
    assert scene.trunks_with_an_address() == set()
    details = scene.whence.wait_state("alices-trunk", "unregistered")
    assert (details["enabled"], details["next_at"]) == (False, None)
    scene.caller.call(uri(scene.whence), expect=403)

    scene.change(alices_trunk(scene.provider))
    scene.whence.wait_registered()
    scene.caller.call(uri(scene.whence), expect=200)


def test_reload_of_a_truncated_file_changes_nothing(scene: Scene) -> None:
    whole = scene.whence.file.read_text()
    scene.whence.file.write_text("# empty\n")
    try:
        result = scene.whence.cli("reload")
    finally:
        scene.whence.file.write_text(whole)
    assert result.returncode == 1
    assert "is empty; to remove all trunks, keep [edge] in it" in result.stderr
    assert scene.trunks_with_an_address() == {"alices-trunk"}
    scene.caller.call(uri(scene.whence), expect=200)


@pytest.mark.parametrize("change", ["disabled", "removed", "another account"])
def test_token_of_a_removed_trunk_is_refused(scene: Scene, change: str) -> None:
    """The provider may still call the Contact that it holds. No other trunk may get that call."""
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
    scene.whence.post("/v1/reload", {})  # its answer means that the reload is done
    scene.whence.wait_registered()
    scene.caller.call(contact.uri, expect=403)
    assert (len(scene.alice.calls()), len(scene.bob.calls())) == rang
    explained = scene.whence.explain(source(scene.provider), contact.uri)
    assert (explained["decision"], explained["reason"]) == ("refused", "token_from_wrong_source")

    (owner,) = explained["steps"][-1]["left"]
    assert (
        owner == "alices-trunk" if change == "disabled" else owner.startswith("alices-trunk:gone@")
    )

    def has_alarm() -> bool:
        events = scene.whence.get("/v1/alarms")
        return (owner, "token_from_wrong_source") in {(one["trunk"], one["kind"]) for one in events}

    eventually(has_alarm, what="the alarm")


def test_reload_with_the_right_password_registers_at_once(scene: Scene) -> None:
    scene.change(alices_trunk(scene.provider, password="wrong"))
    scene.whence.wait_state("alices-trunk", "auth_failed")
    # The grant of the right password stays valid until its end.
    assert scene.trunks_with_an_address() == {"alices-trunk"}
    seen = scene.registers_of("acct1")
    scene.change(alices_trunk(scene.provider))
    scene.whence.wait_registered()
    assert scene.registers_of("acct1") == seen + 2


def test_reload_with_another_target_sends_no_register(scene: Scene) -> None:
    registers, calls = scene.registers_of("acct1"), len(scene.bob.calls())
    scene.change({**alices_trunk(scene.provider), "target": BOB})
    eventually(lambda: scene.whence.trunk("alices-trunk")["target"] == BOB, what="the change")
    scene.caller.call(uri(scene.whence), expect=200)
    assert len(scene.bob.calls()) == calls + 1
    assert scene.registers_of("acct1") == registers


def test_reload_with_another_account_registers_anew(scene: Scene) -> None:
    """The trunk's id stays, its account becomes acct2: the agent unregisters acct1."""
    scene.change({**bobs_trunk(scene.provider), "id": "alices-trunk"})
    eventually(lambda: scene.provider.contacts("acct2"), what="acct2 registered")
    eventually(lambda: not scene.provider.contacts("acct1"), what="acct1 unregistered")
    scene.whence.wait_registered()
    assert scene.trunks_with_an_address() == {"alices-trunk"}


def test_reload_adds_and_removes_users(scene: Scene, shared_rig: Rig) -> None:
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
            what="the new users",
        )
        assert registers() == expected


def test_reload_of_an_invalid_file_changes_nothing(scene: Scene) -> None:
    whence = scene.whence
    before = whence.get("/v1/trunks"), whence.get("/v1/addresses"), scene.registers_of("acct1")
    pids = [whence.agent_pid(), *whence.kamailio_pids()]
    logged = len(whence.log)
    whence.file.write_text(
        whence.file.read_text("utf-8") + '\n[[trunk]]\nid = "new"\npassword = "hush"\n', "utf-8"
    )
    whence.reload()
    eventually(lambda: "not reloaded" in whence.log[logged:], what="the fault in the log")
    output = whence.log[logged:]
    for missing in ("registrar", "user", "target"):
        assert f'trunk "new": {missing}: is missing' in output
    assert "hush" not in output
    assert before == (
        whence.get("/v1/trunks"),
        whence.get("/v1/addresses"),
        scene.registers_of("acct1"),
    )
    assert all(map(alive, pids))
    scene.caller.call(uri(whence), expect=200)
