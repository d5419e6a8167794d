"""Alarms by e-mail, through the program `sendmail` of the machine.

The first alarm is sent at once. Those of the next minute are in one mail. So a flood of alarms is a
mail a minute. The program gets its arguments as a list, without a shell. Failed mails are retried
with exponential backoff. The queue is bounded; it is lost when the agent ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.policy
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from whence.agent.monitoring.alarms import RaisedAlarm
from whence.core.text import escape_untrusted

log = logging.getLogger(__name__)

QUEUE_LIMIT = 1000
LISTED_LIMIT = 100
"""The most alarms that one mail lists. It counts the others."""

PAUSE_S = 60.0
"""The least time between two mails."""

PROGRAM_S = 60.0
"""How long the program may run."""

FIRST_WAIT_S, LONGEST_WAIT_S = 10.0, 1800.0
TEXT_LIMIT = 1000
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Mail:
    """Sends alarms by e-mail. It observes the alarms."""

    def __init__(
        self,
        recipients: Sequence[str],
        sender: str = "",
        program: str = "/usr/sbin/sendmail",
        pause_s: float = PAUSE_S,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        """`recipients`, `sender`: checked addresses. `sender` empty: the program chooses one."""
        self._recipients = list(recipients)
        self._sender = sender
        self._program = program
        self._pause_s = pause_s
        self._first_wait_s = first_wait_s
        self._queue: deque[RaisedAlarm] = deque()
        self._wake = asyncio.Event()
        self._failing = False
        self.dropped = 0
        """Alarms that newer ones replaced in the queue."""
        self.sent = 0
        """Mails that the program accepted."""
        self.failures = 0
        """Runs of the program that failed."""

    def raised(self, raised: RaisedAlarm) -> None:
        """Put an alarm, or its all-clear, into the queue."""
        if len(self._queue) >= QUEUE_LIMIT:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(raised)
        self._wake.set()

    @property
    def waiting(self) -> int:
        """How many alarms wait for a mail."""
        return len(self._queue)

    async def run(self) -> None:
        """Send the alarms of the queue until cancelled."""
        wait_s = self._first_wait_s
        while True:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
            some = list(self._queue)
            text = bytes(message(some, self._recipients, self._sender, socket.gethostname()))
            fault = await self._send(text)
            if fault:
                self._fail(fault)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            self._succeed(some)
            wait_s = self._first_wait_s
            await asyncio.sleep(self._pause_s)

    async def _send(self, text: bytes) -> str:
        """Run the program; return its fault, or an empty text."""
        options = ["-i", *(["-f", self._sender] if self._sender else [])]
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                *options,
                "--",
                *self._recipients,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PATH": _PATH},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            return f"{self._program} cannot be started: {error.strerror}"
        try:
            async with asyncio.timeout(PROGRAM_S):
                await process.communicate(text)
        except TimeoutError:
            return f"{self._program} did not end in {PROGRAM_S:.0f} s"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        status = process.returncode
        return f"{self._program} ended with status {status}" if status else ""

    def _fail(self, fault: str) -> None:
        self.failures += 1
        if not self._failing:
            log.warning("mail: alarms are not sent, and retried: %s", fault)
        self._failing = True

    def _succeed(self, sent: Sequence[RaisedAlarm]) -> None:
        self.sent += 1
        gone = {id(one) for one in sent}  # newer ones may have replaced some
        while self._queue and id(self._queue[0]) in gone:
            self._queue.popleft()
        if self._failing:
            log.info("mail: alarms are sent again")
        self._failing = False


def message(
    alarms: Sequence[RaisedAlarm],
    recipients: Sequence[str],
    sender: str,
    node: str,
    clock: Callable[[], float] = time.time,
) -> EmailMessage:
    """Return the mail about some alarms.

    All texts are escaped. The library refuses a line end in a header, so no text adds a header.
    """
    mail = EmailMessage(policy=email.policy.SMTP)
    if sender:
        mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = _line(f"[whence {node}] {_subject(alarms)}", 200)
    mail["Date"] = format_datetime(datetime.fromtimestamp(clock(), UTC))
    mail["Auto-Submitted"] = "auto-generated"  # no out-of-office reply comes back (RFC 3834)
    lines = [_entry(one) for one in alarms[:LISTED_LIMIT]]
    if len(alarms) > LISTED_LIMIT:
        lines.append(f"{len(alarms) - LISTED_LIMIT} more; `whence alarms` shows them.")
    mail.set_content("\n".join([*lines, "", "whence alarms has all of them.", ""]))
    return mail


def _subject(alarms: Sequence[RaisedAlarm]) -> str:
    first = alarms[0]
    trunk = f" of trunk {first.alarm.trunk}" if first.alarm.trunk else ""
    more = f" and {len(alarms) - 1} more" if len(alarms) > 1 else ""
    return f"{_status(first)}: {first.alarm.kind}{trunk}{more}"


def _entry(one: RaisedAlarm) -> str:
    at = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    trunk = f" trunk {one.alarm.trunk}:" if one.alarm.trunk else ""
    text = "; ".join(filter(None, (one.alarm.message, one.cleared_message)))
    left_out = f" ({one.alarm.left_out} more of this kind)" if one.alarm.left_out else ""
    return _line(f"{at} {_status(one)} {one.alarm.kind}:{trunk} {text}{left_out}", TEXT_LIMIT)


def _status(one: RaisedAlarm) -> str:
    return "event" if not one.lasting else "ended" if one.cleared_at is not None else "alarm"


def _line(text: str, limit: int) -> str:
    return escape_untrusted(text)[:limit]
