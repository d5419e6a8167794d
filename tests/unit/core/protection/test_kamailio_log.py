"""Which lines of Kamailio's log are shown."""

from whence.core.protection.kamailio_log import MESSAGE_LINES, PLACE_LINES, WINDOW_S, LogFilter

BROKEN_VIA = b"""\
 1(77) ERROR: <core> [core/parser/parse_via.c:2276]: parse_via(): null param?
 1(77) ERROR: <core> [core/parser/parse_via.c:2706]: parse_via(): parsing via on: <SIP/2.0/UDP h;;

 1(99) ALERT: what an unknown source sent
>
 1(77) ERROR: <core> [core/parser/msg_parser.c:749]: parse_msg(): ERROR: parse_msg: message=<A a
Via: SIP/2.0/UDP h;;,;,,
>
 1(77) ERROR: <core> [core/receive.c:376]: receive_msg(): core parsing of SIP message failed (a:5/1)
""".splitlines()

MISSING = (
    b" 2(78) ERROR: {udp:2001:db8::7:5060} <core> [core/receive.c:447]: receive_msg(): "
    b"required headers not found in request"
)
FAULT = b" 0(70) ERROR: <core> [core/mem/q_malloc.c:1]: out of memory"
EDGE = b" 1(77) ERROR: {tcp:192.0.2.1:5060} <core> [core/kemi.c:96]: sr_kemi_core_err(): whence: "


def shown(lines: list[bytes], filter_: LogFilter, now: float = 0.0) -> list[bytes]:
    passed = [filter_.shown(line, now) for line in lines]
    return [line for line in passed if line is not None]


def test_broken_message_shows_the_line_with_its_source() -> None:
    lines = [line for line in BROKEN_VIA if b"ALERT" not in line]
    assert shown(lines, LogFilter()) == [lines[-1]]


def test_unreadable_from_in_a_route_is_one_line_of_its_message() -> None:
    head = b" 1(77) ERROR: {udp:192.0.2.1:5060} "
    lines = [
        head + b"<core> [core/parser/parse_addr_spec.c:681]: parse_addr_spec(): unexpected char",
        head + b"pv [pv_core.c:517]: pv_get_from_attr(): cannot parse From header",
    ]
    assert shown(lines, LogFilter()) == lines[:1]


def test_broken_messages_are_shown_once_a_second_and_counted() -> None:
    filter_ = LogFilter()
    lines = [line for line in BROKEN_VIA if b"ALERT" not in line]
    for i in range(200):
        assert len(shown(lines, filter_, i / 100)) == (1 if i in (0, 100) else 0)
    assert not list(filter_.over(WINDOW_S - 1))
    (line,) = filter_.over(WINDOW_S)
    heads = [line for line in lines if line.startswith(b" 1(77)")]
    assert line.startswith(f"{200 * len(heads) - 2} lines on messages")
    assert not list(filter_.over(2 * WINDOW_S)), "no line was omitted since"


def test_broken_messages_are_bounded_in_a_minute() -> None:
    filter_ = LogFilter()
    assert sum(len(shown(BROKEN_VIA[-1:], filter_, float(i))) for i in range(59)) == MESSAGE_LINES


def test_fault_is_shown_beside_a_flood_of_broken_messages() -> None:
    filter_ = LogFilter()
    for _ in range(1000):
        shown(BROKEN_VIA, filter_)
    assert shown([FAULT, b"its second line"], filter_) == [FAULT, b"its second line"]


def test_fault_that_repeats_is_bounded_and_counted() -> None:
    filter_ = LogFilter()
    assert len(shown([FAULT] * 1000, filter_)) == PLACE_LINES
    (line,) = filter_.over(WINDOW_S)
    assert line.startswith(f"{1000 - PLACE_LINES} more lines of <core> [core/mem/q_malloc.c:1]")
    assert shown([FAULT], filter_) == [FAULT]


def test_faults_of_the_edge_are_counted_separately() -> None:
    filter_ = LogFilter()
    shown([EDGE + b"ksr_initial: KeyError"] * 1000, filter_)
    assert shown([EDGE + b"directory.db: disk I/O error"], filter_)


def test_forged_head_in_what_a_sender_wrote_is_no_line() -> None:
    filter_ = LogFilter(lambda pid: pid == 77)
    assert shown(BROKEN_VIA, filter_) == BROKEN_VIA[-1:]


def test_lines_without_a_head_at_the_start_are_shown() -> None:
    assert shown([b"Listening on ", b"   udp: 127.0.0.1"], LogFilter()) == [
        b"Listening on ",
        b"   udp: 127.0.0.1",
    ]


def test_line_on_a_message_holds_no_bytes_of_its_sender() -> None:
    line = b" 1(77) WARNING: {udp:192.0.2.1:5060} sanity [sanity.c:282]: f(): bad uri "
    assert shown([line + b"[sip:evil]"], LogFilter()) == [line]
    assert shown([line + b"<sip:evil>", b"more of it"], LogFilter()) == [line]


def test_source_of_a_message_without_headers_is_kept() -> None:
    filter_ = LogFilter()
    shown([MISSING] * 3, filter_)
    assert filter_.unreadable == ["udp:2001:db8::7:5060"] * 3
