"""Reports that Kamailio itself writes become the records that the edge would send."""

from __future__ import annotations

import pytest

from whence.edge import native_reports
from whence.edge.known_answers import SEPARATOR, TO_URI
from whence.ipc import call_events, decisions

KEY = "0011 udp:192.0.2.1:5060 sip:+44@edge.example - sip:+44@edge.example"
ENTRY = SEPARATOR.join(["", "sip:pbx@192.0.2.9", TO_URI, "acme", "number", KEY])


@pytest.mark.parametrize(("written", "tag"), [("abc", "abc"), ("", ""), ("<null>", "")])
def test_report_of_a_call_without_a_tag_has_an_empty_one(written: str, tag: str) -> None:
    """Kamailio 5.6 writes nothing for a missing tag, and Kamailio 6 writes <null>."""
    head = f"7 {call_events.KNOWN} 1700000000d5d42"
    text = "\t".join([ENTRY, written, "sip:caller@192.0.2.1", "call-1"])
    record = native_reports.record(f"{head}{native_reports.SEPARATOR}{text}")
    report = decisions.read(record)
    assert (report.sender.uri, report.sender.tag) == ("sip:caller@192.0.2.1", tag)
