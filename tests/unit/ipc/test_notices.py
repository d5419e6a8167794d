"""Notices as messages."""

import pytest

from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.protection.blocks import LONGEST_BLOCK_S, is_too_many, lasts_s
from whence.core.sip.transport_address import TransportAddress
from whence.errors import InvalidReportError
from whence.ipc import notices
from whence.ipc.notices import Notice

SOURCE = TransportAddress.parse("udp:[2001:db8::7]:5060")


@pytest.mark.parametrize("reason", NoticeReason)
@pytest.mark.parametrize("detail", ["", "alice", "a\x1fb\nc", "é\udcff"])
def test_message_is_read_back(reason: NoticeReason, detail: str) -> None:
    notice = Notice(1_000_000.5, reason, SOURCE, 3, 60, 2, detail)
    read = notices.read(notices.message(notice))
    shown = detail.encode("utf-8", "replace").decode()
    assert read == Notice(1_000_000.5, reason, SOURCE, 3, 60, 2, shown)


def test_message_with_a_long_detail_is_cut() -> None:
    notice = Notice(1.0, NoticeReason.PASSWORD, SOURCE, detail="x" * 10_000)
    assert len(notices.message(notice)) < 200


@pytest.mark.parametrize(
    "data",
    [b"", b"n1\x1f", b"1\x1f0", b"n1\x1f" + b"\x1f" * 8, b"n1\x1f-1\x1fflood", b"n1\x1f\xff"],
)
def test_read_of_other_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidReportError):
        notices.read(data)


def test_block_duration_grows_to_an_hour() -> None:
    assert [lasts_s(n) for n in (1, 2, 3, 7, 8, 1000)] == [60, 120, 240, 3600, 3600, 3600]
    assert LONGEST_BLOCK_S == 3600


def test_source_after_a_block_has_fewer_tries() -> None:
    assert [is_too_many(n, 0, 10) for n in (9, 10)] == [False, True]
    assert [is_too_many(n, 1, 10) for n in (2, 3)] == [False, True]
    assert is_too_many(1, 1, 1)
    assert not is_too_many(1000, 5, 0), "0: never"
