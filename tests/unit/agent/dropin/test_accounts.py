"""Accounts in uac's table that uac ignores, or whose calls get lost."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.agent.dropin.existing_cfg import ROUTES, SECRET, VALID, cfg_of
from whence.agent.dropin.install import acting_as
from whence.agent.dropin.kamailio_cfg.model import Cfg
from whence.agent.dropin.problems import of_tables

TABLES = Path("/usr/share/kamailio/db_sqlite")
TEXT_TABLES = Path("/usr/share/kamailio/dbtext/kamailio")
LISTEN = "auto_aliases=no\nlisten=udp:192.0.2.9:5060\n"
MYSELF = "route[X] { if (uri==myself) { exit; } }\n"
ACCOUNT: dict[str, str | int] = {
    "l_uuid": "acme",
    "l_username": "alice",
    "l_domain": "192.0.2.9",
    "r_username": "acct1",
    "r_domain": "provider.example",
    "auth_username": "acct1",
    "auth_password": SECRET,
    "auth_ha1": "",
    "auth_proxy": "sip:192.0.2.1:5060",
    "expires": 60,
    "flags": 0,
    "contact_addr": "",
    "socket": "",
}


class Place:
    """A folder with a kamailio.cfg and uac's table in SQLite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "k.sqlite"
        with closing(sqlite3.connect(self.file)) as database, database:
            for table in ("standard", "uac", "domain"):
                database.executescript((TABLES / f"{table}-create.sql").read_text())
        self.top = LISTEN
        self.modules = 'loadmodule "db_sqlite.so"\n'
        self.url = f"sqlite:///{self.file}"

    def add(self, **other: str | int) -> None:
        row = {**ACCOUNT, **other}
        self.execute(
            f"INSERT INTO uacreg ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
            *row.values(),
        )

    def execute(self, statement: str, *values: str | int) -> None:
        with closing(sqlite3.connect(self.file)) as database, database:
            database.execute(statement, values)

    def cfg(self, more: str = "") -> Cfg:
        valid = VALID.replace(f"mysql://kamailio:{SECRET}@localhost/kamailio", self.url)
        return cfg_of(self.folder, self.top + self.modules + valid + ROUTES + MYSELF + more)

    def problems(self, more: str = "") -> list[str]:
        found = list(of_tables(self.cfg(more), None))
        assert SECRET not in "".join(found)
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_accounts_that_are_valid_have_no_problem(place: Place) -> None:
    place.add()
    place.add(l_uuid="bell", l_username="bob", contact_addr="192.0.2.9:5060")
    assert place.problems() == []


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("l_username", "", "l_username is empty: uac ignores the account"),
        ("l_domain", "", "l_domain is empty: uac ignores the account"),
        ("auth_proxy", "", "auth_proxy is empty: uac ignores the account"),
        ("auth_proxy", "192.0.2.1:5060", "auth_proxy is no SIP URI: uac cannot send"),
        ("auth_proxy", "sip:192.0.2.1;transport=tcp", "transport tcp, and Kamailio has no such"),
        ("auth_proxy", "sips:192.0.2.1", "transport tls, and Kamailio has no such socket"),
        ("auth_password", "", "auth_password and auth_ha1 are empty: uac ignores the account"),
        ("auth_ha1", "abc", "auth_ha1 is no HA1: uac ignores the account"),
        ("auth_proxy", "sip:[2001:db8::1]", "is an IPv6 address, and Kamailio has no IPv6 socket"),
        ("expires", 0, "expires is 0: uac does not register it"),
        ("expires", 20, "expires is 20, and uac refreshes every 20 s only"),
        ("flags", 1, "flags is odd: the account is disabled"),
        ("l_uuid", "ac me", "l_uuid is no user of a SIP URI"),
        ("r_domain", "sip:provider.example", "r_domain is a URI"),
        (
            "contact_addr",
            "192.0.2.9:5099",
            "contact_addr is udp:192.0.2.9:5099, where Kamailio does",
        ),
        ("contact_addr", "sip:192.0.2.9", "contact_addr begins with sip:"),
        ("socket", "udp:192.0.2.8:5060", "socket is no listen socket"),
    ],
)
def test_account_with_a_wrong_column_is_named(
    place: Place, column: str, value: str | int, message: str
) -> None:
    place.add(**{column: value})
    (problem,) = place.problems()
    name = value if column == "l_uuid" else "acme"
    assert problem.startswith(f"table uacreg: {name}: ")
    assert message in problem
    assert "; " in problem


def test_accounts_with_one_problem_share_a_sentence(place: Place) -> None:
    for name in "abcdefg":
        place.add(l_uuid=name, flags=1)
    (problem,) = place.problems()
    assert problem.startswith("table uacreg: a, b, c, d, e and 2 more: flags is odd")


# l_domain


def test_l_domain_that_is_not_kamailios_own_is_named(place: Place) -> None:
    place.add(l_domain="edge.example")
    (problem,) = place.problems()
    assert problem.startswith(
        "table uacreg: acme: l_domain edge.example is no alias or listen address of this Kamailio"
    )
    assert "write alias=edge.example" in problem
    place.top += "alias=edge.example\n"
    assert place.problems() == []


def test_l_domain_with_a_quoted_alias_and_port_is_named(place: Place) -> None:
    place.add(l_domain="edge.example")
    place.top += 'alias="Edge.example:5060"\n'
    (problem,) = place.problems()
    assert 'remove the quotes of alias="edge.example:5060"' in problem
    place.top = place.top.replace('"', "")
    assert place.problems() == []


def test_l_domain_ip_with_listen_on_all_is_named(place: Place) -> None:
    place.top = "auto_aliases=no\nlisten=udp:0.0.0.0:5060\n"
    place.add(l_domain="127.0.0.1", contact_addr="127.0.0.1")
    (problem,) = place.problems()
    assert "l_domain 127.0.0.1 is no alias" in problem
    assert "write listen=udp:127.0.0.1:5060, or alias=127.0.0.1" in problem


def test_l_domain_is_no_matter_for_a_routing_without_myself(place: Place) -> None:
    place.add(l_domain="edge.example")
    text = place.top + place.modules + VALID.replace("mysql:", "sqlite:") + ROUTES
    cfg = cfg_of(
        place.folder, text.replace(f"//kamailio:{SECRET}@localhost/kamailio", f"///{place.file}")
    )
    assert list(of_tables(cfg, None)) == []


def test_l_domain_may_be_in_the_table_domain(place: Place) -> None:
    place.modules += 'loadmodule "domain.so"\n'
    own = f'modparam("domain", "db_url", "{place.url}")\n'
    place.add(l_domain="edge.example")
    (problem,) = place.problems(own)
    assert "or add it to the table domain" in problem
    place.execute("INSERT INTO domain (domain, did) VALUES ('edge.example', 'edge.example')")
    assert place.problems(own) == []


def test_l_domain_with_an_unread_table_domain_is_unchecked(place: Place) -> None:
    place.modules += 'loadmodule "domain.so"\nloadmodule "db_mysql.so"\n'
    place.add(l_domain="edge.example")
    (note,) = place.problems(f'modparam("domain", "db_url", "mysql://k:{SECRET}@localhost/k")\n')
    assert "domain: db_url: not checked: whence drop-in does not read mysql" in note


def test_l_domain_with_a_value_of_the_environment_is_unchecked(place: Place) -> None:
    place.top = "#!defenv MY_NAME\nalias=MY_NAME\n" + LISTEN
    place.add(l_domain="edge.example")
    (note,) = place.problems()
    assert "listen, alias: only Kamailio knows a value" in note


def test_l_domain_without_phones_is_named_with_use_domain(place: Place) -> None:
    place.add()
    with closing(sqlite3.connect(place.file)) as database, database:
        database.executescript((TABLES / "usrloc-create.sql").read_text())
    place.execute(
        "INSERT INTO location (ruid, username, domain, contact, user_agent)"
        " VALUES ('r', 'alice', 'edge.example', 'sip:alice@192.0.2.50', '')"
    )
    own = f'modparam("usrloc", "db_url", "{place.url}")\nmodparam("usrloc", "db_mode", 2)\n'
    assert place.problems(own) == []
    use_domain = 'modparam("usrloc", "use_domain", 1)\n'
    (problem,) = place.problems(own + use_domain)
    assert "acme: phones of alice registered at edge.example, and l_domain is 192.0.2.9" in problem
    (note,) = place.problems(use_domain)
    assert "usrloc: use_domain is 1" in note
    assert "not checked: the contacts are in memory only" in note
    place.execute("UPDATE location SET domain = '192.0.2.9'")
    assert place.problems(own + use_domain) == []


# The table


def test_table_in_mysql_is_unchecked(place: Place) -> None:
    place.url = f"mysql://kamailio:{SECRET}@localhost/kamailio"
    place.modules = 'loadmodule "db_mysql.so"\n'
    (note,) = place.problems()
    assert "uac: reg_db_url: table uacreg: not checked: whence drop-in does not read mysql" in note


def test_table_without_its_db_module_is_named(place: Place) -> None:
    place.modules = ""
    (problem,) = place.problems()
    assert "uac: reg_db_url: table uacreg: module db_sqlite is not loaded" in problem
    assert "uac registers nothing" in problem


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("sqlite://k.sqlite", "the URL has no third slash; write sqlite:////path"),
        ("k.sqlite", "the URL has another form than scheme://path"),
        ("sqlite:///none/k.sqlite", "No such file or directory"),
        ("text://none", "No such file or directory"),
    ],
)
def test_table_of_a_wrong_url_is_named(place: Place, url: str, cause: str) -> None:
    place.url = url
    place.modules += 'loadmodule "db_text.so"\n'
    (problem,) = place.problems()
    assert f"uac: reg_db_url: table uacreg: {cause}: uac registers nothing" in problem


def test_table_of_a_relative_path_is_in_the_workdir(place: Place) -> None:
    place.add(flags=1)
    place.top += f'workdir="{place.folder}"\n'
    place.url = "sqlite:///k.sqlite"
    (problem,) = place.problems()
    assert "flags is odd" in problem


def test_table_of_another_version_is_named(place: Place) -> None:
    place.add()
    place.execute("UPDATE version SET table_version = 4 WHERE table_name = 'uacreg'")
    (problem,) = place.problems()
    assert "table uacreg has version 4 in the table version, and uac needs 5" in problem


def test_table_that_does_not_exist_is_named(place: Place) -> None:
    (problem,) = place.problems('modparam("uac", "reg_db_table", "other")\n')
    assert "table other: no such table: other: uac registers nothing" in problem
    place.file.unlink()
    (problem,) = place.problems()
    assert "table uacreg: No such file or directory: uac registers nothing" in problem
    assert not place.file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another user")
def test_table_that_kamailios_user_cannot_read_is_named(place: Place) -> None:
    place.add()
    place.file.chmod(0o600)
    cfg = place.cfg()
    with acting_as("nobody"):
        (problem,) = of_tables(cfg, None)
    assert "table uacreg: Permission denied: uac registers nothing" in problem
    assert "let Kamailio's user read it" in problem


def test_table_without_rows_is_named(place: Place) -> None:
    (problem,) = place.problems()
    assert problem.startswith("table uacreg has no row: uac registers nothing")


def test_text_table_is_read(place: Place) -> None:
    folder = place.folder / "text"
    folder.mkdir()
    (folder / "version").write_text((TEXT_TABLES / "version").read_text())
    head = (TEXT_TABLES / "uacreg").read_text().splitlines()[0]
    row = "1:acme:alice:edge.example:acct1:provider.example::acct1:pw::sip\\:192.0.2.1:60:0:0::\n"
    place.url, place.modules = f"text://{folder}", 'loadmodule "db_text.so"\n'
    (folder / "uacreg").write_text(f"{head}\n{row}")
    (problem,) = place.problems()
    assert "table uacreg: line 2: realm is empty, which db_text refuses" in problem
    nulls = head
    for name in ("realm", "auth_ha1", "contact_addr", "socket"):
        nulls = nulls.replace(f" {name}(string)", f" {name}(string,null)")
    (folder / "uacreg").write_text(f"{nulls}\n{row}")
    (problem,) = place.problems()
    assert problem.startswith("table uacreg: acme: l_domain edge.example is no alias")
