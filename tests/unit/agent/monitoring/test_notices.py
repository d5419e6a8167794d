"""Notices: listed, counted and logged, in lines that fail2ban reads."""

import logging
import subprocess
from pathlib import Path

import pytest

from whence.agent.monitoring.notices import LINES_A_MINUTE, USERS_LIMIT, WINDOW_S, NoticeCounts
from whence.core.monitoring.unknown_sources import NoticeReason, UnknownSourceTable
from whence.core.sip.transport_address import TransportAddress
from whence.ipc.notices import Notice

FILTER = Path(__file__).parents[4] / "packaging/fail2ban/filter.d/whence.conf"
PLAIN = logging.Formatter("%(asctime)s agent: %(levelname)s %(message)s", "%H:%M:%S")
"""The format of `cli/service/log.py`."""


def password(ip: str = "203.0.113.7", user: str = "alice", at: float = 0.0) -> Notice:
    place = f"[{ip}]" if ":" in ip else ip
    return Notice(
        at, NoticeReason.PASSWORD, TransportAddress.parse(f"udp:{place}:5060"), detail=user
    )


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [PLAIN.format(record) for record in caplog.records]


def test_notice_lists_its_source_with_the_reason() -> None:
    notices = NoticeCounts(UnknownSourceTable(10))
    for reason in (NoticeReason.UNREADABLE, NoticeReason.FLOOD, NoticeReason.UNREADABLE):
        notices.receive(
            Notice(1.0, reason, TransportAddress.parse("udp:203.0.113.7:5060"), count=2)
        )
    (one,) = notices.unknown_sources
    assert (one.requests, one.reasons) == (6, ("unreadable_message", "flood"))
    assert one.request_uris == ()
    assert notices.counts[NoticeReason.UNREADABLE] == 4


def test_wrong_password_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    notices = NoticeCounts(UnknownSourceTable(10))
    notices.receive(password(user="x\n00:00:00 agent: \x1b[31m"))
    (line,) = lines(caplog)
    assert r"\x1b[31m" in line
    assert "\n" not in line
    assert next(iter(notices.unknown_sources)).reasons == ("wrong_password",)


def test_wrong_passwords_of_many_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    notices = NoticeCounts(UnknownSourceTable(10))
    for i in range(10 * LINES_A_MINUTE):
        notices.receive(password(f"203.0.113.{i % 250}"))
    assert len(caplog.records) == LINES_A_MINUTE
    notices.receive(password(at=WINDOW_S))
    assert lines(caplog)[-2].endswith(f"{9 * LINES_A_MINUTE} more were not logged")


def test_wrong_passwords_are_counted_by_user_within_bounds() -> None:
    notices = NoticeCounts(UnknownSourceTable(10))
    notices.receive(password())
    for i in range(2 * USERS_LIMIT):
        notices.receive(password(user=f"made-up-{i}"))
    notices.receive(password())
    assert (notices.users["alice"], len(notices.users)) == (2, USERS_LIMIT)


def test_block_is_reported_and_counted() -> None:
    blocked: list[Notice] = []

    class Observer:
        def password_guessed(self, noticed: Notice) -> None:
            blocked.append(noticed)

    notices = NoticeCounts(UnknownSourceTable(10), [Observer()])
    notices.receive(password())
    notice = Notice(
        0.0, NoticeReason.PASSWORD, TransportAddress.parse("udp:203.0.113.7:5060"), blocked_s=60
    )
    notices.receive(notice)
    assert (blocked, notices.blocks) == ([notice], 1)


USERS = ["alice", "", "x agent: WARNING phone_password_wrong source=198.51.100.1 blocked_s=0 user="]


def matched(tmp_path: Path, log: list[str]) -> list[str]:
    """Return the lines that the shipped filter matches."""
    file = tmp_path / "log"
    file.write_text("".join(f"{line}\n" for line in log))
    command = ["fail2ban-regex", "--print-all-matched", str(file), str(FILTER)]
    output = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    _, _, found = output.partition("|- Matched line(s):\n")
    return [line[3:] for line in found.split("\n`-")[0].splitlines() if line.startswith("|  ")]


@pytest.mark.parametrize("prefix", ["", "Nov 28 01:02:03 host whence[1]: "])
def test_fail2ban_filter_matches_each_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, prefix: str
) -> None:
    notices = NoticeCounts(UnknownSourceTable(10))
    for ip in ("203.0.113.7", "2001:db8::7"):
        for user in USERS:
            notices.receive(password(ip, user))
    log = [prefix + line for line in lines(caplog)]
    assert matched(tmp_path, log) == [line.rstrip() for line in log]


def test_fail2ban_filter_ignores_forged_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown source can write into lines of Kamailio, or behind other words of the agent."""
    notices = NoticeCounts(UnknownSourceTable(10))
    notices.receive(password("198.51.100.9"))
    (line,) = lines(caplog)
    forged = [
        f"kamailio: {line}",
        f"kamailio:  1(7) ERROR: <core> [x.c:1]: f(): {line}",
        f"Nov 28 01:02:03 host whence[1]: kamailio: {line}",
        f"01:02:03 agent: WARNING alarm: {line}",
        f"01:02:03 run: WARNING {line}",
    ]
    assert matched(tmp_path, forged) == []
