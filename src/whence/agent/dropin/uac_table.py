"""Read the tables that `uac` and `domain` read: from SQLite and `db_text`, no other databases."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from whence.agent.dropin.kamailio_cfg.model import Cfg, Param
from whence.agent.dropin.running import option
from whence.errors import KamailioTableError, WhenceError
from whence.store import kamailio_tables
from whence.store.kamailio_tables import Row

TABLE = "uacreg"
TABLE_VERSION = 5
"""The version of the table that Kamailio 5.6 to 6.1 expects."""

TEXT_FOLDER = Path("/etc/kamailio")
"""The folder from which `db_text` reads a relative path."""

PASSWORDS = ("auth_password", "auth_ha1")
COLUMNS = (
    *("l_uuid", "l_username", "l_domain", "r_username", "r_domain", "auth_username"),
    *PASSWORDS,
    *("auth_proxy", "expires", "flags", "contact_addr", "socket"),
)

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9_]*)://(?P<path>.*)", re.DOTALL)


class _UncheckedError(WhenceError):
    """The table may be right, but only Kamailio can read it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The rows of a table, or why it has none. None: the table was not read."""

    rows: tuple[Row, ...] | None
    problem: str = ""
    unchecked: str = ""
    """Why the table was not read, though Kamailio may read it."""


def accounts(cfg: Cfg, options: Sequence[str] | None) -> Contents:
    """Read the accounts of `uac`. Call it as the user that Kamailio runs as.

    `options`: the command line of the running Kamailio; None: it does not run.
    """
    url = cfg.param("uac", "reg_db_url")
    if url is None:
        return Contents(None)
    table = table_name(cfg)
    where = f"{url.place}: uac: reg_db_url"
    try:
        reader = _Reader(cfg, url, options)
        versions = {
            row["table_name"]: int(row["table_version"] or 0)
            for row in reader.read("version", ("table_name", "table_version"))
        }
        rows = tuple(reader.read(table, COLUMNS, PASSWORDS))
    except _UncheckedError as error:
        return Contents(None, unchecked=f"{where}: table {table}: not checked: {error}")
    except (KamailioTableError, ValueError) as error:
        return Contents(None, f"{where}: table {table}: {error}: uac registers nothing; {_HOW}")
    if versions.get(table) != TABLE_VERSION:
        return Contents(
            rows,
            f"{where}: table {table} has version {versions.get(table, 0)} in the table version, "
            f"and uac needs {TABLE_VERSION}: uac registers nothing; {_HOW}",
        )
    return Contents(rows)


def table_name(cfg: Cfg) -> str:
    """Return the name of uac's table."""
    named = cfg.param("uac", "reg_db_table")
    return named.value if named is not None and named.value else TABLE


_HOW = "create it as in /usr/share/kamailio, and let Kamailio's user read it"


def domains(cfg: Cfg, options: Sequence[str] | None) -> Contents:
    """Read the domains of module `domain`, as rows with the column `domain`; see `accounts`."""
    url = cfg.param("domain", "db_url")
    if "domain" not in cfg.modules or url is None:
        return Contents(())

    def name(param: str, default: str) -> str:
        found = cfg.param("domain", param)
        return found.value if found is not None and found.value else default

    column = name("domain_col", "domain")
    try:
        rows = _Reader(cfg, url, options).read(name("domain_table", "domain"), (column,))
    except (_UncheckedError, KamailioTableError) as error:
        return Contents(None, unchecked=f"{url.place}: domain: db_url: not checked: {error}")
    return Contents(tuple({"domain": row[column]} for row in rows))


def locations(cfg: Cfg, options: Sequence[str] | None) -> Contents:
    """Read where phones registered, as rows with `username` and `domain`; see `accounts`.

    Only with `use_domain` of usrloc does the domain of a user count. Otherwise there are no rows.
    """
    use_domain, mode = cfg.param("usrloc", "use_domain"), cfg.param("usrloc", "db_mode")
    if use_domain is None or use_domain.value in ("", "0"):
        return Contents(())
    where = f"{use_domain.place}: usrloc: use_domain is {use_domain.value}"
    rule = "a phone must register at the l_domain of its account: not checked: the contacts are"
    url = cfg.param("usrloc", "db_url")
    if mode is None or mode.value == "0" or url is None:
        return Contents(None, unchecked=f"{where}: {rule} in memory only")
    try:
        rows = _Reader(cfg, url, options).read("location", ("username", "domain"))
    except (_UncheckedError, KamailioTableError) as error:
        return Contents(None, unchecked=f"{where}: {rule} not readable: {error}")
    return Contents(tuple(rows))


class _Reader:
    """Reads the tables of one database URL.

    Raises: KamailioTableError, _UncheckedError.
    """

    def __init__(self, cfg: Cfg, url: Param, options: Sequence[str] | None) -> None:
        found = _URL.fullmatch(url.value)
        if cfg.is_from_environment(url.value):
            raise _UncheckedError("only Kamailio knows this value")
        if found is None:
            raise KamailioTableError("the URL has another form than scheme://path")
        self._scheme = found["scheme"]
        if f"db_{self._scheme}" not in cfg.modules:
            raise KamailioTableError(
                f'module db_{self._scheme} is not loaded (write loadmodule "db_{self._scheme}.so")'
            )
        if self._scheme not in ("sqlite", "text"):
            raise _UncheckedError(f"whence drop-in does not read {self._scheme}")
        if self._scheme == "text":
            self._path = TEXT_FOLDER / found["path"]
            return
        if not found["path"].startswith("/"):
            raise KamailioTableError("the URL has no third slash; write sqlite:////path")
        workdir = cfg.setting("workdir", "wdir")
        home = option(options or (), "w") or (workdir[0] if workdir is not None else "/")
        self._path = Path(home) / found["path"].removeprefix("/")

    def read(self, table: str, columns: Sequence[str], lengths: Collection[str] = ()) -> list[Row]:
        read = (
            kamailio_tables.read_sqlite if self._scheme == "sqlite" else kamailio_tables.read_text
        )
        return read(self._path, table, columns, lengths)
