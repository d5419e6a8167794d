"""Alarms by e-mail: what the program gets, and what no text of an attacker can do."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from testkit.wait import PATIENCE_S
from tests.unit.agent.monitoring.reports import NOW
from whence.agent.config.validators import check_mail_address
from whence.agent.monitoring import mail as mail_
from whence.agent.monitoring.alarms import RaisedAlarm
from whence.agent.monitoring.mail import LISTED_LIMIT, QUEUE_LIMIT, Mail, message
from whence.core.monitoring.alarms import Alarm, AlarmKind

TO = ["noc@operator.example", "boss@operator.example"]


def raised(id_: int, text: str = "it expired", trunk: str = "acme") -> RaisedAlarm:
    alarm = Alarm(AlarmKind.REGISTRATION_EXPIRED, trunk, text, 2)
    return RaisedAlarm(id_, NOW, alarm, NOW, lasting=True)


class Program:
    """A program that keeps its arguments and its input, and ends with a status."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "sendmail"
        self.path.write_text(
            "#!/bin/sh\n"
            f"cd {folder}\n"
            "n=$(ls | grep -c args)\n"
            'printf "%s\\n" "$@" > "$n.args"\n'
            "env > $n.env\n"
            'cat > "$n.mail"\n'
            "mv $n.mail $n.done\n"
            'exit "$(cat status)"\n'
        )
        self.path.chmod(0o755)
        self.ends_with(0)

    def ends_with(self, status: int) -> None:
        (self.folder / "status").write_text(str(status))

    def mails(self) -> list[email.message.EmailMessage]:
        files = sorted(self.folder.glob("*.done"), key=lambda file: int(file.stem))
        texts = [file.read_bytes() for file in files]
        return [email.message_from_bytes(text, policy=email.policy.default) for text in texts]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@asynccontextmanager
async def running(own: Mail) -> AsyncIterator[None]:
    task = asyncio.create_task(own.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(own: Mail, sent: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while own.sent < sent:
            await asyncio.sleep(0.01)


def test_mail_has_the_alarm_and_plain_arguments(program: Program) -> None:
    async def story() -> None:
        own = Mail(TO, "whence@operator.example", str(program.path))
        own.raised(raised(1))
        async with running(own):
            await until(own, 1)
        assert own.waiting == 0

    asyncio.run(story())
    (sent,) = program.mails()
    assert sent["To"] == ", ".join(TO)
    assert sent["From"] == "whence@operator.example"
    assert "alarm: registration_expired of trunk acme" in sent["Subject"]
    assert "trunk acme: it expired (2 more of this kind)" in sent.get_content()
    arguments = (program.folder / "0.args").read_text().split("\n")[:-1]
    assert arguments == ["-i", "-f", "whence@operator.example", "--", *TO]
    names = {line.partition("=")[0] for line in (program.folder / "0.env").read_text().split("\n")}
    assert names <= {"PATH", "PWD", "OLDPWD", "SHLVL", "_", "n", ""}


def test_alarms_during_the_pause_are_in_one_mail(program: Program) -> None:
    async def story() -> None:
        own = Mail(TO, "", str(program.path), pause_s=0.2)
        own.raised(raised(1))
        async with running(own):
            await until(own, 1)
            for number in range(2, LISTED_LIMIT + 50):
                own.raised(raised(number, f"number {number}"))
            await until(own, 2)

    asyncio.run(story())
    _, second = program.mails()
    assert "and 147 more" in second["Subject"]
    assert f"{148 - LISTED_LIMIT} more; `whence alarms`" in second.get_content()


def test_mail_that_fails_is_retried_and_logged_once(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def story() -> None:
        own = Mail(TO, "", str(program.path), first_wait_s=0.01)
        program.ends_with(75)
        own.raised(raised(1))
        async with running(own):
            async with asyncio.timeout(PATIENCE_S):
                while own.failures < 2:
                    await asyncio.sleep(0.01)
            program.ends_with(0)
            await until(own, 1)

    asyncio.run(story())
    first, last = [record.getMessage() for record in caplog.records]
    assert "ended with status 75" in first
    assert last == "mail: alarms are sent again"


def test_mail_without_its_program_is_retried(tmp_path: Path) -> None:
    async def story() -> None:
        own = Mail(TO, "", str(tmp_path / "absent"), first_wait_s=0.01)
        own.raised(raised(1))
        async with running(own), asyncio.timeout(PATIENCE_S):
            while own.failures < 2:
                await asyncio.sleep(0.01)
        assert own.waiting == 1

    asyncio.run(story())


def test_program_that_never_ends_is_killed(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_, "PROGRAM_S", 0.2)
    program.path.write_text(f"#!/bin/sh\necho $$ > {program.folder}/pid\nexec sleep 1000\n")

    async def story() -> None:
        own = Mail(TO, "", str(program.path))
        own.raised(raised(1))
        async with running(own), asyncio.timeout(PATIENCE_S):
            while not own.failures:
                await asyncio.sleep(0.01)

    asyncio.run(story())
    pid = program.folder / "pid"
    assert not pid.exists() or not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_queue_of_mails_is_bounded() -> None:
    own = Mail(TO)
    for number in range(QUEUE_LIMIT + 5):
        own.raised(raised(number))
    assert (own.waiting, own.dropped) == (QUEUE_LIMIT, 5)


HOSTILE = ["\r\nBcc: victim@x.example\r\n", "\n.\nMAIL FROM:<x>", "\x1b[31m", "\u202e", "é" * 5000]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_an_attacker_adds_no_header(text: str) -> None:
    made = message([raised(1, text, trunk=f"acme{text}")], TO, "", "node", lambda: NOW)
    read = email.message_from_bytes(bytes(made), policy=email.policy.default)
    assert sorted(read.keys()) == sorted(made.keys())
    assert read["Bcc"] is None
    content = read.get_content()
    assert "\x1b" not in content and "\u202e" not in content
    assert len(content.splitlines()) == 3
    assert len(content) < 2000


def test_mail_names_an_all_clear() -> None:
    cleared = replace(raised(1), cleared_at=NOW + 60, cleared_message="registered again")
    made = message([cleared], TO, "", "node", lambda: NOW)
    assert "ended: registration_expired" in made["Subject"]
    assert "it expired; registered again" in made.get_content()


@pytest.mark.parametrize(
    "address",
    ["-oQ/tmp", "a@b c", "a@b\nBcc: x@y", "a@b,c@d", "|sh@x", "a", "@b", "a@-b", "<a@b>", "a@b;c"],
)
def test_address_that_is_no_plain_one_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not an e-mail address"):
        check_mail_address(address)


@pytest.mark.parametrize(
    "address", ["", "noc@operator.example", "a.b+c@x-y.example", "r@localhost"]
)
def test_address_that_is_plain_is_accepted(address: str) -> None:
    assert check_mail_address(address) == address
