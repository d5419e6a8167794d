"""A call that names a trunk which is not at its source, and the number that a call is for."""

import pytest

from testkit.sip import Endpoint, Headers, Message
from tests.contract.scene import Scene
from tests.contract.world import Caller

Parts = dict[str, object]


def arrives(scene: Scene, caller: Endpoint, invite: Message, phone: Endpoint) -> Message:
    caller.send(invite, scene.edge)
    return phone.expect(lambda m: m.call_id == invite.call_id, what="the call at the phone")


def is_refused(scene: Scene, caller: Endpoint, invite: Message) -> bool:
    return caller.ask(invite, scene.edge).status == 403


def number(scene: Scene, ending: str = "1") -> str:
    """Return a number that no other test has."""
    own = int(scene.name("").split("-")[1], 16)
    return f"+493{own:010}{ending}"


def absent(scene: Scene, how: str, **keys: object) -> Caller:
    """Return a trunk that is not at the provider's address."""
    if how == "disabled":
        return scene.trunk("sip:x@192.0.2.9", enabled=False, **keys)  # type: ignore[arg-type]
    if how == "expired":
        return scene.trunk("sip:x@192.0.2.9", granted_s=-0.001, **keys)  # type: ignore[arg-type]
    return scene.trunk("sip:x@192.0.2.9", at="another-provider", **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["disabled", "expired", "elsewhere"])
@pytest.mark.parametrize("fallback", [False, True])
def test_name_of_an_absent_trunk_refuses_the_call(
    scene: Scene, how: str, *, fallback: bool
) -> None:
    theirs, account = number(scene), scene.name("account")
    mine, phone = scene.line(fallback=fallback)
    if fallback:
        scene.trunk("sip:x@192.0.2.9", at=mine.at, user="acct2")
    absent(scene, how, numbers=(theirs, theirs[:-2] + "*"), user=account)
    named = [theirs, theirs[1:], f"00{theirs[1:]}", f"{theirs[:6]}-{theirs[6:]}", theirs[:-1] + "9"]
    for user in (*named, account, f"{account};x=y"):
        invites = [
            scene.invite(mine.at, user),
            scene.invite(mine.at, "", headers=[("P-Called-Party-ID", f"<sip:{user}@invalid>")]),
        ]
        assert all(is_refused(scene, mine.at, invite) for invite in invites), user
    assert scene.nothing_came(phone)
    # To names the first recipient. It must not take the call from the trunk that is here.
    to_theirs = scene.invite(mine.at, "unheard", to_uri=f"sip:{theirs}@invalid")
    assert arrives(scene, mine.at, to_theirs, phone)["X-Whence-Trunk"] == mine.id


def test_account_in_request_uri_beats_number_in_to(scene: Scene) -> None:
    one_user, two_number = scene.name("one"), number(scene)
    one, phone = scene.line(user=one_user)
    scene.line(user="acct2", numbers=(two_number,), at=one.at)
    for headers in ([], [("P-Called-Party-ID", f"<sip:{two_number}@invalid>")]):
        invite = scene.invite(one.at, one_user, to_uri=f"sip:{two_number}@invalid", headers=headers)
        assert arrives(scene, one.at, invite, phone)["X-Whence-Trunk"] == one.id


def test_number_that_is_anothers_account_is_refused(scene: Scene) -> None:
    shared = number(scene)
    three, phone_three = scene.line(user=shared[1:])
    _, phone_four = scene.line(user="acct4", numbers=(shared,), at=three.at)
    for user in (shared, shared[1:], f"00{shared[1:]}"):
        assert is_refused(scene, three.at, scene.invite(three.at, user)), user
        assert is_refused(
            scene, three.at, scene.invite(three.at, "unheard", to_uri=f"sip:{user}@invalid")
        )
    assert scene.nothing_came(phone_three, phone_four)


def test_number_headers_are_read_in_their_order(scene: Scene) -> None:
    first, second = number(scene, "1"), number(scene, "2")
    headers = ["X-Called", "Diversion", "History-Info"]
    one, phone_one = scene.line(numbers=(first,), number_headers=headers)
    two, phone_two = scene.line(numbers=(second,), number_headers=headers, user="acct2", at=one.at)
    cases: list[tuple[Headers, Caller, Endpoint]] = [
        ([("X-Called", first), ("Diversion", f"<sip:{second}@h>")], one, phone_one),
        ([("x-cALLED", f"<tel:{second}>")], two, phone_two),
        ([("Diversion", f'"a, b" <sip:x@h>;reason=unknown, <sip:{second}@h>')], two, phone_two),
        ([("Diversion", "<sip:x@h>"), ("Diversion", f"<sip:{first}@h>")], one, phone_one),
        (
            [("History-Info", f"<sip:{first}@h>;index=1"), ("History-Info", f"<sip:{second}@h>")],
            two,
            phone_two,
        ),
    ]
    for given, trunk, phone in cases:
        for _ in range(2):  # the second decision comes from the cache
            invite = scene.invite(one.at, "unheard", to_uri="sip:x@invalid", headers=given)
            assert arrives(scene, one.at, invite, phone)["X-Whence-Trunk"] == trunk.id
    assert is_refused(scene, one.at, scene.invite(one.at, "x", to_uri=f"sip:{first}@invalid"))


def test_block_is_called_by_extension_not_by_account(scene: Scene) -> None:
    stem = number(scene, "")
    pbx = scene.endpoint("pbx")
    target = f"sip:{{number}}@{pbx.address[0]}:{pbx.address[1]}"
    trunk = scene.trunk(target, user=f"{stem[1:]}0", numbers=(f"{stem}*",))
    for user, to, expected in (
        (f"{stem[1:]}0", f"{stem}77", f"{stem}77"),
        (f"{stem}0", f"{stem}77", f"{stem}77"),
        (f"{stem}0", f"{stem}0", f"{stem}0"),
        (f"{stem}78", f"{stem}77", f"{stem}78"),
        (trunk.token, f"{stem}77", f"{stem}77"),
    ):
        invite = scene.invite(trunk.at, user, to_uri=f"sip:{to}@invalid")
        arrived = arrives(scene, trunk.at, invite, pbx)
        assert arrived.request_uri.partition("@")[0] == f"sip:{expected}"
        assert arrived.all("P-Called-Party-ID") == []


@pytest.mark.parametrize(
    ("format_", "written"),
    [
        ("as_sent", "0044"),
        ("e164", "+44"),
        ("national", "0"),
        ("plain", "44"),
    ],
)
@pytest.mark.parametrize("owned", [None, "", "*"])
def test_number_format_writes_the_number_for_the_target(
    scene: Scene, format_: str, written: str, owned: str | None
) -> None:
    called = number(scene)[3:]
    numbers = () if owned is None else (f"+44{called}{owned}",)
    pbx = scene.endpoint("pbx")
    target = f"sip:{{number}}@{pbx.address[0]}:{pbx.address[1]}"
    trunk = scene.trunk(target, numbers=numbers, country="44", number_format=format_)
    invite = scene.invite(trunk.at, f"00-44-{called}", to_uri="sip:x@invalid")
    arrived = arrives(scene, trunk.at, invite, pbx)
    assert arrived.request_uri.partition("@")[0] == f"sip:{written}{called}"


@pytest.mark.parametrize(
    "given",
    [
        [],
        [("P-Called-Party-ID", "<sip:junk@invalid>")],
        [("p-called-party-id", "<sip:a@invalid>"), ("P-Called-Party-ID", "<sip:b@invalid>")],
        [("P-Called-Party-ID", '"\\u00e9" <sip:junk@invalid>')],
    ],
)
def test_registered_pbx_gets_the_number_in_p_called_party_id(scene: Scene, given: Headers) -> None:
    called = number(scene)
    trunk, phone = scene.line(numbers=(called,), number_format="plain")
    for _ in range(2):  # the second decision comes from the cache
        invite = scene.invite(trunk.at, called, headers=given)
        arrived = arrives(scene, trunk.at, invite, phone)
        ip, port = phone.address
        assert arrived.request_uri.endswith(f"{ip}:{port}")
        assert arrived.all("P-Called-Party-ID") == [f"<sip:{called[1:]}@edge.example>"]


def test_p_called_party_id_passes_where_no_number_is_called(scene: Scene) -> None:
    trunk, phone = scene.line()
    given = [("P-Called-Party-ID", "<sip:junk@invalid>")]
    invite = scene.invite(trunk.at, "unheard", to_uri="sip:x@invalid", headers=given)
    assert arrives(scene, trunk.at, invite, phone).all("P-Called-Party-ID") == [given[0][1]]
