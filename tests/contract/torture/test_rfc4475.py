"""The torture messages of RFC 4475, each from a trunk and from an unknown source, over UDP and TCP.

No message lets a source in, ends a worker or resolves a name. The answers are those of the RFC.
After each message a normal call passes.
"""

import re
from collections import Counter
from contextlib import closing

import pytest

from testkit.parsers import strict
from testkit.sip import Headers, Message, place, reply, request
from testkit.stream import StreamEndpoint
from tests.contract.torture.arena import Arena, Became, once_more
from tests.contract.torture.messages import DROPPED, MESSAGES, RELAYED, SILENCE, Torture

NAMED = {torture.name: torture for torture in MESSAGES}

EACH = pytest.mark.parametrize("torture", MESSAGES, ids=lambda torture: torture.name)
BOTH = pytest.mark.parametrize("transport", ["udp", "tcp"])

HOP_BY_HOP = {"via", "v", "max-forwards", "route", "record-route"}
"""What a proxy changes (RFC 3261 16.6)."""


def send(arena: Arena, torture: Torture, transport: str, *, of_a_trunk: bool) -> Became:
    """Send a message; the trunk's datagram is that of the RFC, octet by octet."""
    sender = arena.provider if of_a_trunk else arena.unknown_source
    data = torture.data if of_a_trunk and transport == "udp" else once_more(torture.data)
    if transport == "udp":
        return arena.by_udp(sender, data)
    due = torture.outcomes(of_a_trunk=of_a_trunk, over_tcp=True)
    answered = SILENCE not in due
    framed = torture.is_framed and (answered or due == DROPPED)
    return arena.by_tcp(sender, data, framed=framed, awaited=answered)


def outcomes(became: Became) -> list[int]:
    """Return the result of a message in the words of the table."""
    own = became.statuses
    if became.arrived and 200 in own:
        own.remove(200)  # the target's
    return [RELAYED] * len(became.arrived) + own or [SILENCE]


def outcome_faults(
    torture: Torture, transport: str, became: Became, *, of_a_trunk: bool
) -> list[str]:
    """Return the differences from the allowed results."""
    due = torture.outcomes(of_a_trunk=of_a_trunk, over_tcp=transport == "tcp")
    happened = outcomes(became)
    if set(happened) <= due and (len(happened) == 1 or not torture.is_framed):
        return []
    return [f"what became of it is {happened}, one of {sorted(due)} would be right"]


def carried(data: bytes) -> list[tuple[str, str]]:
    """Return the headers that a proxy passes on unchanged."""
    return sorted(field for field in strict(data) if field[0].lower() not in HOP_BY_HOP)


def test_messages_are_the_49_of_the_rfc() -> None:
    assert len(NAMED) == len(MESSAGES) == 49
    counted = Counter(torture.kind for torture in MESSAGES)
    assert list(counted.values()) == [13, 19, 1, 15, 1]
    for torture in MESSAGES:
        head, _, body = torture.data.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^(?:content-length|l)\s*:\s*(\d+)", head)
        if torture.is_framed:
            assert length and int(length[1]) == len(body), torture.name


@EACH
@BOTH
def test_torture_from_a_trunk_ends_as_the_rfc_says(
    arena: Arena, torture: Torture, transport: str
) -> None:
    became = send(arena, torture, transport, of_a_trunk=True)
    faults = arena.faults(1, arena.provider.ip, arena.phone.address[0])
    faults += outcome_faults(torture, transport, became, of_a_trunk=True)
    for data in became.arrived:
        faults += arena.source_header_faults(data, became.source)
    assert not faults


@EACH
@BOTH
def test_torture_from_an_unknown_source_is_refused(
    arena: Arena, torture: Torture, transport: str
) -> None:
    became = send(arena, torture, transport, of_a_trunk=False)
    faults = arena.faults(1, arena.unknown_source.ip)
    faults += outcome_faults(torture, transport, became, of_a_trunk=False)
    assert not faults
    assert not became.arrived


@pytest.mark.parametrize(
    "torture", [one for one in MESSAGES if one.of_a_trunk == {RELAYED}], ids=lambda one: one.name
)
def test_relayed_torture_keeps_its_headers_and_body(arena: Arena, torture: Torture) -> None:
    sent = once_more(torture.data)
    (arrived,) = arena.by_udp(arena.provider, sent).arrived
    ours = ("x-whence-trunk", "x-whence-source", "p-called-party-id")
    assert [f for f in carried(arrived) if f[0].lower() not in ours] == carried(sent)
    assert arrived.partition(b"\r\n\r\n")[2] == sent.partition(b"\r\n\r\n")[2]
    assert b"?" not in arrived.partition(b"\r\n")[0]
    assert b"127.0.0.1:5080" not in arrived, "a Route that we did not ask for"


# --- variants of the RFC's messages


def asked(arena: Arena, method: str, uri: str = "", headers: Headers = ()) -> Message:
    """Make a valid request of the trunk, with these changes."""
    uri = uri or arena.scene.uri("+4420")
    return request(method, uri, arena.provider.udp.address, to_uri="sip:a@b", headers=headers)


def test_unknown_proxy_require_is_listed_in_the_420(arena: Arena) -> None:
    (answer,) = arena.by_udp(arena.provider, once_more(NAMED["bext01"].data)).answers
    assert answer.status == 420
    listed = {tag.strip() for value in answer.all("Unsupported") for tag in value.split(",")}
    assert listed == {"noProxiesSupportThis", "norDoAnyProxiesSupportThis"}


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "OPTIONS"])
def test_unknown_proxy_require_of_any_method_is_420(arena: Arena, method: str) -> None:
    headers = [("Proxy-Require", "one"), ("proxy-require", "two")]
    became = arena.by_udp(arena.provider, bytes(asked(arena, method, headers=headers)))
    assert outcomes(became) == [420]
    assert not arena.faults(1, arena.provider.ip)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "OPTIONS"])
@pytest.mark.parametrize(
    "uri", ["mailto:a@example.com", "http://example.com/", "x:", "soap.beep://192.0.2.103:3002"]
)
def test_unknown_scheme_of_any_method_is_416(arena: Arena, uri: str, method: str) -> None:
    became = arena.by_udp(arena.provider, bytes(asked(arena, method, uri)))
    assert outcomes(became) == [416]
    assert not arena.faults(1, arena.provider.ip)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "OPTIONS"])
@pytest.mark.parametrize("version", ["SIP/7.0", "SIP/3.0"])
def test_unknown_version_gets_505_or_no_answer(arena: Arena, version: str, method: str) -> None:
    """Kamailio does not consider it SIP, and runs no routing."""
    data = bytes(asked(arena, method)).replace(b" SIP/2.0\r\n", f" {version}\r\n".encode(), 1)
    assert outcomes(arena.by_udp(arena.provider, data)) in ([505], [SILENCE])
    assert not arena.faults(1, arena.provider.ip)


@pytest.mark.parametrize("of_a_trunk", [True, False], ids=["trunk", "unknown_source"])
def test_cancel_without_an_invite_is_481(arena: Arena, *, of_a_trunk: bool) -> None:
    sender = arena.provider if of_a_trunk else arena.unknown_source
    assert outcomes(arena.by_udp(sender, bytes(asked(arena, "CANCEL")))) == [481]
    assert not arena.faults(1, sender.ip)


def test_octets_after_a_body_over_udp_are_discarded(arena: Arena) -> None:
    """The octets (RFC 3261 18.3) look like another call, or are random."""
    for more in (NAMED["dblreq"].data, b"\r\n", b"\0", b"X-Whence-Trunk: forged\r\n\r\n"):
        call = once_more(NAMED["sdp01"].data)
        became = arena.by_udp(arena.provider, call + more)
        assert became.statuses == [200]
        (arrived,) = became.arrived
        assert arrived.partition(b"\r\n\r\n")[2] == call.partition(b"\r\n\r\n")[2]
        assert not arena.source_header_faults(arrived, became.source)
    assert not arena.faults(4, arena.provider.ip, arena.phone.address[0])


def test_octets_after_a_body_are_no_request_over_tcp(arena: Arena) -> None:
    """A target over TCP would take octets after a body for the next request."""
    scene = arena.scene
    with arena.listener("pbx") as pbx, closing(scene.endpoint("other-provider")) as provider:
        ip, port = pbx.getsockname()
        scene.trunk(f"sip:pbx@{ip}:{port};transport=tcp", at=provider)
        call = request("MESSAGE", scene.uri("+4420"), provider.address, body="hello")
        forged = request(
            "INVITE", "sip:pbx@pbx", provider.address, headers=[("X-Whence-Trunk", "forged")]
        )
        provider.send(bytes(call) + bytes(forged), scene.edge)
        connection, _ = pbx.accept()
        with closing(StreamEndpoint("", bound=connection)) as target:
            came = target.expect(lambda m: m.method == "MESSAGE", what="the message at the PBX")
            assert came.body == "hello"
            target.send(reply(came, 200), scene.edge)
            provider.expect(lambda m: m.status == 200, what="the PBX's answer")
            assert target.rest() == []


@pytest.mark.parametrize("of_a_trunk", [True, False], ids=["trunk", "unknown_source"])
@pytest.mark.parametrize("below", ["255.255.255.255", "name.example.com", "TCP", "the target"])
def test_reply_of_no_transaction_is_not_relayed(
    arena: Arena, below: str, *, of_a_trunk: bool
) -> None:
    """The RFC's replies, with Vias of the edge and of another requester."""
    target = place(arena.phone.address)
    second = {"TCP": f"SIP/2.0/TCP {target}", "the target": f"SIP/2.0/UDP {target}"}.get(below)
    second = second or f"SIP/2.0/UDP {below}"
    first = f"SIP/2.0/UDP {place(arena.scene.edge)};branch=z9hG4bKmadeup"
    vias = f"Via: {first}\r\nVia: {second};branch=z9hG4bKbelow\r\n"
    replies = [NAMED[name] for name in ("unreason", "noreason", "scalarlg", "bcast")]
    sender = arena.provider if of_a_trunk else arena.unknown_source
    for torture in replies:
        data = re.sub(rb"(?m)^Via:[^\n]*\n", b"", torture.data)
        start, _, rest = data.partition(b"\r\n")
        became = arena.by_udp(sender, start + b"\r\n" + vias.encode() + rest)
        assert outcomes(became) == [SILENCE]
    assert not arena.faults(len(replies))
