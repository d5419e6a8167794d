"""Decision reports: the agent reads what the edge wrote, also with hostile bytes in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.identification.world import NOW
from whence.core.dialogs.arrival import Arrival
from whence.core.identification.decision import (
    Compared,
    Decision,
    Identified,
    Reason,
    Refused,
    Rule,
    Step,
    Unknown,
)
from whence.core.identification.request import REQUEST_URI
from whence.core.identification.trunk import Trunk
from whence.core.sip.transport_address import TransportAddress
from whence.core.text import escape_untrusted
from whence.errors import InvalidReportError
from whence.ipc import decisions
from whence.ipc.decisions import DecisionKind, DecisionReport, read

SOURCE = TransportAddress.parse("udp:192.0.2.1:5060")
TRUNK = Trunk("acme", "token", "acct1", "sip:alice@edge.example", ())
STEP = Step(Rule.NUMBER, Compared.NUMBER, ("acme",), ("+4420",), REQUEST_URI)
IDENTIFIED = Identified(TRUNK, Rule.NUMBER, (STEP,))
TWENTY = tuple(f"trunk-{n}" for n in range(20))
CHOICE = Step(Rule.ONLY_CANDIDATE, Compared.CANDIDATES_LEFT, TWENTY)
AMBIGUOUS = Refused(Reason.AMBIGUOUS, CHOICE.left, (CHOICE,))
UNKNOWN = Unknown((Step(Rule.ADDRESS, Compared.SOURCE, (), (SOURCE,)),))
RURI = "sip:+4420@edge.example"
ARRIVAL = Arrival.of(NOW, 7)


def record(
    decision: Decision = IDENTIFIED,
    source: TransportAddress = SOURCE,
    ruri: str = RURI,
    to: str | None = None,
    called: str | None = None,
    call_id: str = "call-1",
    method: str = "INVITE",
    from_cache: bool = False,
) -> bytes:
    body = decisions.report_body(decision, source, ruri, to, called)
    method = decisions.bounded_method(method)
    return decisions.record(body, method, call_id, ARRIVAL, from_cache=from_cache)


def test_report_of_an_identified_call_has_trunk_and_rule() -> None:
    assert read(record(to="sip:b@x", called="<sip:c@x>", from_cache=True)) == DecisionReport(
        arrival=ARRIVAL,
        method="INVITE",
        sender=decisions.NO_SENDER,
        kind=DecisionKind.IDENTIFIED,
        named=("acme",),
        reason=Rule.NUMBER,
        source=SOURCE,
        ruri=RURI,
        to="sip:b@x",
        p_called_party_id="<sip:c@x>",
        headers="",
        target="",
        from_cache=True,
        call_id="call-1",
    )
    identified = read(record())
    assert (identified.trunk, identified.rule) == ("acme", Rule.NUMBER)
    assert identified.message == IDENTIFIED.message == "number of trunk acme"


@pytest.mark.parametrize("decision", [IDENTIFIED, AMBIGUOUS, UNKNOWN])
def test_report_contains_no_sentence(decision: Decision) -> None:
    *fields, _ = record(decision).decode().split("\x1f")
    assert decision.reason in fields
    assert not any(" " in field for field in fields if field not in " ".join(TWENTY))


def test_report_with_a_code_of_another_kind_is_invalid() -> None:
    for decision, spoilt in ((IDENTIFIED, "ambiguous"), (AMBIGUOUS, "number"), (UNKNOWN, "port")):
        fields = record(decision).decode().split("\x1f")
        fields[fields.index(decision.reason)] = spoilt
        with pytest.raises(InvalidReportError):
            read("\x1f".join(fields).encode())


def test_report_of_a_refusal_names_a_limited_list() -> None:
    refused = read(record(AMBIGUOUS))
    assert (refused.kind, refused.reason, refused.rule) == (
        DecisionKind.REFUSED,
        Reason.AMBIGUOUS,
        None,
    )
    assert refused.named == CHOICE.left[: decisions.NAMED_LIMIT]
    assert refused.trunk is None
    unknown = read(record(UNKNOWN))
    assert (unknown.kind, unknown.named, unknown.trunk) == (DecisionKind.UNKNOWN, (), None)


SOURCES = st.builds(
    TransportAddress,
    st.sampled_from(["udp", "tcp", "tls"]).map(
        lambda t: TransportAddress.parse(f"{t}:192.0.2.1:1").transport
    ),
    st.ip_addresses()
    .filter(lambda ip: getattr(ip, "ipv4_mapped", None) is None)
    .filter(lambda ip: getattr(ip, "scope_id", None) is None),
    st.integers(1, 65535),
)
WORDS = st.text(max_size=80).filter(lambda text: "\x1f" not in text)


@given(
    st.sampled_from([IDENTIFIED, AMBIGUOUS, UNKNOWN]),
    SOURCES,
    WORDS,
    st.none() | WORDS.filter(bool),
    st.none() | WORDS.filter(bool),
    st.text(max_size=80),
    st.booleans(),
)
def test_report_written_is_read_back(
    decision: Decision,
    source: TransportAddress,
    ruri: str,
    to: str | None,
    called: str | None,
    call_id: str,
    from_cache: bool,
) -> None:
    was = read(record(decision, source, ruri, to, called, call_id, from_cache=from_cache))
    assert (was.source, was.ruri, was.to, was.p_called_party_id) == (source, ruri, to, called)
    assert (was.call_id, was.from_cache, was.at) == (call_id, from_cache, NOW)
    assert was.reason == decision.reason


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_report_with_hostile_text_keeps_its_decision(
    ruri: str, to: str, called: str, call_id: str, method: str
) -> None:
    was = read(record(UNKNOWN, SOURCE, ruri, to, called, call_id, method))
    assert (was.kind, was.named, was.reason) == (DecisionKind.UNKNOWN, (), UNKNOWN.reason)
    assert (was.source, was.from_cache) == (SOURCE, False)


@pytest.mark.parametrize("char", ["a", "\x00", "\x1f", "é", "😀", "\n"])
def test_report_with_long_text_stays_small(char: str) -> None:
    long = char * 100_000
    data = record(AMBIGUOUS, SOURCE, long, long, long, long, long)
    assert len(data) < 6_000
    was = read(data)
    assert was.is_cut
    assert decisions.request(was) is None
    assert was.call_id == decisions.bounded_call_id(long)
    assert decisions.call_id_of(data) == was.call_id


@given(st.binary(max_size=300))
def test_read_of_other_bytes_raises(data: bytes) -> None:
    with pytest.raises(InvalidReportError):
        read(data)


@given(st.integers(0, 13), st.text(max_size=40))
def test_read_of_a_changed_field_returns_or_raises(which: int, spoilt: str) -> None:
    fields = record().decode().split("\x1f")
    fields[which] = spoilt
    try:
        was = read("\x1f".join(fields).encode("utf-8", "replace"))
    except InvalidReportError:
        return
    assert 0 <= was.at < 1 << 41


WRONG_COUNTS = ["", "-1", "1.5", "²", "٣", "9" * 17, "9" * 5000, "1_0"]


@pytest.mark.parametrize("wrong", WRONG_COUNTS)
def test_read_of_an_invalid_instant_raises(wrong: str) -> None:
    _, rest = record().decode().split("\x1f", 1)
    with pytest.raises(InvalidReportError):
        read(f"{wrong}\x1f{rest}".encode())


@given(st.text())
def test_escape_untrusted_leaves_no_control_character(text: str) -> None:
    assert escape_untrusted(text).isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a-1@x", "a-1@x"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\r\nb\x7f\x9b", "a\\r\\nb\\x7f\\x9b"),
        ("\u202eevil", "\\u202eevil"),
        ("Zoë", "Zoë"),
    ],
)
def test_escape_untrusted_keeps_the_information(text: str, expected: str) -> None:
    assert escape_untrusted(text) == expected


def test_request_of_a_report_equals_the_edges() -> None:
    body = decisions.report_body(
        UNKNOWN, SOURCE, RURI, "sip:b@x", '"C" <sip:c@x>;p=1', "diversion: <sip:d@x>;reason=x"
    )
    request = decisions.request(
        read(decisions.record(body, "INVITE", "1", ARRIVAL, from_cache=False))
    )
    assert request is not None
    assert {place: one[0].user for place, one in request.called.items()} == {
        "request-uri": "+4420",
        "p-called-party-id": "c",
        "to": "b",
        "diversion": "d",
    }
    assert decisions.request(read(record(ruri="nonsense"))) is None


@given(WORDS)
def test_report_keeps_further_headers(headers: str) -> None:
    body = decisions.report_body(UNKNOWN, SOURCE, RURI, None, None, headers)
    was = read(decisions.record(body, "INVITE", "1", ARRIVAL, from_cache=False))
    assert was.headers == headers


# Messages of many records.


RECORDS = st.lists(
    st.builds(
        record,
        st.sampled_from([IDENTIFIED, AMBIGUOUS, UNKNOWN]),
        st.just(SOURCE),
        st.text(),
        st.none() | st.text(),
        st.none() | st.text(),
        st.text(),
        st.text(),
    ),
    max_size=20,
)


@given(RECORDS, st.integers(0, 1 << 40))
def test_message_written_is_split_back(records: list[bytes], dropped: int) -> None:
    assert decisions.split(decisions.message(records, dropped)) == (dropped, records)


@given(st.text(alphabet="\x1f\x1e\n0123459a", max_size=80), st.text(max_size=80))
def test_call_id_of_a_message_begins_no_other_record(start: str, end: str) -> None:
    """A caller writes what looks like a further record into its Call-ID."""
    forged = record(IDENTIFIED).decode()
    hostile = f"{start}{len(forged):05d}{forged}{end}"
    records = [record(UNKNOWN, call_id=hostile), record(UNKNOWN)]
    _, found = decisions.split(decisions.message(records))
    assert [read(one).kind for one in found] == [DecisionKind.UNKNOWN] * 2


@given(st.binary(max_size=300))
def test_split_of_other_bytes_raises_or_returns_parts(data: bytes) -> None:
    for written in (data, decisions.PREFIX + data, decisions.PREFIX + b"0\x1f" + data):
        try:
            dropped, records = decisions.split(written)
        except InvalidReportError:
            continue
        assert dropped >= 0
        assert sum(map(len, records)) <= len(written)


@given(RECORDS.filter(bool), st.data())
def test_split_of_a_cut_message_returns_no_partial_record(
    records: list[bytes], draw: st.DataObject
) -> None:
    whole = decisions.message(records)
    cut = whole[: draw.draw(st.integers(0, len(whole) - 1))]
    try:
        _, found = decisions.split(cut)
    except InvalidReportError:
        return
    assert found == records[: len(found)]


@pytest.mark.parametrize("wrong", WRONG_COUNTS)
def test_split_with_an_invalid_count_raises(wrong: str) -> None:
    with pytest.raises(InvalidReportError):
        decisions.split(decisions.PREFIX + wrong.encode() + b"\x1f")
    framed = decisions.PREFIX + b"0\x1f" + wrong[:5].encode().rjust(5) + record()
    with pytest.raises(InvalidReportError):
        decisions.split(framed)


@pytest.mark.parametrize("length", [b"00000", b"00001", b"-0001", b"+0001", b" 0001", b"1_000"])
def test_split_reads_plain_digits_only(length: bytes) -> None:
    data = decisions.PREFIX + b"0\x1f" + length + b"x" * int(length.isdigit() and int(length))
    if length.isdigit():
        assert decisions.split(data)[0] == 0
    else:
        with pytest.raises(InvalidReportError):
            decisions.split(data)
