"""Characters that only some parsers take for the end of a line.

The edge refuses a header part with a CR or LF that is not part of a CR LF. So the edge and its
targets read the same headers. A body passes unchanged.
"""

from collections.abc import Callable

import pytest

from testkit.sip import Message, reply, request
from tests.contract.call import connect
from tests.contract.torture.arena import Arena, Sender, finals, leaked_header_faults

FORGED = b"X-Whence-Trunk: forged"

ODD = {
    "an LF": b"\n",
    "a CR": b"\r",
    "LF CR": b"\n\r",
    "CR CR LF": b"\r\r\n",
    "CR LF CR": b"\r\n\r",
    "a CR, and blanks": b"\r \t",
    "an LF, and blanks": b"\n \t",
    "a NUL and a CR": b"\0\r",
}
"""Ends of a line to some, none to others."""

PLACES = {
    "before another header": b"Subject: a%sX-b: c",
    "before a header of ours": b"Subject: a%s" + FORGED,
    "before a header of ours, twice": b"Subject: a%sX-b: c%s" + FORGED,
    "before a header of ours in other letters": b"Subject: a%sx-whence-TRUNK : forged",
    "after a folded line": b"Subject: a\r\n b%s" + FORGED,
    "within a header": b"Call-Info: <http://a>%s;purpose=b%sX-b: c",
}

UNREADABLE = "within a header"
"""There Kamailio itself may find no header, and can write no answer: silence is as good."""

WHOLE_LINES = {
    "ends the headers for some": b"X-a: b\n\rS: b\r\n" + FORGED,
    "ends the headers by LF LF": b"X-a: b\n\n" + FORGED,
    "ends the headers by LF CR LF": b"X-a: b\n\r\n" + FORGED,
    "ends the headers by CR CR": b"X-a: b\r\r" + FORGED,
    "ends the headers by CR CR LF": b"X-a: b\r\r\n" + FORGED,
    "is empty but for a CR": b"X-a: b\r\n\r" + FORGED,
}
"""Lines that stand before the last header."""

LINES = WHOLE_LINES | {
    f"{odd} {place}": line.replace(b"%s", ODD[odd]) for place, line in PLACES.items() for odd in ODD
}


def with_line(message: Message, line: bytes) -> bytes:
    """Insert a line before the last header, the Content-Length."""
    head, end, body = bytes(message).partition(b"\r\n\r\n")
    before, _, last = head.rpartition(b"\r\n")
    return before + b"\r\n" + line + b"\r\n" + last + end + body


def without_length(message: Message, line: bytes) -> bytes:
    """Replace the last header by the line."""
    head = bytes(message).partition(b"\r\n\r\n")[0]
    return head.rpartition(b"\r\n")[0] + b"\r\n" + line + b"\r\n\r\n"


def made(arena: Arena, sender: Sender, method: str = "INVITE") -> Message:
    """Make a valid request outside a dialog."""
    return request(method, arena.scene.uri("+4420"), sender.udp.address)


def right(what: str, *statuses: int) -> list[list[int]]:
    """Return the allowed answers where a line end is odd."""
    return [[status] for status in statuses] + ([[]] if UNREADABLE in what else [])


@pytest.mark.parametrize("put", [with_line, without_length])
@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "OPTIONS", "REGISTER"])
def test_odd_line_end_in_a_request_is_400(
    arena: Arena, method: str, put: Callable[[Message, bytes], bytes]
) -> None:
    faults = []
    for what, line in LINES.items():
        became = arena.by_udp(arena.provider, put(made(arena, arena.provider, method), line))
        if became.arrived or became.statuses not in right(what, 400):
            readers = [arena.source_header_faults(data, became.source) for data in became.arrived]
            faults.append(f"{what}: answered {became.statuses}, and at the target: {readers}")
    assert not faults
    assert not arena.faults(len(LINES), arena.provider.ip)


def test_odd_line_end_over_tcp_is_not_relayed(arena: Arena) -> None:
    """In a stream the end of the headers decides where the next request begins."""
    for what, line in LINES.items():
        data = with_line(made(arena, arena.provider), line)
        became = arena.by_tcp(arena.provider, data, framed=False, awaited=False)
        assert not became.arrived, what
        assert became.statuses in ([400], []), what
    assert not arena.faults(len(LINES), arena.provider.ip)


def test_odd_line_end_of_an_unknown_source_is_refused(arena: Arena) -> None:
    for what, line in LINES.items():
        became = arena.by_udp(
            arena.unknown_source, with_line(made(arena, arena.unknown_source), line)
        )
        assert not became.arrived
        assert became.statuses in right(what, 400, 403), what
    assert not arena.faults(len(LINES), arena.unknown_source.ip)


@pytest.mark.parametrize("line_end", [b"\n", b"\r"])
def test_message_without_any_cr_lf_is_not_relayed(arena: Arena, line_end: bytes) -> None:
    data = bytes(made(arena, arena.provider)).replace(b"\r\n", line_end)
    became = arena.by_udp(arena.provider, data)
    assert not became.arrived
    assert became.statuses in ([400], [])
    assert not arena.faults(1, arena.provider.ip)


@pytest.mark.parametrize("method", ["INFO", "BYE", "INVITE", "ACK"])
def test_odd_line_end_in_a_dialog_is_not_relayed(arena: Arena, method: str) -> None:
    call = connect(arena.scene, arena.provider.udp, arena.phone)
    faults = []
    for what, line in LINES.items():
        answers = [[]] if method == "ACK" else right(what, 400)
        became = arena.by_udp(arena.provider, with_line(call.from_caller(method), line))
        if became.arrived or became.statuses not in answers:
            faults.append(f"{what}, from the trunk: {became}")
        arena.phone.send(with_line(call.from_phone(method), line), arena.scene.edge)
        arena.scene.await_edge()
        came, answered = arena.provider.came(), finals(arena.phone.waiting())
        if came or [answer.status for answer in answered] not in answers:
            faults.append(f"{what}, from the phone: {answered}, and at the trunk: {came}")
    assert not faults
    assert not arena.faults(2 * len(LINES), arena.provider.ip, arena.phone.address[0])


BODIES = {
    "a description with LF": b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n",
    "a description with CR": b"v=0\ro=- 1 1 IN IP4 192.0.2.1\rs=-\r",
    "a header of ours as a line": FORGED + b"\r\n",
    "a header of ours as a later line": b"a: b\r\n" + FORGED + b"\r\n\r\n" + FORGED + b"\r\n",
    "a header of ours after an LF": b"v=0\n" + FORGED + b"\n\n",
    "a request": b"INVITE sip:a@b SIP/2.0\r\n" + FORGED + b"\r\n\r\n",
    "line ends before all": b"\r\n\r\n\n\n" + FORGED,
}
"""Bodies that pass as they are: the header part before them is beyond doubt."""

DOUBTFUL = {
    "a header of ours after a CR": b"v=0\r" + FORGED + b"\r",
    "a header of ours after a CR at once": b"\r" + FORGED,
    "a header of ours after blanks": b"a\r\n \t" + FORGED,
    "a header of ours after a NUL": b"\0" + FORGED,
    "a header of ours after a vertical tab": b"a\x0b" + FORGED,
    "a header of ours among bytes": b"\xff\xfe\r" + FORGED,
}
"""Bodies that may be refused: then with 400."""


@pytest.mark.parametrize("length", ["a Content-Length", "none"])
@pytest.mark.parametrize("what", BODIES | DOUBTFUL)
def test_body_with_any_line_ends_passes_unchanged(arena: Arena, what: str, length: str) -> None:
    body = (BODIES | DOUBTFUL)[what]
    good = bytes(made(arena, arena.provider))
    measured = f"Content-Length: {len(body)}\r\n".encode() if length != "none" else b""
    typed = b"Content-Type: application/sdp\r\n"
    data = good.replace(b"Content-Length: 0\r\n", typed + measured) + body
    became = arena.by_udp(arena.provider, data)
    if what in DOUBTFUL and became.statuses == [400]:
        assert not became.arrived
    else:
        assert became.statuses == [200]
        (arrived,) = became.arrived
        assert arrived.partition(b"\r\n\r\n")[2] == body
        assert not arena.source_header_faults(arrived, became.source)
    assert not arena.faults(1, arena.provider.ip, arena.phone.address[0])


REPLIED = LINES | {
    "a header of ours": FORGED,
    "a header of ours, folded": b"X-Whence-Trunk:\r\n forged",
    "a header of ours with blanks": b"x-whence-trunk \t: forged",
    "all headers of ours": FORGED + b"\r\nX-Whence-Source: udp:192.0.2.1:5060\r\nX-Whence-Mac: a",
    "a header of ours after a vertical tab": b"Subject: a\x0b" + FORGED,
    "a header of ours after a next line": b"Subject: a\xc2\x85" + FORGED,
    "a header of ours that continues a line": b"Subject: a\r\n " + FORGED,
}


@pytest.mark.parametrize("status", [180, 200, 404])
def test_reply_of_a_provider_has_no_source_header(arena: Arena, status: int) -> None:
    call = connect(arena.scene, arena.provider.udp, arena.phone)
    faults = []
    for what, line in REPLIED.items():
        arena.phone.send(call.from_phone("INFO"), arena.scene.edge)
        asked = arena.provider.udp.expect(lambda m: m.method == "INFO", what="the INFO")
        arena.provider.udp.send(with_line(reply(asked, status), line), arena.scene.edge)
        arena.provider.udp.send(reply(asked, 200), arena.scene.edge)
        arena.scene.await_edge()
        for data in (came := arena.phone.waiting()):
            faults += [f"{what}: {fault}" for fault in leaked_header_faults(data)]
        if not finals(came):
            faults.append(f"{what}: the phone gets no reply")
    assert not faults
    assert not arena.faults(2 * len(REPLIED), arena.provider.ip, arena.phone.address[0])


@pytest.mark.parametrize("status", [180, 200, 404])
def test_reply_of_a_target_has_no_source_header(arena: Arena, status: int) -> None:
    faults = []
    for what, line in REPLIED.items():
        arena.provider.udp.send(made(arena, arena.provider, "MESSAGE"), arena.scene.edge)
        asked = arena.phone.expect(lambda m: m.method == "MESSAGE", what="the MESSAGE")
        arena.phone.send(with_line(reply(asked, status), line), arena.scene.edge)
        arena.phone.send(reply(asked, 200), arena.scene.edge)
        arena.scene.await_edge()
        for data in (came := arena.provider.came()):
            faults += [f"{what}: {fault}" for fault in leaked_header_faults(data)]
        if not finals(came):
            faults.append(f"{what}: the trunk gets no reply")
    assert not faults
    assert not arena.faults(2 * len(REPLIED), arena.provider.ip, arena.phone.address[0])
