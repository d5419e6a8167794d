"""An existing Kamailio that registers with its module uac, and the three lines of the drop-in.

Its configuration is Debian's default kamailio.cfg, with WITH_AUTH and WITH_USRLOCDB on SQLite. The
table subscriber has its users, and the table uacreg its uac accounts.
"""

import getpass
import re
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testkit.network import SIP_PORT
from testkit.process import Process
from testkit.provider import Provider, ask_kamailio, await_kamailio, start_kamailio
from testkit.sip import Address

DEBIANS = Path("/etc/kamailio/kamailio.cfg")
TABLES = Path("/usr/share/kamailio/db_sqlite")

ASKS = """	if (!route(WHENCE)) {
		xlog("L_NOTICE", "no trunk's call: $avp(whence_reason): $avp(whence_message)\\n");
		route(AUTH);
	}
"""


@dataclass(frozen=True)
class Record:
    """A uac account, as a row of uacreg: *account* at a provider. Its calls go to *user*."""

    l_uuid: str
    user: str
    account: str
    provider: Provider
    expires_s: int = 3600


class DropIn:
    """A Kamailio with a drop-in. `folder` has the files that `whence drop-in` wrote."""

    def __init__(
        self,
        ip: str,
        home: Path,
        *,
        records: Sequence[Record],
        users: Mapping[str, str],
        name: str = "native",
        retry_s: int = 1,
        workers: int = 4,
        grace_s: float = 32,
        asks: str = ASKS,
        own_event_route: str = "",
        also_listens: str = "",
        settings: str = "",
        nameserver: str = "",
    ) -> None:
        """Write its files; `start()` starts it.

        *users*: name → password. *asks*: the lines in place of `route(AUTH);`. *own_event_route*:
        an event route of the operator. *also_listens*: another socket, as in `listen=`.
        *settings*: lines of global parameters. *nameserver*: see `start_kamailio`.
        """
        self._settings, self._nameserver = settings, nameserver
        self._also_listens = f"listen={also_listens}\n" if also_listens else ""
        self.name = name
        self.address: Address = (ip, SIP_PORT)
        self.folder = home / f"{name}-whence"
        self._home = home
        self._rpc = home / f"{name}.rpc"
        self._database = home / f"{name}.sqlite"
        self._config = home / f"{name}.cfg"
        self._make_tables(records, users)
        self._config.write_text(self._kamailio_cfg(retry_s, workers, asks, own_event_route))
        self.install(home)
        include = self.folder / "whence.cfg"
        include.write_text(
            re.sub(r'"grace_s": [0-9.]+', f'"grace_s": {grace_s}', include.read_text())
        )
        self.process: Process | None = None
        self.env: dict[str, str] = {}
        """Further variables of its environment."""

    def install(self, home: Path) -> str:
        """Run `whence drop-in` in the folder *home*, and return its output."""
        argv = [
            *(str(Path(sys.executable).with_name("whence")), "drop-in", str(self.folder)),
            *("--kamailio-cfg", str(self._config), "--user", getpass.getuser()),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=home)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _make_tables(self, records: Sequence[Record], users: Mapping[str, str]) -> None:
        uac_tables(self._database, self.address[0], records)
        with closing(sqlite3.connect(self._database)) as database, database:
            for table in ("usrloc", "auth_db"):
                database.executescript((TABLES / f"{table}-create.sql").read_text())
            for user, password in users.items():
                database.execute(
                    "INSERT INTO subscriber (username, domain, password) VALUES (?, ?, ?)",
                    (user, self.address[0], password),
                )

    def _kamailio_cfg(self, retry_s: int, workers: int, asks: str, own_event_route: str) -> str:
        """Return Debian's file with an operator's settings and the lines of the drop-in."""
        text = DEBIANS.read_text()
        text = _after(
            text,
            "#!KAMAILIO\n",
            "#!define WITH_AUTH\n#!define WITH_USRLOCDB\n"
            f'#!define DBURL "sqlite:///{self._database}"\n'
            f"listen=udp:{self.address[0]}:{SIP_PORT}\n{self._also_listens}disable_tcp=yes\n"
            f"{self._settings}",
        )
        text, children = re.subn(r"^children=\d+", f"children={workers}", text, flags=re.M)
        assert children == 1
        text = _after(text, 'loadmodule "rr.so"\n', 'loadmodule "db_sqlite.so"\n')
        text = _after(text, 'loadmodule "counters.so"\n', 'loadmodule "uac.so"\n')
        own = f"""modparam("jsonrpcs", "transport", 4)
modparam("jsonrpcs", "dgram_socket", "{self._rpc}")
modparam("ctl", "binrpc", "unix:{self._home / self.name}.ctl")
modparam("uac", "restore_mode", "none")
modparam("uac", "reg_db_url", DBURL)
modparam("uac", "reg_contact_addr", "{self.address[0]}:{SIP_PORT}")
modparam("uac", "reg_timer_interval", 1)
modparam("uac", "reg_retry_interval", {retry_s})
modparam("usrloc", "preload", "location")
"""
        heading = "####### Routing Logic ########\n"
        text = _before(
            text, heading, own + f'include_file "{self.folder}/whence.cfg"\n' + own_event_route
        )
        assert text.count("\troute(AUTH);\n") == 1
        return text.replace("\troute(AUTH);\n", asks)

    def rpc(self, method: str, *params: str | int) -> dict[str, Any]:
        """Call its JSONRPC, and return the answer; an error is an AssertionError."""
        answer = ask_kamailio(self._rpc, method, *params)
        assert "error" not in answer, answer
        return answer

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = start_kamailio(
            self.name, self._config, self._home, nameserver=self._nameserver, env=self.env
        )
        await_kamailio(self.process, self._rpc)

    def stop(self) -> None:
        """End it with SIGTERM, if it runs."""
        if self.process is not None:
            self.process.stop()

    @property
    def log(self) -> str:
        """Its whole log."""
        assert self.process
        return self.process.log

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query on the directory, and return its rows."""
        with closing(sqlite3.connect(self.directory)) as database:
            return database.execute(query).fetchall()

    @property
    def directory(self) -> Path:
        return self.folder / "state" / "directory.db"

    def states(self) -> dict[str, str]:
        """Return l_uuid → state of its registration."""
        return registrations(self.directory)

    def addresses(self) -> list[tuple[str, str]]:
        """Return (l_uuid, ip) of each address, sorted."""
        return self.rows("SELECT trunk_id, ip FROM address ORDER BY trunk_id, ip")

    def edit(self, old: str, new: str) -> None:
        """Replace a text of its kamailio.cfg, which has it once."""
        text = self._config.read_text()
        assert text.count(old) == 1, (old, text.count(old))
        self._config.write_text(text.replace(old, new))

    def check(self) -> int:
        """Return the exit status of `kamailio -c`."""
        argv: list[str | Path] = ["kamailio", "-c", "-f", self._config]
        return subprocess.run(argv, capture_output=True, check=False).returncode

    def fails_to_start(self) -> str:
        """Start it, wait until it ends by itself, and return its log."""
        self.process = start_kamailio(self.name, self._config, self._home)
        assert self.process.wait() != 0
        return self.log

    def execute(self, statement: str, *values: str | int) -> None:
        """Execute a statement on Kamailio's own database."""
        with closing(sqlite3.connect(self._database)) as database, database:
            database.execute(statement, values)

    def update(self, table: str, **values: str) -> None:
        """Change columns in all rows of one of Kamailio's own tables."""
        columns = ", ".join(f"{column} = ?" for column in values)
        with closing(sqlite3.connect(self._database)) as database, database:
            database.execute(f"UPDATE {table} SET {columns}", tuple(values.values()))


def uac_tables(file: Path, ip: str, records: Sequence[Record]) -> None:
    """Make the table uacreg for a Kamailio at this ip."""
    with closing(sqlite3.connect(file)) as database, database:
        for table in ("standard", "uac"):
            database.executescript((TABLES / f"{table}-create.sql").read_text())
        for record in records:
            place = f"{record.provider.ip}:{record.provider.address[1]}"
            columns: dict[str, str | int] = {
                "l_uuid": record.l_uuid,
                "l_username": record.user,
                "l_domain": ip,
                "r_username": record.account,
                "r_domain": record.provider.domain,
                "realm": "",
                "auth_username": record.account,
                "auth_password": record.provider.accounts[record.account],
                "auth_ha1": "",
                "auth_proxy": f"sip:{place}",
                "expires": record.expires_s,
                "flags": 0,
                "reg_delay": 0,
                "contact_addr": f"{ip}:{SIP_PORT}",
                "socket": "",
            }
            database.execute(
                f"INSERT INTO uacreg ({', '.join(columns)})"
                f" VALUES ({', '.join('?' * len(columns))})",
                tuple(columns.values()),
            )


def registrations(directory: Path) -> dict[str, str]:
    """Return l_uuid → state of its registration, as the directory has it."""
    with closing(sqlite3.connect(directory)) as database:
        return dict(database.execute("SELECT trunk_id, state FROM registration").fetchall())


def _after(text: str, line: str, more: str) -> str:
    assert text.count(line) == 1, line
    return text.replace(line, line + more)


def _before(text: str, line: str, more: str) -> str:
    assert text.count(line) == 1, line
    return text.replace(line, more + line)
