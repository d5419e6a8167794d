"""Identification: which trunk a call belongs to, or that the edge refuses it."""

import pytest

from testkit.sip import Endpoint, Headers, Message
from tests.contract.call import refuse
from tests.contract.scene import Scene
from tests.contract.world import Caller
from whence.core.sip.transport_address import Transport

ONE, TWO = "+442071234567", "+442071234568"


def rings(scene: Scene, caller: Endpoint, invite: Message, phone: Endpoint) -> Message:
    """Send a call and return it as it reached the phone."""
    caller.send(invite, scene.edge)
    return phone.expect(lambda m: m.call_id == invite.call_id, what="the call at the phone")


def refused(scene: Scene, caller: Endpoint, invite: Message) -> bool:
    return caller.ask(invite, scene.edge).status == 403


def two_trunks(scene: Scene) -> tuple[Caller, Caller, Endpoint, Endpoint]:
    """Two accounts at one provider address, the second called at the same place."""
    one, phone_one = scene.line(numbers=(ONE,), user="acct1")
    two, phone_two = scene.line(numbers=(TWO,), user="acct2", at=one.at)
    return one, two, phone_one, phone_two


def test_call_from_a_learned_address_has_trunk_and_source(
    scene: Scene,
) -> None:
    trunk, phone = scene.line()
    arrived = rings(scene, trunk.at, scene.invite(trunk.at), phone)
    ip, port = trunk.at.address
    assert arrived.all("X-Whence-Trunk") == [trunk.id]
    assert arrived.all("X-Whence-Source") == [f"udp:{ip}:{port}"]
    assert arrived.request_uri == f"sip:{_user(arrived)}@{phone.address[0]}:{phone.address[1]}"


def test_token_in_the_request_uri_identifies_its_trunk(scene: Scene) -> None:
    one, two, phone_one, phone_two = two_trunks(scene)
    for trunk, phone in ((one, phone_one), (two, phone_two)):
        arrived = rings(scene, one.at, scene.invite(one.at, trunk.token), phone)
        assert arrived["X-Whence-Trunk"] == trunk.id


def test_token_in_the_line_parameter_identifies_its_trunk(scene: Scene) -> None:
    one, two, phone_one, phone_two = two_trunks(scene)
    for trunk, phone in ((one, phone_one), (two, phone_two)):
        invite = scene.invite(one.at, to_uri="sip:anybody@invalid")
        uri = f"{scene.uri('unheard')};line={trunk.token}"
        changed = Message(f"INVITE {uri} SIP/2.0", invite.headers)
        assert rings(scene, one.at, changed, phone)["X-Whence-Trunk"] == trunk.id


@pytest.mark.parametrize(
    ("user", "headers", "to"),
    [
        (ONE, [("P-Called-Party-ID", f"<sip:{TWO}@invalid>")], TWO),
        ("unheard", [("P-Called-Party-ID", f"<sip:{ONE}@invalid>")], TWO),
        ("unheard", [("P-Called-Party-ID", f'"Two" <sip:{ONE}@invalid;user=phone>')], TWO),
        ("unheard", [("P-Called-Party-ID", f"<tel:{ONE}>")], TWO),
        ("unheard", [], ONE),
        ("unheard", [("P-Called-Party-ID", "<sip:unheard@invalid>")], ONE),
    ],
)
def test_number_is_read_from_ruri_then_pcpid_then_to(
    scene: Scene, user: str, headers: Headers, to: str
) -> None:
    one, _, phone_one, _ = two_trunks(scene)
    invite = scene.invite(one.at, user, to_uri=f"sip:{to}@invalid", headers=headers)
    assert rings(scene, one.at, invite, phone_one)["X-Whence-Trunk"] == one.id


@pytest.mark.parametrize("written", ["+442071234567", "442071234567", "00442071234567"])
def test_number_in_each_spelling_identifies_its_trunk(scene: Scene, written: str) -> None:
    one, _, phone_one, _ = two_trunks(scene)
    arrived = rings(scene, one.at, scene.invite(one.at, written), phone_one)
    assert arrived["X-Whence-Trunk"] == one.id


def test_number_in_a_tel_uri_identifies_its_trunk(scene: Scene) -> None:
    one, _, phone_one, _ = two_trunks(scene)
    invite = scene.invite(one.at)
    changed = Message(f"INVITE tel:{ONE} SIP/2.0", invite.headers)
    assert rings(scene, one.at, changed, phone_one)["X-Whence-Trunk"] == one.id


@pytest.mark.parametrize(
    "called",
    [
        "sip:02071234567@invalid",
        "sip:2071234567@invalid",
        "sip:020-7123.4567@invalid;user=phone",
        "sip:+44(0)2071234567@invalid",
        "sip:02071234567;phone-context=+44@invalid;user=phone",
        "sip:7123-4567;phone-context=+44-20@invalid",
        "tel:2071234567;phone-context=+44",
        "tel:02071234567;phone-context=invalid",
        "sip:%2B44%202071234567@invalid",
    ],
)
def test_number_in_national_form_identifies_its_trunk(scene: Scene, called: str) -> None:
    one, phone = scene.line(numbers=(ONE,), country="44")
    scene.line(numbers=(TWO,), country="44", user="acct2", at=one.at)
    invite = scene.invite(one.at)
    changed = Message(f"INVITE {called} SIP/2.0", invite.headers)
    assert rings(scene, one.at, changed, phone)["X-Whence-Trunk"] == one.id


def test_prefix_owns_its_numbers_but_not_anothers(scene: Scene) -> None:
    one, phone_one = scene.line(numbers=("+4420712345*",))
    two, phone_two = scene.line(numbers=("+442071234566",), user="acct2", at=one.at)
    for called, trunk, phone in (
        ("+442071234567", one, phone_one),
        ("0044-20-7123-45", one, phone_one),
        ("442071234566", two, phone_two),
    ):
        arrived = rings(scene, one.at, scene.invite(one.at, called), phone)
        assert arrived["X-Whence-Trunk"] == trunk.id
    assert refused(scene, one.at, scene.invite(one.at, "+442071234"))


def test_call_of_two_possible_trunks_is_refused(scene: Scene) -> None:
    one, _, phone_one, phone_two = two_trunks(scene)
    assert refused(scene, one.at, scene.invite(one.at, "unheard"))
    assert scene.nothing_came(phone_one, phone_two)


def test_call_of_several_possible_trunks_goes_to_the_fallback(scene: Scene) -> None:
    one, _, _, phone_two = two_trunks(scene)
    fallback, phone = scene.line(user="acct3", at=one.at, fallback=True)
    for _ in range(2):  # the second decision comes from the cache
        arrived = rings(scene, one.at, scene.invite(one.at, "unheard"), phone)
        assert arrived["X-Whence-Trunk"] == fallback.id
    rings(scene, one.at, scene.invite(one.at, TWO), phone_two)


def test_call_without_a_name_is_refused_by_unmatched(scene: Scene) -> None:
    trunk, phone = scene.line(numbers=(ONE,), unmatched="refuse")
    refuse(scene, phone, rings(scene, trunk.at, scene.invite(trunk.at, ONE), phone), 486)
    assert refused(scene, trunk.at, scene.invite(trunk.at, TWO))
    assert refused(scene, trunk.at, scene.invite(trunk.at, "unheard", to_uri=f"sip:{TWO}@invalid"))
    assert scene.nothing_came(phone)


def test_token_from_a_wrong_source_is_refused(scene: Scene) -> None:
    mine, phone_of_mine = scene.line(at="provider")
    other, phone_of_other = scene.line(at="another-provider")
    assert refused(scene, mine.at, scene.invite(mine.at, other.token))
    assert refused(scene, scene.endpoint(), scene.invite(mine.at, other.token))
    assert scene.nothing_came(phone_of_mine, phone_of_other)


def test_number_from_an_unknown_source_is_refused(scene: Scene) -> None:
    _, phone = scene.line(numbers=(ONE,))
    unknown_source = scene.endpoint()
    assert refused(scene, unknown_source, scene.invite(unknown_source, ONE))
    assert scene.nothing_came(phone)


def test_address_admits_each_port_of_its_ip(scene: Scene) -> None:
    trunk, phone = scene.line()
    other_port = scene.endpoint("provider")
    arrived = rings(scene, other_port, scene.invite(other_port), phone)
    assert arrived["X-Whence-Trunk"] == trunk.id


def test_address_of_an_expired_registration_admits_nothing(scene: Scene) -> None:
    trunk, phone = scene.line(granted_s=-0.001)
    assert refused(scene, trunk.at, scene.invite(trunk.at))
    assert scene.nothing_came(phone)


def test_disabled_trunk_gets_no_call(scene: Scene) -> None:
    trunk, phone = scene.line(enabled=False)
    assert refused(scene, trunk.at, scene.invite(trunk.at))
    assert scene.nothing_came(phone)


def test_address_learned_over_tcp_admits_nothing_over_udp(scene: Scene) -> None:
    trunk, phone = scene.line(transport=Transport.TCP)
    assert refused(scene, trunk.at, scene.invite(trunk.at))
    assert scene.nothing_came(phone)


def _user(arrived: Message) -> str:
    return arrived.request_uri.removeprefix("sip:").partition("@")[0]
