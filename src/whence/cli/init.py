"""`whence init`: write a first settings file."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whence.cli import private_file
from whence.cli.options import FileOption
from whence.core.sip.uri import host_text
from whence.errors import OperatorError

if TYPE_CHECKING:
    from whence.cli.new_settings import Answers

STATE_DIR = Path("/var/lib/whence")
LATER_OF_TRUNK = {
    "id": "trunk",
    "registrar": "sip:registrar.example",
    "user": "user",
    "password": "password",
    "target": "sip:{number}@127.0.0.1:5080",
}
LATER_OF_USER = {"name": "name", "password": "password"}
ELSEWHERE = "192.0.2.1"
"""An address outside, of no machine (RFC 5737). Nothing is sent to it."""


def init(
    config: FileOption,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing: take each proposal, and write no trunk.")
    ] = False,
) -> None:
    """Write a first settings file: ask for a socket, a trunk and a phone.

    It never replaces a file. The passwords are only in the file, which has mode 0600.
    """
    from whence.cli.new_settings import Answers

    if config.exists():
        raise OperatorError(f"{config} exists already, and is not replaced; name another file")
    if not yes and not sys.stdin.isatty():
        raise OperatorError("there is no terminal to ask on; write --yes to take each proposal")
    # A prompt for a password switches the echo off; SIGINT must switch it on again.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    answers = Answers()
    questions = _Questions(answers, config, ask=not yes)
    _ask_for_edge(questions)
    if not yes:
        _ask_for_user(questions)
        _ask_for_trunk(questions)
    private_file.write(config, answers.text())
    print(f"written: {config}")
    print(f"next: whence check -c {config}; then: whence run -c {config}")


class _Questions:
    """Asks for one key after the other, and checks each answer as `whence check` does."""

    def __init__(self, answers: Answers, config: Path, *, ask: bool) -> None:
        self.answers = answers
        self._config, self._ask = config, ask

    def key(
        self,
        table: dict[str, Any],
        key: str,
        text: str,
        proposal: str = "",
        *,
        hidden: bool = False,
        value: Callable[[str], Any] = str,
    ) -> str:
        """Ask until the answer is valid, and store it; an empty answer stores nothing.

        `value` makes the value of the key from the answer.
        """
        while True:
            answer = proposal
            if self._ask:
                answer = typer.prompt(
                    text, default=proposal, hide_input=hidden, show_default=bool(proposal)
                ).strip()
            if not answer:
                return ""
            table[key] = value(answer)
            fault = self._fault(key)
            if not fault:
                return answer
            del table[key]
            if not self._ask:
                raise OperatorError(f"{key}: {fault}; run it without --yes")
            typer.echo(f"  {fault}")

    def _fault(self, key: str) -> str:
        """Return the fault of a key, as `whence check` reports it; empty: it is valid."""
        from whence.agent.config.load import checked_config

        answers = self.answers
        data = answers.data()
        # Keys that are asked for later have values without a fault.
        for name, later in (("trunk", LATER_OF_TRUNK), ("user", LATER_OF_USER)):
            own = getattr(answers, name)
            data[name] = [{**later, **own}] if own else []
        _, faults = checked_config(data, self._config)
        found = (fault.partition(f": {key}")[2] for fault in faults if f": {key}" in fault)
        return next((fault.lstrip("0123456789[]: ") for fault in found), "")


def _ask_for_edge(questions: _Questions) -> None:
    edge, agent = questions.answers.edge, questions.answers.agent
    ip = _own_address()
    listen = questions.key(
        edge,
        "listen",
        "Address of this machine, towards providers and phones",
        ip,
        value=lambda answer: [f"udp:{_place(answer)}"],
    )
    if _is_private(listen):
        questions.key(
            edge,
            "advertise",
            "It is behind NAT: address that providers see (auto: the registrar reports it)",
            "auto",
        )
    questions.key(edge, "domain", "SIP domain of the phones: name@domain", listen)
    questions.key(edge, "country", "Calling code of your country, as 44 (empty: none)")
    if not can_write(STATE_DIR):
        state = Path.home() / ".local" / "state" / "whence"
        questions.key(agent, "state_dir", "Directory for the state", str(state))


def _ask_for_user(questions: _Questions) -> None:
    user = questions.answers.user
    name = questions.key(user, "name", "Name of a phone that registers here (empty: none)")
    if not name:
        return
    if not questions.key(user, "password", "Its password (empty: a new one)", hidden=True):
        user["password"] = secrets.token_urlsafe(18)


def _ask_for_trunk(questions: _Questions) -> None:
    answers = questions.answers
    trunk, edge, user = answers.trunk, answers.edge, answers.user
    registrar = questions.key(
        trunk,
        "registrar",
        "Registrar of your provider, as sip.provider.example (empty: no trunk yet)",
        value=lambda answer: _registrar(answer, edge),
    )
    if not registrar:
        return
    questions.key(trunk, "id", "Your name for the trunk", "provider")
    _needed(questions, trunk, "user", "User of the account")
    questions.key(trunk, "auth_user", "User of the password, if it is another (empty: the same)")
    _needed(questions, trunk, "password", "Password of the account", hidden=True)
    questions.key(
        trunk,
        "numbers",
        "Numbers of the trunk, with blanks between them, as +442071234567 (empty: none)",
        value=str.split,
    )
    home = f"sip:{user['name']}@{edge['domain']}" if user else "sip:{number}@127.0.0.1:5080"
    questions.key(trunk, "target", "Where its calls go", home)


def _registrar(answer: str, edge: dict[str, Any]) -> str:
    """Return the URI of the registrar. If it is reached over TCP, the edge listens on TCP, too."""
    tcp = edge["listen"][0].replace("udp:", "tcp:")
    if ";transport=tcp" in answer.lower() and tcp not in edge["listen"]:
        edge["listen"].append(tcp)
    return answer if answer.startswith("sip:") else f"sip:{answer}"


def _needed(
    questions: _Questions, table: dict[str, Any], key: str, text: str, *, hidden: bool = False
) -> None:
    while not questions.key(table, key, text, hidden=hidden):
        typer.echo("  it is needed")


def _place(answer: str) -> str:
    """Return `ip:port` of an answer with or without port."""
    try:
        return f"{host_text(str(ip_address(answer.strip('[]'))))}:5060"
    except ValueError:
        return answer


def _own_address() -> str:
    """Return the address of this machine on its route to the Internet; loopback without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ELSEWHERE, 9))  # of UDP: only the kernel's route is asked
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _is_private(listen: str) -> bool:
    try:
        ip = ip_address(listen)
    except ValueError:
        return False
    return ip.is_private and not ip.is_loopback


def can_write(folder: Path) -> bool:
    """Return whether this user can write a folder, or make it."""
    existing = folder if folder.exists() else folder.parent
    return os.access(existing, os.W_OK | os.X_OK)
