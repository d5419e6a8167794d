"""`whence explain --from --to` says what the edge then does: both take the same steps."""

from __future__ import annotations

import time

import pytest

from testkit.calling_phone import Phone
from testkit.sip import Headers
from tests.contract.books import DOMAIN
from tests.contract.outbound.scene import OutScene
from whence.agent.monitoring.outbound import CallOutExplanation, CallOutQuestion, CallsOut

Keys = dict[str, object]

OWN = "+442071234567"


def explained(scene: OutScene, phone: Phone, to: str, headers: Headers = ()) -> CallOutExplanation:
    books = scene.world.books
    named: dict[str, list[str]] = {}
    for name, value in headers:
        named.setdefault(name.lower(), []).append(value)
    hosts = books.settings.edge.own_hosts
    question = CallOutQuestion(phone.user, to, named)
    return CallsOut(books.directory, DOMAIN, hosts).explain(question, time.time())


@pytest.mark.parametrize(
    ("outbound", "user", "to", "headers"),
    [
        ({}, {}, "020 7946 0000", ()),
        ({"number_format": "national"}, {}, "tel:+49-30-1234567", ()),
        ({"from_user": "number"}, {"caller_number": OWN}, "00493012345678", ()),
        (
            {"number_header": "P-Asserted-Identity", "number_format": "plain"},
            {"caller_number": OWN},
            "+44 (0)20 7946 0000",
            [("Privacy", "id")],
        ),
        (
            {"number_header": "Remote-Party-ID"},
            {"caller_number": OWN, "caller_numbers": ["+4420712345*"]},
            "1571",
            [("P-Preferred-Identity", "<sip:+442071234500@edge.example>")],
        ),
        (
            {"number_header": "Remote-Party-ID"},
            {"caller_number": OWN},
            "+442079460000",
            [("P-Preferred-Identity", "<sip:+442079990000@edge.example>")],
        ),
    ],
)
def test_explain_has_what_the_trunk_then_gets(
    scene: OutScene, outbound: Keys, user: Keys, to: str, headers: Headers
) -> None:
    trunk = scene.out_trunk(outbound=outbound)
    phone = scene.caller([trunk], **user)
    found = explained(scene, phone, to, headers)
    (first,) = found.tries
    uri = to if ":" in to else f"sip:{to.replace(' ', '')}@{DOMAIN}"
    call = phone.call(uri, invite=phone.invite(uri, headers=headers))
    invite = trunk.server.expect("INVITE")
    assert invite.request_uri == first.request_uri
    assert invite["From"].partition(";tag=")[0] == first.from_
    assert invite["To"] == first.to
    identity = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Privacy")
    sent = {name: invite.all(name) for name in identity}
    said: dict[str, list[str]] = {name: [] for name in identity}
    for line in first.headers:
        name, _, value = line.partition(": ")
        said[name].append(value)
    assert sent == said
    assert phone.ask(call, "BYE").status == 200


@pytest.mark.parametrize(
    ("trunks", "user", "to"),
    [
        (0, {}, "+442079460000"),
        (1, {"limits": {"prefixes": ["+49"]}}, "+442079460000"),
        (1, {}, "nobody"),
        (1, {}, "sip:+442079460000@other.example"),
    ],
)
def test_explain_of_a_refused_call_has_its_status(
    scene: OutScene, trunks: int, user: Keys, to: str
) -> None:
    trunk = scene.out_trunk()
    phone = scene.caller([trunk] * trunks, **user)
    found = explained(scene, phone, to)
    assert (found.decision, found.tries) == ("refused", [])
    uri = to if ":" in to else f"sip:{to}@{DOMAIN}"
    assert phone.refused(uri).status == found.status
    assert trunk.server.requests("INVITE") == []


def test_explain_passes_over_what_is_not_registered(scene: OutScene) -> None:
    ended, ready = scene.out_trunk(until_s=-1), scene.out_trunk()
    phone = scene.caller([ended, ready])
    found = explained(scene, phone, "+442079460000")
    assert [(one.trunk, one.standing) for one in found.considered] == [
        (ended.id, "not_registered"),
        (ready.id, "ready"),
    ]
    phone.call("+442079460000")
    assert ready.server.expect("INVITE").request_uri == found.tries[0].request_uri
    assert ended.server.requests("INVITE") == []
