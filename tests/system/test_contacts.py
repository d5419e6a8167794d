"""The Contacts of a 200 to a REGISTER: which one is ours, and which interval it grants."""

import time

import pytest

from testkit.rig import Rig
from testkit.sip import Message, request
from testkit.whence import Whence
from tests.system.registrar import Registrar, new_registrar
from tests.system.scene import place

OTHERS = ["<sip:other@198.51.100.9:5060>;expires=60", '"x, y" <sip:more@198.51.100.9>;q=0.5']
DAY_S = 86_400


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    return shared_rig.whence(users=["alice"], agent={"on_stop": "leave"})


def ours(register: Message) -> str:
    """Return the URI of our Contact as it was sent, in angle brackets."""
    return register["Contact"].partition(";expires=")[0]


def grant_with(registrar: Registrar, *contacts: str, expires: str | None = None) -> None:
    """Answer the next REGISTER with 200 and these Contacts; `OURS` is replaced by ours."""
    register = registrar.next_register()
    headers = [("Contact", one.replace("OURS", ours(register))) for one in contacts]
    headers += [("Expires", expires)] if expires is not None else []
    registrar.answer(register, 200, *headers)


@pytest.mark.parametrize(
    ("contacts", "expires", "granted_s"),
    [
        (["OURS;expires=30"], None, 30),
        (["OURS;expires=86400"], None, DAY_S),
        (["OURS;expires=7200"], "60", 7200),
        (["OURS;EXPIRES=90"], None, 90),
        (['OURS;expires="95"'], "95", 95),
        (["OURS;q=1;expires=91"], None, 91),
        (["OURS"], "1800", 1800),
        (["OURS"], None, 3600),
        ([], "1200", 1200),
        ([], None, 3600),
        ([*OTHERS, "OURS;expires=31"], "7200", 31),
        (["OURS;expires=32", *OTHERS], None, 32),
        ([f"{OTHERS[0]}, OURS;expires=33, {OTHERS[1]}"], None, 33),
        (["OURS;expires=9999999999999999999999"], None, 7 * DAY_S),
        (['OURS;expires=34;+sip.instance="<urn:uuid:0>"'], None, 34),
        (['OURS;q=1;pub-gruu="sip:x;expires=5"'], "1801", 1801),
        (['"a\\"b" <sip:j@h>, OURS;expires=35'], None, 35),
        (['OURS;expires="39"'], None, 39),
        (["OURS;expires=soon"], "77", 77),
        (["OURS"], "soon", 3600),
    ],
    ids=str,
)
def test_granted_interval_is_of_our_contact_then_expires(
    shared_rig: Rig, whence: Whence, contacts: list[str], expires: str | None, granted_s: int
) -> None:
    registrar = new_registrar(shared_rig, whence)
    grant_with(registrar, *contacts, expires=expires)
    whence.wait_registered(registrar.trunk_id)
    details = whence.trunk(registrar.trunk_id)
    assert details["granted_s"] == granted_s
    refresh_s = granted_s - (details["expires_at"] - details["next_at"])
    assert 0.7 * granted_s - 0.01 <= refresh_s <= 0.8 * granted_s + 0.01


@pytest.mark.parametrize(
    "contacts",
    [
        OTHERS,
        ["*"],
        ["<sip:acct1@provider.example>;expires=3600"],
        ["<<>>"],
        ["OURS;expires=0"],
        ["\x00"],
    ],
    ids=repr,
)
def test_reply_200_without_our_contact_is_not_learned(
    shared_rig: Rig, whence: Whence, contacts: list[str]
) -> None:
    registrar = new_registrar(shared_rig, whence)
    grant_with(registrar, *contacts)
    whence.wait_state(registrar.trunk_id, "waiting")
    assert registrar.addresses() == []
    assert registrar.trunk()["expires_at"] is None


def test_rewritten_contact_alone_is_accepted(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence, rewrites_contact=True)
    grant_with(registrar, "<sip:acct1@203.0.113.7:1024;ob>;expires=120")
    whence.wait_registered(registrar.trunk_id)
    assert registrar.trunk()["granted_s"] == 120


def test_rewritten_contacts_two_are_not_accepted(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence, rewrites_contact=True)
    grant_with(registrar, *OTHERS)
    whence.wait_state(registrar.trunk_id, "waiting")
    assert registrar.addresses() == []


def test_contact_with_line_has_the_token_as_parameter(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence, contact="line", target="sip:alice@edge.example")
    register = registrar.next_register()
    assert ours(register).startswith(f"<sip:acct1@{place(whence.address)};line=")
    registrar.grant(register)
    whence.wait_registered(registrar.trunk_id)
    # The edge identifies a call to that Contact by its line.
    token = ours(register).strip("<>")
    explanation = whence.explain(f"udp:{place(registrar.endpoint.address)}", token)
    assert explanation["decision"] == "identified"


@pytest.mark.parametrize(
    "listed",
    [
        "OURS;expires=60",
        "<sip:acct1@EDGE>;expires=60",
        "<sip:acct1@203.0.113.7:1024;LINE>;expires=60",
    ],
)
def test_contact_with_line_is_found_after_a_rewrite(
    shared_rig: Rig, whence: Whence, listed: str
) -> None:
    registrar = new_registrar(shared_rig, whence, contact="line")
    register = registrar.next_register()
    line = ours(register).strip("<>").partition(";")[2]
    text = listed.replace("OURS", ours(register)).replace("EDGE", place(whence.address))
    registrar.answer(register, 200, ("Contact", OTHERS[0]), ("Contact", text.replace("LINE", line)))
    whence.wait_registered(registrar.trunk_id)
    assert registrar.trunk()["granted_s"] == 60


def test_line_of_another_trunk_is_refused(shared_rig: Rig, whence: Whence) -> None:
    one, other = (new_registrar(shared_rig, whence, contact="line") for _ in range(2))
    contacts = [ours(registrar.granted()).strip("<>") for registrar in (one, other)]
    ask = request("INVITE", contacts[1], one.endpoint.address)
    assert one.endpoint.ask(ask, whence.address).status == 403


def test_short_grant_is_refreshed_repeatedly(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    grant_with(registrar, "OURS;expires=15")
    for _ in range(2):
        granted_at = time.time()
        grant_with(registrar, "OURS;expires=15")
        assert time.time() - granted_at < 15
    assert registrar.addresses() == [registrar.endpoint.address[0]]
