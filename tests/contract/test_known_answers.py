"""Kamailio gives a call to the same trunk as the edge would, if it answers the call itself."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from testkit.sip import Endpoint, reply, request
from testkit.wait import eventually
from tests.contract.forged_headers import HIDDEN, NAMES, SPELLINGS, forged
from tests.contract.known_calls import Reports, arrives, uri
from tests.contract.scene import Scene
from tests.contract.world import Caller, whence_headers
from whence.agent.kamailio.config import KNOWN_ANSWERS_LIMIT
from whence.core.dialogs.arrival import Arrival


@pytest.fixture
def reports(scene: Scene) -> Iterator[Reports]:
    reports = Reports(scene)
    yield reports
    reports.close()


@pytest.fixture
def pbx(scene: Scene) -> Endpoint:
    return scene.endpoint("pbx")


def ours(trunk: Caller) -> list[tuple[str, str]]:
    """Return the headers that Whence writes into a call of this trunk."""
    ip, port = trunk.at.address
    return [("X-Whence-Trunk", trunk.id), ("X-Whence-Source", f"udp:{ip}:{port}")]


def is_known(scene: Scene, reports: Reports, caller: Endpoint, pbx: Endpoint) -> bool:
    """Make a call, and return whether Kamailio answered it itself."""
    invite = scene.invite(caller)
    assert arrives(scene, caller, pbx, invite)
    return reports.was_known(invite.call_id)


def warm(scene: Scene, reports: Reports, caller: Endpoint, pbx: Endpoint) -> None:
    """Make calls until Kamailio answers them itself, which it does not do with the first one."""
    assert not is_known(scene, reports, caller, pbx)
    eventually(lambda: is_known(scene, reports, caller, pbx), what="a call that is known")


def test_second_call_alike_is_not_asked(scene: Scene, reports: Reports, pbx: Endpoint) -> None:
    trunk = scene.trunk(uri(pbx))
    seen = set()

    def is_known() -> bool:
        invite = scene.invite(trunk.at)
        came = arrives(scene, trunk.at, pbx, invite)
        assert came is not None
        seen.add((came.request_uri, *whence_headers(came)))
        return reports.was_known(invite.call_id)

    assert not is_known()
    eventually(is_known, what="a call that is not asked")
    before = reports.dropped  # the calls of other tests, which had no agent
    assert is_known()
    assert reports.dropped == before
    assert seen == {(uri(pbx), *ours(trunk))}


def test_report_of_a_known_call_is_that_of_the_decision(
    scene: Scene, reports: Reports, pbx: Endpoint
) -> None:
    trunk = scene.trunk(uri(pbx), numbers=("+4431",))
    found = set()

    def is_known() -> bool:
        called = [("P-Called-Party-ID", "<sip:+4431@x>")]
        invite = scene.invite(trunk.at, to_uri="sip:b@x", headers=called)
        before = time.time()
        assert arrives(scene, trunk.at, pbx, invite)
        known = reports.was_known(invite.call_id)
        report = (reports.known if known else reports.asked)[invite.call_id]
        assert before - 1 < report.at < time.time() + 1
        assert report.from_cache or not known
        found.add(
            replace(
                report,
                arrival=Arrival(0),
                sender=report.sender._replace(tag=""),
                from_cache=False,
                call_id="",
            )
        )
        return known

    assert not is_known()
    eventually(is_known, what="a call that is known")
    assert len(found) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_forged_header_of_a_known_call_is_removed(
    scene: Scene, pbx: Endpoint, reports: Reports, name: str, spelling: str
) -> None:
    trunk = scene.trunk(uri(pbx))
    warm(scene, reports, trunk.at, pbx)
    came = arrives(scene, trunk.at, pbx, forged(scene.invite(trunk.at), name, spelling))
    if came:
        assert whence_headers(came) == ours(trunk)
        assert "forged" not in str(came)


MIXED = (b"x-WHENCE-trunk", b"X-wHENCE-TRUNK", b"x-Whence-Trunk", b"X-whence-trunk")


@pytest.mark.parametrize("hidden", HIDDEN)
def test_hidden_header_of_a_known_call_is_refused(
    scene: Scene, pbx: Endpoint, reports: Reports, hidden: str
) -> None:
    trunk = scene.trunk(uri(pbx))
    warm(scene, reports, trunk.at, pbx)
    for name in MIXED:
        line = re.sub(rb"(?i)x-whence-trunk", name, HIDDEN[hidden])
        head, rest = bytes(scene.invite(trunk.at)).split(b"\r\n", 1)
        came = arrives(scene, trunk.at, pbx, head + b"\r\n" + line + b"\r\n" + rest)
        assert came is None or "forged" not in str(came)


@pytest.mark.parametrize("size", [3000, 7400, 7500, 7600, 7990, 8000, 8190, 12_000, 30_000])
@pytest.mark.parametrize("line", ["X-Whence-Trunk: forged", "Subject: a\rX-WHENCE-Trunk: forged"])
def test_forged_header_in_a_long_message_is_removed(
    scene: Scene, pbx: Endpoint, reports: Reports, size: int, line: str
) -> None:
    trunk = scene.trunk(uri(pbx))
    warm(scene, reports, trunk.at, pbx)
    text = str(scene.invite(trunk.at))
    head, _, rest = text.partition("\r\n")
    fill = "a" * (size - len(text))
    for filled in (
        f"{head}\r\nX-Fill: {fill}\r\n{line}\r\n{rest}",
        f"{head}\r\n{line}\r\nX-Fill: {fill}\r\n{rest}",
    ):
        came = arrives(scene, trunk.at, pbx, filled.encode())
        assert came is None or "forged" not in str(came)


WAYS = [
    ("+4431", "sip:a|b@x", None),
    ("+4431", "sip:a b@x", None),
    ("+4431", "0 sip:a@x", None),
    ("+4431", "7 sip:a@x", None),
    ("+4431", "- sip:a@x", None),
    ("+44|20", None, None),
    ("A", None, None),
    ("a", None, None),
    ("+4431", None, "<sip:+44319@x>"),
    ("+4431", None, ""),
    ("+4431", None, "<null>"),
    ("+4431", "sip:x@x sip:y@y", None),
    ("+4431", "sip:x@x", "<sip:y@y>"),
    ("+4431", "sip:x@x", "sip:y@y <sip:+4432@y>"),
    ("+4431;line=z", None, None),
    ("%2B4420", None, None),
    ("+4432", None, None),
    ("x", "sip:+4432@x", None),
    ("x", "sip:+4432@x", "<sip:+4431@x>"),
    ("x", "sip:x@x", "<sip:+4432@x>"),
    ("x", "sip:+4431@x", None),
]
"""Ways to call two trunks at one address: the user of the R-URI, To, and P-Called-Party-ID."""


def test_calls_in_any_order_are_decided_by_their_own_key(scene: Scene, pbx: Endpoint) -> None:
    caller = scene.endpoint("provider")
    numbers = ("+4431", "+44319")
    scene.trunk(uri(pbx, "one-{number}"), at=caller, numbers=numbers)
    second = scene.trunk(uri(pbx, "two-{number}"), at=caller, numbers=("+4432",))

    def call(user: str, to: str | None, called: str | None) -> tuple[str, ...]:
        headers = [] if called is None else [("P-Called-Party-ID", called)]
        invite = request("INVITE", scene.uri(user), caller.address, to_uri=to, headers=headers)
        came = arrives(scene, caller, pbx, invite)
        if came is None:
            return ()
        return (came.request_uri, came["X-Whence-Trunk"], *came.all("P-Called-Party-ID"))

    first = [call(*way) for way in WAYS]
    assert first[-3][1] != second.id
    assert first[-2][1] == second.id
    for _ in range(2):
        assert [call(*way) for way in WAYS] == first
        assert [call(*way) for way in reversed(WAYS)] == first[::-1]


def test_call_id_that_is_not_utf8_is_refused(scene: Scene, reports: Reports, pbx: Endpoint) -> None:
    """The edge cannot report such a call: it is refused, also where one like it is known."""
    trunk = scene.trunk(uri(pbx))
    warm(scene, reports, trunk.at, pbx)
    invite = scene.invite(trunk.at, call_id="\udc85odd")
    assert trunk.at.ask(invite, scene.edge).status == 400
    assert not scene.came(pbx)


@pytest.mark.parametrize("place", ["Request-URI", "To", "Call-ID", "P-Called-Party-ID"])
def test_nul_ends_no_comparison(scene: Scene, pbx: Endpoint, place: str) -> None:
    caller = scene.endpoint("provider")
    scene.trunk(uri(pbx, "one-{number}"), at=caller, numbers=("+4431",))
    scene.trunk(uri(pbx, "two-{number}"), at=caller, numbers=("+4432",))

    def data(number: str) -> bytes:
        called = [("P-Called-Party-ID", f"<sip:{number}@x>")]
        text = str(scene.invite(caller, "x", to_uri=f"sip:{number}@x", headers=called))
        before, after = {
            "Request-URI": ("sip:x@", "sip:x\0@"),
            "To": (f"To: <sip:{number}", f"To: <sip:\0{number}"),
            "Call-ID": ("Call-ID: ", "Call-ID: \0"),
            "P-Called-Party-ID": ("P-Called-Party-ID: <", "P-Called-Party-ID: \0<"),
        }[place]
        assert before in text
        return text.replace(before, after, 1).encode()

    for _ in range(3):
        for number, target in (("+4431", "one"), ("+4432", "two")):
            came = arrives(scene, caller, pbx, data(number))
            assert came is None or came.request_uri.startswith(f"sip:{target}-")


def place_of(key: str) -> int:
    """Return the place of a key in the table: Kamailio's `core_hash` of it."""
    data, total, at = key.encode(), 0, 0
    while at <= len(data) - 4:
        word = int.from_bytes(data[at : at + 4], "big")
        total, at = (total + (word ^ (word >> 3))) & 0xFFFFFFFF, at + 4
    word = int.from_bytes(data[at:], "big")
    total = (total + (word ^ (word >> 3))) & 0xFFFFFFFF
    return (total + (total >> 11) + (total >> 13) + (total >> 23)) & (KNOWN_ANSWERS_LIMIT - 1)


def test_answers_in_one_place_stay_apart(scene: Scene, reports: Reports, pbx: Endpoint) -> None:
    trunk = scene.trunk(uri(pbx, "{number}"))
    generation = scene.world.books.directory.path.with_name("generation").read_bytes()
    ip, port = trunk.at.address

    def key(user: str) -> str:
        return f"{generation.hex()}0000 udp:{ip}:{port} {scene.uri(user)} - {scene.uri(user)}"

    seen: dict[int, str] = {}
    pair = ("", "")
    for number in range(10_000):
        user = f"+44{number:08d}"
        before = seen.setdefault(place_of(key(user)), user)
        if before != user:
            pair = (before, user)
            break

    def is_known(user: str) -> bool:
        invite = scene.invite(trunk.at, user, to_uri=scene.uri(user))
        came = arrives(scene, trunk.at, pbx, invite)
        assert came is not None
        assert came.request_uri == uri(pbx, user)
        return reports.was_known(invite.call_id)

    one, other = pair
    for _ in range(3):  # each one replaces the other
        for user in (one, other):
            assert not is_known(user)
            eventually(partial(is_known, user), what="a call that is known")


def test_further_number_header_is_asked_anew(scene: Scene, reports: Reports, pbx: Endpoint) -> None:
    caller = scene.endpoint("provider")
    headers = ["X-Dialled", "Diversion"]
    scene.trunk(uri(pbx, "one"), at=caller, numbers=("+4431",), number_headers=headers)
    scene.trunk(uri(pbx, "two"), at=caller, numbers=("+4432",), number_headers=headers)

    def call(name: str, number: str) -> bool:
        headers = [(name, f"<sip:{number}@x>")] if name else []
        user = "x" if name else number
        invite = scene.invite(caller, user, to_uri="sip:x@x", headers=headers)
        came = arrives(scene, caller, pbx, invite)
        assert came is not None
        assert came.request_uri == uri(pbx, "one" if number == "+4431" else "two")
        return reports.was_known(invite.call_id)

    for _ in range(3):
        for name in ("Diversion", "x-dialled", "X-Dialled"):
            call(name, "+4431")
            call(name, "+4432")
    assert not call("", "+4431")
    eventually(lambda: call("", "+4431"), what="a call without such a header that is known")


def test_new_number_headers_void_known_answers(
    scene: Scene, reports: Reports, pbx: Endpoint
) -> None:
    caller = scene.endpoint("provider")
    header = [("X-New", "<sip:+4432@x>")]
    scene.trunk(uri(pbx, "one"), at=caller, numbers=("+4431",))

    def is_known() -> bool:
        invite = scene.invite(caller, "x", to_uri="sip:x@x", headers=header)
        came = arrives(scene, caller, pbx, invite)
        assert came and came.request_uri == uri(pbx, "one")
        return reports.was_known(invite.call_id)

    eventually(is_known, what="a call that is known")
    scene.trunk(uri(pbx, "two"), at=caller, numbers=("+4432",), number_headers=["X-New"])
    for _ in range(2):
        came = arrives(
            scene, caller, pbx, scene.invite(caller, "x", to_uri="sip:x@x", headers=header)
        )
        assert came and came.request_uri == uri(pbx, "two")


def test_address_that_ends_is_not_known_any_longer(
    scene: Scene, reports: Reports, pbx: Endpoint
) -> None:
    granted_s = 6.0
    trunk = scene.trunk(uri(pbx), granted_s=granted_s)
    began = time.time()
    known = 0
    while time.time() < began + granted_s + 1:
        invite = scene.invite(trunk.at)
        before = time.time()
        trunk.at.send(invite, scene.edge)
        came = [message for message in scene.came(pbx) if message.method == "INVITE"]
        for one in came:
            pbx.send(reply(one, 486), scene.edge)
        scene.came(pbx)
        scene.came(trunk.at)
        known += reports.was_known(invite.call_id)
        assert not came or before < began + granted_s
    assert known


def test_known_call_to_an_absent_phone_is_refused(scene: Scene, reports: Reports) -> None:
    trunk = scene.trunk(scene.user())

    def is_known() -> bool:
        invite = scene.invite(trunk.at)
        assert trunk.at.ask(invite, scene.edge).status == 480
        return reports.was_known(invite.call_id)

    assert not is_known()
    eventually(is_known, what="a call that is known")


def test_known_call_to_a_phone_has_our_called_party_alone(scene: Scene, reports: Reports) -> None:
    trunk, phone = scene.line(numbers=("+4433",))
    seen = set()

    def is_known(*headers: tuple[str, str]) -> bool:
        invite = scene.invite(trunk.at, "+4433", headers=headers)
        came = arrives(scene, trunk.at, phone, invite)
        assert came is not None
        seen.add((*came.all("P-Called-Party-ID"), *whence_headers(came)))
        return reports.was_known(invite.call_id)

    for headers in ((), (("P-Called-Party-ID", "<sip:x@x>"),)):
        assert not is_known(*headers)
        eventually(partial(is_known, *headers), what="a call that is known")
    assert seen == {("<sip:+4433@edge.example>", *ours(trunk))}
