"""The four faults of the known recipe: each is present in the recipe, and absent in the drop-in.

The recipe stores `$si => user of the Contact` for every 200 to a REGISTER, for a day. It looks the
source up for each call. Each test does the same to both, and compares the results.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
from testkit.drop_in import DropIn
from testkit.network import SIP_PORT, udp_bound
from testkit.process import Process
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Address, Endpoint, Message, expect_any, reply, request
from testkit.wait import eventually
from tests.system.drop_in import ACCOUNTS, USERS, alices, bobs, registered

RECIPE = Path(bench.__file__).parent / "contestants" / "recipe.cfg"


class Recipe:
    """A Kamailio with the recipe. Its accounts have the names of its users."""

    def __init__(self, rig: Rig) -> None:
        self.address: Address = (rig.ip("recipe"), SIP_PORT)
        self._rig = rig
        self.process = self._start()

    def _start(self) -> Process:
        place = f"LISTEN=udp:{self.address[0]}:{SIP_PORT}"
        directory = self._rig.directory
        argv = ["kamailio", "-DD", "-E", "-f", str(RECIPE), "-Y", str(directory), "-A", place]
        process = Process("recipe", argv, directory / "recipe.log", stop_within_s=1)
        eventually(lambda: udp_bound(*self.address), what="the recipe listens")
        return process

    def restart(self) -> None:
        self.process.stop()
        self.process = self._start()


@pytest.fixture
def recipe(rig: Rig) -> Iterator[Recipe]:
    made = Recipe(rig)
    yield made
    made.process.stop()


@pytest.fixture
def provider(rig: Rig) -> Provider:
    return rig.provider(accounts=ACCOUNTS)


@pytest.fixture
def native(rig: Rig, provider: Provider) -> DropIn:
    native = rig.drop_in(records=[alices(provider), bobs(provider)], users=USERS)
    registered(native, "trunk-of-alice", "trunk-of-bob")
    return native


def phone(rig: Rig, edge: Address, user: str) -> Endpoint:
    """Return a user's phone that has registered at this edge."""
    made = rig.endpoint(f"phone of {user} at {edge[0]}", SIP_PORT)
    assert made.register(edge, user, USERS[user], edge[0]).status == 200
    return made


def send_grant(
    provider: Provider | Endpoint, edge: Address, user: str, rig: Rig, expires_s: int = 3600
) -> None:
    """Send the datagram from which the recipe learns: a 200 to a REGISTER that was never sent."""
    who = provider if isinstance(provider, Endpoint) else rig.endpoint(provider.name)
    unasked = request("REGISTER", f"sip:{who.address[0]}", edge)
    contact = ("Contact", f"<sip:{user}@{edge[0]}:{edge[1]}>;expires={expires_s}")
    who.send(reply(unasked, 200, headers=[contact]), edge)


def call(who: Endpoint, edge: Address, user: str = "+442071230000") -> str:
    """Send an INVITE, and return its Call-ID."""
    invite = request("INVITE", f"sip:{user}@{edge[0]}", who.address)
    who.send(invite, edge)
    return invite.call_id


def final(who: Endpoint, call_id: str) -> int:
    """Return the final status of a call."""
    return who.expect(lambda m: m.call_id == call_id and m.status >= 200).status


def reaches(
    caller: Endpoint,
    edge: Address,
    phone: Endpoint,
    user: str = "+442071230000",
    other_phone: Endpoint | None = None,
) -> bool:
    """Make calls until one reaches this phone.

    Another worker may still process what was sent before, so the first calls may be refused, or
    reach another phone. Each call is followed to its end.
    """
    endpoints = [one for one in (caller, phone, other_phone) if one is not None]

    def rings() -> bool:
        call_id = call(caller, edge, user)

        def ends(message: Message) -> bool:
            is_invite = not message.is_reply and message.method == "INVITE"
            return message.call_id == call_id and (is_invite or message.status >= 300)

        at, _ = expect_any(endpoints, ends, what="the call at a phone, or its refusal")
        return at is phone

    return eventually(rings, what="a call at the phone")


def test_recipe_admits_any_source_and_the_drop_in_does_not(
    rig: Rig, recipe: Recipe, native: DropIn
) -> None:
    unknown_source = rig.unknown_source()
    alice = phone(rig, recipe.address, "alice")
    send_grant(unknown_source, recipe.address, "alice", rig)
    assert reaches(unknown_source, recipe.address, alice)

    phone(rig, native.address, "alice")
    for user in ("alice", "trunk-of-alice", "acct1"):
        send_grant(unknown_source, native.address, user, rig)
    for called in ("trunk-of-alice", "acct1", "+442071230000"):
        assert final(unknown_source, call(unknown_source, native.address, called)) == 404
    assert {trunk for trunk, _ in native.addresses()} == {"trunk-of-alice", "trunk-of-bob"}
    assert unknown_source.address[0] not in {ip for _, ip in native.addresses()}


def test_recipe_has_one_account_an_address_the_drop_in_two(
    rig: Rig, recipe: Recipe, native: DropIn, provider: Provider
) -> None:
    caller = rig.endpoint(provider.name)
    alice, bob = phone(rig, recipe.address, "alice"), phone(rig, recipe.address, "bob")
    send_grant(provider, recipe.address, "alice", rig)
    assert reaches(caller, recipe.address, alice, "alice")
    send_grant(provider, recipe.address, "bob", rig)
    assert reaches(caller, recipe.address, bob, "alice", alice), (
        "the account that registered last gets all calls"
    )

    alice, bob = phone(rig, native.address, "alice"), phone(rig, native.address, "bob")
    assert reaches(caller, native.address, alice, "acct1")
    assert reaches(caller, native.address, bob, "acct2")
    assert final(caller, call(caller, native.address)) == 404, "the call names no account"


def test_recipe_admits_for_a_day_the_drop_in_while_granted(
    rig: Rig, recipe: Recipe, native: DropIn, provider: Provider
) -> None:
    """Both accounts are unregistered, and the provider answers 200."""
    caller = rig.endpoint(provider.name)
    alice = phone(rig, recipe.address, "alice")
    send_grant(provider, recipe.address, "alice", rig)
    assert reaches(caller, recipe.address, alice)
    send_grant(provider, recipe.address, "alice", rig, expires_s=0)  # learned again, for a day
    assert reaches(caller, recipe.address, alice)

    for trunk in ("trunk-of-alice", "trunk-of-bob"):
        native.rpc("uac.reg_unregister", "l_uuid", trunk)
    eventually(lambda: native.addresses() == [], what="no address")
    eventually(lambda: provider.contacts("acct1") == [], what="no contact at the provider")
    assert final(caller, call(caller, native.address, "trunk-of-alice")) == 404


def test_recipe_forgets_at_a_restart_the_drop_in_does_not(
    rig: Rig, recipe: Recipe, native: DropIn, provider: Provider
) -> None:
    """Both are restarted while the provider is stopped."""
    caller = rig.endpoint(provider.name)
    alice = phone(rig, recipe.address, "alice")
    send_grant(provider, recipe.address, "alice", rig)
    assert reaches(caller, recipe.address, alice)
    recipe.restart()
    assert final(caller, call(caller, recipe.address)) == 403

    provider.stop()
    native.stop()
    native.start()
    alice = phone(rig, native.address, "alice")
    assert reaches(caller, native.address, alice, "acct1")
