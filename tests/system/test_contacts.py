"""What stands in a 200: whose Contact it lists, and for how long. Each by hand."""

import time

import pytest

from testkit.rig import Rig
from testkit.sip import Message, request
from testkit.whence import Whence
from tests.system.registrar import Registrar, by_hand
from tests.system.scene import place

OTHERS = ["<sip:other@198.51.100.9:5060>;expires=60", '"x, y" <sip:more@198.51.100.9>;q=0.5']
DAY_S = 86_400


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    return shared_rig.whence(users=["alice"], agent={"on_stop": "leave"})


def ours(asked: Message) -> str:
    """Our Contact's URI, as it was sent, in angle brackets."""
    return asked["Contact"].partition(";expires=")[0]


def lists(registrar: Registrar, *contacts: str, expires: str | None = None) -> None:
    """Answer the next REGISTER with 200 and these Contacts; `OURS` stands for ours."""
    asked = registrar.asked()
    headers = [("Contact", one.replace("OURS", ours(asked))) for one in contacts]
    headers += [("Expires", expires)] if expires is not None else []
    registrar.answer(asked, 200, *headers)


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
        (["OURS;expires=soon"], "77", 77),
        (["OURS"], "soon", 3600),
    ],
    ids=str,
)
def test_our_contact_says_for_how_long_else_expires_else_what_we_asked_for(
    shared_rig: Rig, whence: Whence, contacts: list[str], expires: str | None, granted_s: int
) -> None:
    registrar = by_hand(shared_rig, whence)
    lists(registrar, *contacts, expires=expires)
    whence.wait_registered(registrar.trunk_id)
    stands = whence.trunk(registrar.trunk_id)
    assert stands["granted_s"] == granted_s
    refresh_s = granted_s - (stands["expires_at"] - stands["next_at"])
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
def test_a_200_that_does_not_grant_us_teaches_nothing(
    shared_rig: Rig, whence: Whence, contacts: list[str]
) -> None:
    registrar = by_hand(shared_rig, whence)
    lists(registrar, *contacts)
    whence.wait_state(registrar.trunk_id, "waiting")
    assert registrar.addresses() == []
    assert registrar.trunk()["expires_at"] is None


def test_the_one_contact_counts_where_the_provider_rewrites_it(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence, rewrites_contact=True)
    lists(registrar, "<sip:acct1@203.0.113.7:1024;ob>;expires=120")
    whence.wait_registered(registrar.trunk_id)
    assert registrar.trunk()["granted_s"] == 120


def test_of_two_contacts_none_is_ours_where_the_provider_rewrites_it(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence, rewrites_contact=True)
    lists(registrar, *OTHERS)
    whence.wait_state(registrar.trunk_id, "waiting")
    assert registrar.addresses() == []


def test_with_line_our_contact_is_the_account_and_the_token_its_parameter(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence, contact="line", target="sip:alice@edge.example")
    asked = registrar.asked()
    assert ours(asked).startswith(f"<sip:acct1@{place(whence.address)};line=")
    registrar.grant(asked)
    whence.wait_registered(registrar.trunk_id)
    # A call to that Contact is known by it.
    token = ours(asked).strip("<>")
    said = whence.explain(f"udp:{place(registrar.endpoint.address)}", token)
    assert said["decision"] == "identified"


@pytest.mark.parametrize(
    "listed",
    [
        "OURS;expires=60",
        "<sip:acct1@EDGE>;expires=60",
        "<sip:acct1@203.0.113.7:1024;LINE>;expires=60",
    ],
)
def test_a_contact_with_line_counts_also_where_the_registrar_changed_it(
    shared_rig: Rig, whence: Whence, listed: str
) -> None:
    registrar = by_hand(shared_rig, whence, contact="line")
    asked = registrar.asked()
    line = ours(asked).strip("<>").partition(";")[2]
    text = listed.replace("OURS", ours(asked)).replace("EDGE", place(whence.address))
    registrar.answer(asked, 200, ("Contact", OTHERS[0]), ("Contact", text.replace("LINE", line)))
    whence.wait_registered(registrar.trunk_id)
    assert registrar.trunk()["granted_s"] == 60


def test_a_line_of_another_trunk_is_refused(shared_rig: Rig, whence: Whence) -> None:
    one, other = (by_hand(shared_rig, whence, contact="line") for _ in range(2))
    contacts = [ours(registrar.granted()).strip("<>") for registrar in (one, other)]
    ask = request("INVITE", contacts[1], one.endpoint.address)
    assert one.endpoint.ask(ask, whence.address).status == 403


def test_a_grant_of_a_few_seconds_is_refreshed_again_and_again(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence)
    lists(registrar, "OURS;expires=15")
    for _ in range(2):
        granted_at = time.time()
        lists(registrar, "OURS;expires=15")
        assert time.time() - granted_at < 15
    assert registrar.addresses() == [registrar.endpoint.address[0]]
