"""Registration at a real registrar. Each trunk of these tests has a provider of its own."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import reply
from testkit.wait import eventually
from testkit.whence import Table, Whence, trunk
from tests.system.scene import ALICE, place, try_to_call, uri

GRACE_S = 32
OTHER = "sip:other@198.51.100.9:5060"


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    return shared_rig.whence(users=["alice"], agent={"on_stop": "leave"})


Register = Callable[..., tuple[Provider, str]]


@pytest.fixture
def added(shared_rig: Rig, whence: Whence, request: pytest.FixtureRequest) -> Register:
    """Return a function that starts a provider and adds a trunk there: (provider, trunk's id)."""

    def add(more: Table | None = None, **options: Any) -> tuple[Provider, str]:
        name = f"at-{len(whence.trunks)}"
        accounts = {"acct1": f"secret of {name}"}
        provider = shared_rig.provider(name, accounts=accounts, **options)
        table = {**trunk(name, provider, "acct1", ALICE), **(more or {})}
        table = {key: value for key, value in table.items() if value is not None}
        whence.edit(trunks=[*whence.trunks, table])
        whence.reload()
        eventually(lambda: whence.trunk(name), what=f"trunk {name}")
        return provider, name

    return add


def address_of(whence: Whence, name: str) -> dict[str, Any]:
    """Return the only address of a trunk."""
    found = [one for one in whence.get("/v1/addresses") if one["trunk"] == name]
    assert len(found) == 1, found
    return dict(found[0])


def test_challenge_of_a_registrar_is_answered(whence: Whence, added: Register) -> None:
    provider, name = added()
    whence.wait_registered(name)
    first, second = provider.registers()
    assert (first.user, second.user) == ("acct1", "acct1")
    assert first.source == second.source == f"udp:{place(whence.address)}"
    assert first.call_id == second.call_id
    assert second.cseq == first.cseq + 1
    (contact,) = provider.contacts("acct1")
    assert contact.uri.endswith(f"@{place(whence.address)}")


def test_registrar_without_a_challenge_gets_one_register(whence: Whence, added: Register) -> None:
    provider, name = added(challenge=False)
    whence.wait_registered(name)
    assert len(provider.registers()) == 1


def test_learned_address_ends_a_grace_after_the_grant(whence: Whence, added: Register) -> None:
    before = time.time()
    provider, name = added()
    whence.wait_registered(name)
    after = time.time()
    details, address = whence.trunk(name), address_of(whence, name)
    assert details["granted_s"] == 3600
    assert before <= details["expires_at"] - 3600 <= after
    assert address["expires_at"] == pytest.approx(details["expires_at"] + GRACE_S, abs=0.001)
    assert before <= address["learned_at"] <= after
    assert (address["ip"], address["port"]) == (provider.ip, SIP_PORT)
    assert (address["transport"], address["origin"]) == ("udp", "learned")
    assert details["registrar"] == f"udp:{place(provider.address)}"


def test_shorter_grant_sets_end_and_refresh(whence: Whence, added: Register) -> None:
    before = time.time()
    _, name = added(grants_s=600)
    whence.wait_registered(name)
    details = whence.trunk(name)
    assert details["granted_s"] == 600
    assert before + 600 <= details["expires_at"] <= time.time() + 600
    refresh_s = 600 - (details["expires_at"] - details["next_at"])
    assert 0.7 * 600 - 0.01 <= refresh_s <= 0.8 * 600 + 0.01


def test_grant_is_read_from_our_contact_of_two(whence: Whence, added: Register) -> None:
    """The other Contact comes before ours in the 200, and has 7200 s."""
    provider, name = added(grants_s=500, also_lists=OTHER)
    whence.wait_registered(name)
    assert [contact.uri == OTHER for contact in provider.contacts("acct1")] == [True, False]
    assert whence.trunk(name)["granted_s"] == 500
    assert address_of(whence, name)["expires_at"] < time.time() + 500 + GRACE_S + 1


def test_minimum_interval_of_the_registrar_is_used(whence: Whence, added: Register) -> None:
    provider, name = added({"expires": 60}, min_expires=900)
    whence.wait_registered(name)
    assert whence.trunk(name)["granted_s"] == 900
    assert [seen.expires for seen in provider.registers()][-1] == "900"


def test_auth_user_is_the_name_in_the_credentials(whence: Whence, added: Register) -> None:
    provider, name = added({"auth_user": "login1"}, auth_users={"acct1": "login1"})
    whence.wait_registered(name)
    assert len(provider.contacts("acct1")) == 1


def test_ha1_replaces_the_password(whence: Whence, added: Register) -> None:
    name = f"at-{len(whence.trunks)}"
    ha1 = hashlib.md5(f"acct1:provider.example:secret of {name}".encode()).hexdigest()
    _, name = added({"password": None, "ha1": {"md5": ha1}})
    whence.wait_registered(name)


def test_wrong_credentials_end_the_attempt_after_three_requests(
    shared_rig: Rig, whence: Whence, added: Register
) -> None:
    """Providers ban clients that retry. The next attempt comes after ten minutes, not before."""
    before = time.time()
    provider, name = added({"password": "wrong"})
    details = whence.wait_state(name, "auth_failed")
    assert (details["reason"], details["last_status"]) == ("wrong_credentials", 401)
    assert before + 600 <= details["next_at"] <= time.time() + 600
    assert len(provider.registers()) in (2, 3)  # a second answer only to another nonce
    assert details["expires_at"] is None
    caller = shared_rig.caller(whence, at=provider)
    caller.call(uri(whence), expect=403)


@pytest.mark.parametrize(
    ("status", "shortest_s", "longest_s"), [(403, 300, 300), (404, 300, 300), (503, 15, 30)]
)
def test_refused_trunk_waits(
    shared_rig: Rig,
    whence: Whence,
    added: Register,
    status: int,
    shortest_s: float,
    longest_s: float,
) -> None:
    before = time.time()
    provider, name = added(refuses=status)
    details = whence.wait_state(name, "waiting")
    assert details["last_status"] == status
    assert details["reason"] == ("server_failed" if status == 503 else "rejected")
    assert str(status) in details["message"]
    assert before + shortest_s <= details["next_at"] <= time.time() + longest_s
    assert len(provider.registers()) == 1
    shared_rig.caller(whence, at=provider).call(uri(whence), expect=403)


def test_retry_after_sets_the_next_attempt(shared_rig: Rig, whence: Whence) -> None:
    registrar = shared_rig.endpoint("busy-registrar", SIP_PORT)
    table = {
        "id": "retry-after",
        "registrar": f"sip:{place(registrar.address)}",
        "user": "acct1",
        "password": "secret",
        "target": ALICE,
    }
    whence.edit(trunks=[*whence.trunks, table])
    whence.reload()
    asked, before = registrar.receive(), time.time()
    assert asked.request_uri == f"sip:{place(registrar.address)}"
    registrar.send(reply(asked, 503, headers=[("Retry-After", "1234")]), whence.address)
    details = whence.wait_state("retry-after", "waiting")
    assert before + 1234 <= details["next_at"] <= time.time() + 1234


def test_reply_200_with_other_contacts_is_no_registration(shared_rig: Rig, whence: Whence) -> None:
    registrar = shared_rig.endpoint("wrong-registrar", SIP_PORT)
    table = {
        "id": "other-contacts",
        "registrar": f"sip:{place(registrar.address)}",
        "user": "acct1",
        "password": "secret",
        "target": ALICE,
    }
    whence.edit(trunks=[*whence.trunks, table])
    whence.reload()
    asked = registrar.receive()
    others = [("Contact", f"<{OTHER}>;expires=60"), ("Contact", "<sip:more@198.51.100.9>")]
    registrar.send(reply(asked, 200, headers=others), whence.address)
    details = whence.wait_state("other-contacts", "waiting")
    assert details["reason"] == "contact_not_listed"
    assert try_to_call(registrar, whence) == 403
