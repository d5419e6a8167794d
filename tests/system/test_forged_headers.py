"""Headers that an admitted provider forges: it cannot place a call as another's trunk.

Two trunks are at one provider, a third is at another. Headers choose only among the trunks whose
addresses admit the source.
"""

import re
from dataclasses import dataclass

import pytest

from testkit.provider import Provider
from testkit.rig import Rig
from testkit.sip import Endpoint, Message, request
from testkit.wait import eventually
from testkit.whence import Whence, trunk
from tests.system.dialog import Dialog, connect, is_final
from tests.system.pbx import Pbx
from tests.system.scene import ACCOUNTS, ALICES_NUMBER, BOBS_NUMBER, UNASSIGNED_NUMBER, place

OTHERS_NUMBER = "+442071234569"
FIRST, SECOND, OTHERS = "first", "second", "others"


@dataclass
class Scene:
    """The sources of calls, and what a forger knows of the trunks."""

    whence: Whence
    pbx: Pbx
    provider: Provider
    caller: Endpoint
    """At the provider of the first two trunks."""
    others_caller: Endpoint
    call: Dialog
    """An established call of the other provider's trunk."""
    words: dict[str, str]
    """The value of each `{…}` in a header."""

    def invite(self, user: str, headers: dict[str, str]) -> Message:
        output = {name: text.format_map(self.words) for name, text in headers.items()}
        to = output.pop("To", None)
        uri = f"sip:{user.format_map(self.words)}@{place(self.whence.address)}"
        return request("INVITE", uri, self.caller.address, to_uri=to, headers=list(output.items()))


@pytest.fixture(scope="module")
def scene(shared_rig: Rig) -> Scene:
    rig = shared_rig
    provider = rig.provider(accounts=ACCOUNTS)
    other = rig.provider("other", accounts={"acct9": "secret of acct9"}, domain="other.example")
    pbx, phone = Pbx(rig), rig.endpoint("phone")
    whence = rig.whence(
        trunks=[
            trunk(FIRST, provider, "acct1", pbx.uri, [ALICES_NUMBER]),
            trunk(SECOND, provider, "acct2", pbx.uri, [BOBS_NUMBER]),
            trunk(OTHERS, other, "acct9", f"sip:phone@{place(phone.address)}", [OTHERS_NUMBER]),
        ],
    )
    whence.wait_registered()
    caller, others_caller = rig.endpoint("provider"), rig.endpoint("other")
    call = connect(whence, others_caller, phone, user=OTHERS_NUMBER)
    tokens = {
        user: re.split("[:@]", at.contacts(user)[0].uri)[1]
        for at, user in ((provider, "acct1"), (provider, "acct2"), (other, "acct9"))
    }
    words = {
        "edge": place(whence.address),
        "other": other.ip,
        "phone": place(phone.address),
        "cookie": call.answer["Record-Route"],
        **tokens,
    }
    return Scene(whence, pbx, provider, caller, others_caller, call, words)


OTHERS_HEADERS = {
    "P-Called-Party-ID": f"<sip:{OTHERS_NUMBER}@other.example>",
    "To": f"sip:{OTHERS_NUMBER}@other.example",
    "P-Asserted-Identity": f"<sip:{OTHERS_NUMBER}@other.example>",
    "P-Preferred-Identity": "<sip:acct9@other.example>",
    "Remote-Party-ID": "<sip:acct9@other.example>;party=called",
    "Diversion": f"<sip:{OTHERS_NUMBER}@other.example>;reason=unconditional",
    "History-Info": f"<sip:{OTHERS_NUMBER}@other.example>;index=1",
    "X-Whence-Trunk": OTHERS,
    "X-Whence-Source": "udp:{other}:5060",
    "X-Forwarded-For": "{other}",
    "Route": "{cookie}",
    "Path": "<sip:{acct9}@{other};lr>",
    "Referred-By": "<sip:{acct9}@{other}>",
}
"""Headers that name the trunk without an address at the provider."""


def second_ones(value: str) -> str:
    """Make a header that names the other provider's trunk name the second trunk instead."""
    value = value.replace(OTHERS_NUMBER, BOBS_NUMBER).replace("acct9", "acct2")
    return value.replace(OTHERS, SECOND).replace("other.example", "provider.example")


RULES = ("P-Called-Party-ID", "To")
"""Headers in which the edge looks for a number if the Request-URI has none."""

NOT_A_RULE = [name for name in OTHERS_HEADERS if name not in RULES]


@pytest.mark.parametrize("name", OTHERS_HEADERS)
def test_header_that_names_a_trunk_elsewhere_is_refused(scene: Scene, name: str) -> None:
    """No rule distinguishes the two trunks at the provider: the call stays ambiguous."""
    call = scene.invite(UNASSIGNED_NUMBER, {name: OTHERS_HEADERS[name]})
    assert scene.caller.ask(call, scene.whence.address).status == 403


@pytest.mark.parametrize("name", NOT_A_RULE)
def test_header_without_a_rule_does_not_choose_a_trunk(scene: Scene, name: str) -> None:
    call = scene.invite(UNASSIGNED_NUMBER, {name: second_ones(OTHERS_HEADERS[name])})
    assert scene.caller.ask(call, scene.whence.address).status == 403


@pytest.mark.parametrize("name", OTHERS_HEADERS)
@pytest.mark.parametrize("of", ["the second", "a trunk elsewhere"])
def test_request_uri_number_comes_before_every_header(scene: Scene, name: str, of: str) -> None:
    value = OTHERS_HEADERS[name]
    headers = {name: second_ones(value) if of == "the second" else value}
    assert given_to(scene, scene.invite(ALICES_NUMBER, headers)) == FIRST


def test_forged_headers_together_choose_no_other_trunk(scene: Scene) -> None:
    assert given_to(scene, scene.invite(BOBS_NUMBER, OTHERS_HEADERS)) == SECOND
    call = scene.invite(UNASSIGNED_NUMBER, OTHERS_HEADERS)
    assert scene.caller.ask(call, scene.whence.address).status == 403


@pytest.mark.parametrize(
    ("user", "headers", "expected"),
    [
        (UNASSIGNED_NUMBER, {"P-Called-Party-ID": f"<sip:{BOBS_NUMBER}@x.example>"}, SECOND),
        (UNASSIGNED_NUMBER, {"To": f"sip:{BOBS_NUMBER}@x.example"}, SECOND),
        (
            UNASSIGNED_NUMBER,
            {
                "P-Called-Party-ID": f"<sip:{ALICES_NUMBER}@x.example>",
                "To": f"sip:{BOBS_NUMBER}@x.example",
            },
            FIRST,
        ),
        ("{acct2}", {"To": f"sip:{ALICES_NUMBER}@x.example"}, SECOND),
        ("x;line={acct2}", {"P-Called-Party-ID": f"<sip:{ALICES_NUMBER}@x.example>"}, FIRST),
        ("acct1", {"To": f"sip:{BOBS_NUMBER}@x.example"}, FIRST),
        ("acct1", {"P-Called-Party-ID": f"<sip:{BOBS_NUMBER}@x.example>"}, FIRST),
        (ALICES_NUMBER, {"To": "sip:{acct9}@x.example"}, FIRST),
    ],
    ids=[
        "P-Called-Party-ID",
        "To",
        "P-Called-Party-ID before To",
        "a token before a number",
        "a parameter of the user part is no line",
        "the account before a number in To",
        "the account before a number in P-Called-Party-ID",
        "a token counts in the Request-URI alone",
    ],
)
def test_header_of_a_rule_chooses_among_the_candidates(
    scene: Scene, user: str, headers: dict[str, str], expected: str
) -> None:
    assert given_to(scene, scene.invite(user, headers)) == expected


@pytest.mark.parametrize("headers", [{}, {"To": f"sip:{ALICES_NUMBER}@x.example"}, OTHERS_HEADERS])
def test_token_of_a_trunk_elsewhere_is_refused(scene: Scene, headers: dict[str, str]) -> None:
    call = scene.invite("{acct9}", headers)
    assert scene.caller.ask(call, scene.whence.address).status == 403

    def is_explained() -> bool:
        output = scene.whence.cli("explain", "--call", call.call_id).stdout
        return "token from a wrong source" in output

    eventually(is_explained, what="the explanation of the refusal")


@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO", "REFER"])
def test_cookie_of_another_call_opens_no_dialog(scene: Scene, method: str) -> None:
    """A cookie is valid for its own Call-ID only. The phone of that call gets nothing."""
    asked = request(
        method,
        f"sip:phone@{scene.words['phone']}",
        scene.caller.address,
        to_tag="made-up",
        headers=[("Route", scene.words["cookie"])],
    )
    assert scene.caller.ask(asked, scene.whence.address).status == 481


def test_established_call_gets_only_its_own_requests(scene: Scene) -> None:
    call = scene.call
    call.pass_on(call.from_caller("BYE"), call.caller, call.phone)


def given_to(scene: Scene, call: Message) -> str:
    """Make a call; return its trunk. Assert that no forged header reached the PBX."""
    scene.caller.send(call, scene.whence.address)
    received = scene.pbx.receive()
    assert received.call_id == call.call_id
    assert scene.caller.expect(is_final(call)).status == 486
    assert received.all("X-Whence-Source") == [f"udp:{place(scene.caller.address)}"]
    assert not received.all("Route")
    (given,) = received.all("X-Whence-Trunk")
    assert given in (FIRST, SECOND)
    return given
