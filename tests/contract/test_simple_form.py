"""Kamailio's own check of a request's form accepts only what the edge accepts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from testkit.sip import request
from tests.contract.scene import Scene
from tests.contract.world import World
from tests.examples import examples
from whence.core.sip.message import Message as EdgeMessage
from whence.edge.base import hides

LINES = [
    "From: <sip:a@b>;tag=2",
    "f: <sip:a@b>;tag=2",
    "To: <sip:a@b>",
    "t:<sip:a@b>",
    "Call-ID: another",
    "i : another",
    "CSeq: 2 OPTIONS",
    "Max-Forwards: 5",
    "Content-Length: 0",
    "l: 0",
    "Proxy-Require: a",
    "proxy-require:",
    "Subject: a",
    "Sub ject: a",
    "Sub@ject: a",
    "S!%*`'~: a",
    ": a",
    "no colon",
    " folded",
    "X-Whence-Trunk: forged",
    "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKx",
    "Content-Type: a/b",
    "",
]
ODD = ["\r", "\n", "\0", "\t", " ", ":", "\x0b", "x-whence-", "ä", "0", "+", "SIP/2.0", "a"]
SEPARATORS = ["\r\n", "\r\n", "\r\n", "\n", "\r", "\n\r", "\r\r\n"]


@st.composite
def changed(draw: st.DrawFn, text: str) -> str:
    """Put lines and characters into a request, and change its line ends and its numbers."""
    for line in draw(st.lists(st.sampled_from(LINES), max_size=2)):
        parts = text.split("\r\n")
        at = draw(st.integers(1, len(parts) - 1))
        text = "\r\n".join([*parts[:at], line, *parts[at:]])
    for odd in draw(st.lists(st.sampled_from(ODD), max_size=1)):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + odd + text[at + draw(st.integers(0, 2)) :]
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, text.count("\r\n") - 1)) if "\r\n" in text else 0
        parts = text.split("\r\n")
        end = draw(st.sampled_from(SEPARATORS))
        text = "\r\n".join(parts[: at + 1]) + end + "\r\n".join(parts[at + 1 :])
    return text + draw(st.sampled_from(["", "", "", "x", "\r\n"]))


def is_accepted_by_python(text: str) -> bool:
    """Return whether `ksr_well_formed` accepts a request; see there."""
    message = EdgeMessage(text)
    return (
        not message.fault
        and not hides(message)
        and message.request_fault() is None
        and message.extensions_asked_of_proxies is None
    )


def test_request_that_passes_is_accepted_by_python(world: World) -> None:
    with Scene(world) as scene:
        trunk, _ = scene.line()
        good = request("OPTIONS", scene.uri("+4420"), trunk.at.address)
        passed = set()

        @settings(max_examples=examples(400), deadline=None)
        @given(changed(str(good)))
        def check(text: str) -> None:
            call_id = scene.name("form")
            text = text.replace(good.call_id, call_id).replace("z9hG4bK", f"z9hG4bK{call_id}")
            trunk.at.send(text.encode(), scene.edge)
            statuses = {m.status for m in scene.came(trunk.at)}
            if statuses & {200, 403, 405, 481}:  # decided, so its form was accepted
                passed.add(call_id)
                assert is_accepted_by_python(text), statuses

        check()
        assert passed
