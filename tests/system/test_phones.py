"""Phones of local users: digest, contacts that survive restarts, refused outbound calls."""

import time
from dataclasses import dataclass
from typing import Any

import pytest

from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Endpoint, Message, acknowledgement, authorization, reply, request
from testkit.sipp import Phone
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import (
    ACCOUNTS,
    ALICE,
    BOB,
    BOBS_NUMBER,
    alices_trunk,
    bobs_trunk,
    place,
    uri,
)


@dataclass
class Scene:
    whence: Whence
    provider: Provider
    phone: Endpoint
    """Alice's phone, a raw endpoint."""
    bob: Phone

    def register(self, password: str = "", name: str = "alice", expires_s: int = 3600) -> int:
        """Register alice's phone, and return the last status."""
        whence = self.whence
        answer = self.phone.register(
            whence.address,
            name,
            password or whence.password("alice"),
            whence.domain,
            expires_s=expires_s,
        )
        return answer.status

    def contacts(self, name: str = "alice") -> list[dict[str, Any]]:
        (user,) = [one for one in self.whence.get("/v1/users") if one["name"] == name]
        return list(user["contacts"])


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    rig = shared_rig
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(
        trunks=[alices_trunk(provider), bobs_trunk(provider)], users=["alice", "bob"]
    )
    whence.wait_registered()
    return Scene(whence, provider, rig.endpoint("phone-alice", SIP_PORT), rig.phone("bob", whence))


def test_phone_with_the_right_password_registers(scene: Scene) -> None:
    before = time.time()
    assert scene.register() == 200
    (contact,) = eventually(scene.contacts, what="alice's contact")
    assert contact["contact"] == f"sip:alice@{place(scene.phone.address)}"
    # Kamailio counts whole seconds, and its clock may be one second late.
    assert before + 3598 <= contact["expires_at"] <= time.time() + 3601


def test_phone_with_a_latin_1_user_agent_is_listed(scene: Scene) -> None:
    whence, phone = scene.whence, scene.phone
    latin_1 = b"T\xe9l\xe9phone".decode("utf-8", "surrogateescape")
    name, password, domain = "alice", whence.password("alice"), whence.domain
    headers = [("User-Agent", latin_1)]
    assert phone.register(whence.address, name, password, domain, headers=headers).status == 200

    def user_agent() -> str:
        (contact,) = scene.contacts()
        return str(contact["user_agent"])

    eventually(lambda: user_agent() == r"T\xe9l\xe9phone", what="the phone's name")


def test_phone_registers_briefly_and_unregisters(scene: Scene) -> None:
    def is_brief() -> bool:
        (contact,) = scene.contacts()
        return bool(contact["expires_at"] - time.time() <= 61)

    assert scene.register(expires_s=60) == 200
    eventually(is_brief, what="a contact for a minute")
    assert scene.register(expires_s=0) == 200
    eventually(lambda: scene.contacts() == [], what="no contact")


@pytest.mark.parametrize("name", ["alice", "unknown"])
def test_phone_with_a_wrong_password_is_challenged_again(scene: Scene, name: str) -> None:
    before = scene.contacts()
    assert scene.register("wrong", name) == 401
    assert scene.contacts() == before


def test_phone_cannot_register_for_another_user(scene: Scene) -> None:
    """Bob's password authorizes bob's contacts only."""
    phone, whence = scene.phone, scene.whence
    aor, domain = ALICE, f"sip:{whence.domain}"

    def ask(cseq: int, *headers: tuple[str, str]) -> Message:
        asked = request(
            "REGISTER",
            domain,
            phone.address,
            from_uri=aor,
            to_uri=aor,
            call_id="for-another",
            cseq=cseq,
            contact=f"<sip:bob@{place(phone.address)}>",
            headers=headers,
        )
        return phone.ask(asked, whence.address)

    before = scene.contacts(), scene.contacts("bob")
    challenge = ask(1)
    bob = authorization(challenge, "REGISTER", domain, "bob", whence.password("bob"))
    assert ask(2, bob).status == 401
    assert (scene.contacts(), scene.contacts("bob")) == before


def test_phone_credentials_replayed_are_refused(scene: Scene) -> None:
    phone, whence = scene.phone, scene.whence
    domain = f"sip:{whence.domain}"

    def ask(cseq: int, *headers: tuple[str, str]) -> Message:
        asked = request(
            "REGISTER",
            domain,
            phone.address,
            from_uri=ALICE,
            to_uri=ALICE,
            call_id="replayed",
            cseq=cseq,
            contact=f"<sip:alice@{place(phone.address)}>",
            headers=headers,
        )
        return phone.ask(asked, whence.address)

    credentials = authorization(ask(1), "REGISTER", domain, "alice", whence.password("alice"))
    assert ask(2, credentials).status == 200
    assert ask(3, credentials).status == 401


def test_phone_call_to_anywhere_is_refused(scene: Scene) -> None:
    """Whence has no outbound calls yet: to a user, to a number, to another domain."""
    assert scene.register() == 200
    rang = len(scene.bob.calls())
    for called in (BOB, uri(scene.whence, BOBS_NUMBER), "sip:+442079460000@provider.example"):
        call = request("INVITE", called, scene.phone.address, from_uri=ALICE)
        assert scene.phone.ask(call, scene.whence.address).status == 403
    assert len(scene.bob.calls()) == rang


def test_phone_is_found_after_a_crash_and_a_restart(scene: Scene, shared_rig: Rig) -> None:
    caller = shared_rig.caller(scene.whence, at=scene.provider)
    before = scene.contacts("bob")
    scene.whence.crash_kamailio()
    caller.call(uri(scene.whence, BOBS_NUMBER), expect=200)
    assert scene.contacts("bob") == before
    scene.whence.restart()
    scene.whence.wait_registered()
    caller.call(uri(scene.whence, BOBS_NUMBER), expect=200)
    assert scene.contacts("bob") == before


def test_phone_behind_nat_is_called_at_its_source(scene: Scene, shared_rig: Rig) -> None:
    """Its Contact has an address of its own network; its REGISTER came from another."""
    phone, whence, inside = scene.phone, scene.whence, "sip:alice@192.168.1.20:5060"

    def register(expires_s: int) -> None:
        answer = phone.register(
            whence.address,
            "alice",
            whence.password("alice"),
            whence.domain,
            contact=f"<{inside}>",
            expires_s=expires_s,
        )
        assert answer.status == 200

    scene.register(expires_s=0)
    register(3600)
    caller = shared_rig.endpoint("provider", 5071)
    invite = request("INVITE", uri(whence), caller.address)
    caller.send(invite, whence.address)
    arrived = phone.expect(lambda m: m.method == "INVITE", what="the call at the phone")
    assert arrived.request_uri == inside
    phone.send(reply(arrived, 486), whence.address)
    refusal = caller.expect(lambda m: m.status == 486, what="the phone's answer at the caller")
    caller.send(acknowledgement(invite, refusal), whence.address)
    register(0)
