"""Kamailio with native configurations: the known recipe, a bare relay, the drop-in, and `uac`."""

from __future__ import annotations

import getpass
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from subprocess import run
from typing import ClassVar

from bench.contestants.base import USER, Contestant
from bench.registrar import DOMAIN, MEMORY, password
from bench.report import debian_arguments
from testkit.network import SIP_PORT
from testkit.process import Process, beside_python
from testkit.sip import Address, Endpoint, reply, request

HERE = Path(__file__).parent
TABLES = Path("/usr/share/kamailio/db_sqlite")
TLSF = ("-x", "tlsf", "-X", "tlsf")
TAUGHT_AT_ONCE = 100
RATE = 1000
"""Attempts to register a second, of each contestant that has a limit."""
CALM_RATE = 100
"""The same of the drop-in, which writes its directory for each answer."""


class Recipe(Contestant):
    """The known recipe, with the arguments of Debian's systemd unit."""

    key = "recipe_debian"
    title = "recipe as Debian"
    options: ClassVar[Sequence[str]] = ()
    """Its arguments beside those of Debian's unit."""

    def config(self) -> Path:
        """Return its configuration."""
        return HERE / "recipe.cfg"

    def launch(self, stack: ExitStack) -> Process:
        argv = [
            *("kamailio", "-DD", "-f", str(self.config()), "-Y", str(self.home)),
            *("-A", f"LISTEN=udp:{self.edge[0]}:{self.edge[1]}"),
            *("-A", f'PHONE="sip:{self.phone_ip}:{SIP_PORT}"'),
            *(*debian_arguments(), *self.options, "-n", str(self.stage.workers)),
        ]
        return stack.enter_context(Process(self.name, argv, self.home / "kamailio.log"))

    def admit(self) -> None:
        layout = self.stage.layout
        with Endpoint(self.phone_ip, SIP_PORT) as ours:
            for number, ip in enumerate(dict.fromkeys(map(layout.ip, range(layout.trunks)))):
                teach(self.edge, str(ip))
                # Its answer means that the recipe has read the former datagrams.
                if number % TAUGHT_AT_ONCE == 0:
                    ours.ask(request("OPTIONS", f"sip:{self.edge[0]}", ours.address), self.edge)
        self.register_phone()


class RecipeTlsf(Recipe):
    """The recipe with Whence's allocator, so that only the routing differs."""

    key = "recipe_tlsf"
    title = "recipe with tlsf"
    options = TLSF


class Relay(RecipeTlsf):
    """A bare relay: the least that any relay costs."""

    key = "relay"
    title = "bare relay"

    def config(self) -> Path:
        return HERE / "relay.cfg"

    def admit(self) -> None:
        """Do nothing: it relays each call to its phone."""


class DropIn(RecipeTlsf):
    """The recipe's routing, with the lines of Whence's drop-in instead of its two halves."""

    key = "drop_in"
    title = "drop-in with tlsf"
    registers = True

    def config(self) -> Path:
        """Write a configuration, and let `whence drop-in` write its files."""
        database, folder = self.home / "uac.db", self.home / "whence"
        write_uac_table(database, self, CALM_RATE)
        config = self.home / "kamailio.cfg"
        config.write_text(with_drop_in(database, self.edge[0], folder / "whence.cfg"))
        layout = self.stage.layout
        numbers = [f'"trunk-{n}" = ["{layout.number(n)}"]' for n in range(layout.trunks)]
        argv: list[str | Path] = [beside_python("whence"), "drop-in", folder]
        argv += ["--kamailio-cfg", config, "--user", getpass.getuser()]
        _installed(argv)
        (folder / "drop-in.toml").write_text("\n".join(["[numbers]", *numbers, ""]))
        _installed(argv)
        return config

    def admit(self) -> None:
        self.register_phone()


class Uac(Contestant):
    """Kamailio with only its own registrar client, the module `uac`."""

    key = "uac"
    title = "uac module"
    registers = True

    def launch(self, stack: ExitStack) -> Process:
        table, ip = self.home / "uac.db", self.edge[0]
        write_uac_table(table, self)
        argv = [
            *("kamailio", "-DD", "-E", "-f", str(HERE / "uac.cfg"), "-Y", str(self.home), *MEMORY),
            *("-A", f"LISTEN=udp:{ip}:{SIP_PORT}", "-A", f'CONTACT="{ip}:{SIP_PORT}"'),
            *("-A", f'TABLE="sqlite:///{table}"', "-n", str(self.stage.workers)),
        ]
        log = self.home / "uac.log"
        return stack.enter_context(Process(self.name, argv, log, stop_within_s=1))

    def admit(self) -> None:
        """Do nothing: it only registers."""


def teach(edge: Address, ip: str) -> None:
    """Let the recipe admit calls from *ip*, for the user.

    One datagram from any source is enough, without a request. That is the first fault in
    docs/drop-in.md. The recipe also gives all calls from there to one account, so it needs no
    decision. That is the second fault.
    """
    with Endpoint(ip) as unknown_source:
        never_sent = request("REGISTER", f"sip:{ip}", edge)
        contact = ("Contact", f"<sip:{USER}@{edge[0]}:{edge[1]}>")
        unknown_source.send(reply(never_sent, 200, headers=[contact]), edge)


def with_drop_in(database: Path, ip: str, include: Path) -> str:
    """Return the recipe's file with Whence instead of the recipe's two halves."""
    text = (HERE / "recipe.cfg").read_text()
    text = _replaced(text, "listen=LISTEN\n", f"listen=udp:{ip}:{SIP_PORT}\n")
    uac = 'loadmodule "db_sqlite.so"\nloadmodule "uac.so"\n'
    text = _replaced(text, 'loadmodule "htable.so"\n', uac)
    own = f"""modparam("uac", "restore_mode", "none")
modparam("uac", "reg_db_url", "sqlite:///{database}")
modparam("uac", "reg_contact_addr", "{ip}:{SIP_PORT}")
modparam("uac", "reg_timer_interval", 1)
modparam("uac", "reg_retry_interval", 5)
include_file "{include}"
"""
    table = 'modparam("htable", "htable", "trunks=>size=12;autoexpire=86400;")\n'
    text = _replaced(text, table, own)
    text = _replaced(text, "uri != myself || $sht(trunks=>$si) == $null", "!route(WHENCE)")
    text = _replaced(text, "	$rU = $sht(trunks=>$si);\n", "")
    return text[: text.index("# The recipe's half that learns.")]


def write_uac_table(file: Path, contestant: Contestant, rate: int = RATE) -> None:
    """Fill the table of `uac`, whose only rate limit is `reg_delay`: whole seconds after start."""
    registrar, ip = contestant.stage.at(), contestant.edge[0]
    accounts = []
    for number in range(contestant.stage.layout.trunks):
        user = account(contestant, number)
        accounts.append(
            (
                *(f"trunk-{number}", USER, ip, user, DOMAIN, DOMAIN, user, password(user)),
                *(registrar.uri, registrar.expires_s, 1 + number // rate, f"{ip}:{SIP_PORT}"),
            )
        )
    with closing(sqlite3.connect(file)) as db, db:
        for name in ("standard", "uac"):
            db.executescript((TABLES / f"{name}-create.sql").read_text("utf-8"))
        db.executemany(
            "INSERT INTO uacreg (l_uuid, l_username, l_domain, r_username, r_domain, realm,"
            " auth_username, auth_password, auth_proxy, expires, reg_delay, contact_addr)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            accounts,
        )


def account(contestant: Contestant, number: int) -> str:
    """Return the user of a trunk; no other contestant has it."""
    return f"{contestant.name}-{number}"


def _installed(argv: Sequence[str | Path]) -> None:
    done = run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)
