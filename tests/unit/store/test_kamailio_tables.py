"""Reading tables of Kamailio's databases: SQLite, and the text files of db_text."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.errors import KamailioTableError
from whence.store.kamailio_tables import read_sqlite, read_text

COLUMNS = ("l_uuid", "auth_password", "expires", "auth_proxy")
HEAD = "id(int,auto) l_uuid(string) auth_password(string) expires(int) auth_proxy(string,null)\n"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "k.sqlite"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "CREATE TABLE uacreg (l_uuid TEXT, auth_password TEXT, expires INT, auth_proxy TEXT)"
        )
        database.execute("INSERT INTO uacreg VALUES ('acme', 'hunter2', 60, NULL)")
    return file


def test_read_sqlite_gives_lengths_of_passwords(database: Path) -> None:
    assert read_sqlite(database, "uacreg", COLUMNS, ["auth_password"]) == [
        {"l_uuid": "acme", "auth_password": 7, "expires": 60, "auth_proxy": None}
    ]


def test_read_sqlite_writes_nothing(database: Path) -> None:
    before = database.read_bytes()
    database.chmod(0o400)
    read_sqlite(database, "uacreg", COLUMNS)
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == ["k.sqlite"]


@pytest.mark.parametrize(
    ("table", "columns", "cause"),
    [
        ("other", ("l_uuid",), "no such table: other"),
        ("uacreg", ("none",), "no such column: none"),
        ("uacreg; DROP TABLE uacreg", ("l_uuid",), "is no name of a table or column"),
    ],
)
def test_read_sqlite_names_what_is_missing(
    database: Path, table: str, columns: tuple[str, ...], cause: str
) -> None:
    with pytest.raises(KamailioTableError, match=cause):
        read_sqlite(database, table, columns)


def test_read_sqlite_makes_no_missing_file(tmp_path: Path) -> None:
    """Kamailio itself would make an empty one."""
    with pytest.raises(KamailioTableError, match="No such file or directory"):
        read_sqlite(tmp_path / "none.sqlite", "uacreg", COLUMNS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no database" * 100])
def test_read_sqlite_of_another_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "k.sqlite").write_bytes(content)
    with pytest.raises(KamailioTableError):
        read_sqlite(tmp_path / "k.sqlite", "uacreg", COLUMNS)


def test_read_of_a_folder_or_device_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero"), Path("/dev")):
        with pytest.raises(KamailioTableError, match="is no regular file"):
            read_sqlite(path, "uacreg", COLUMNS)
    with pytest.raises(KamailioTableError, match="is no regular file"):
        read_text(Path("/dev"), "zero", COLUMNS)


def test_read_text_unescapes_fields(tmp_path: Path) -> None:
    (tmp_path / "uacreg").write_text(
        f"{HEAD}1:acme:hunter2:60:sip\\:192.0.2.1\\:5060\n\n2:b:x:0:\n"
    )
    assert read_text(tmp_path, "uacreg", COLUMNS, ["auth_password"]) == [
        {"l_uuid": "acme", "auth_password": 7, "expires": "60", "auth_proxy": "sip:192.0.2.1:5060"},
        {"l_uuid": "b", "auth_password": 1, "expires": "0", "auth_proxy": None},
    ]


def test_read_text_refuses_an_empty_field_as_db_text(tmp_path: Path) -> None:
    (tmp_path / "uacreg").write_text(f"{HEAD}1:acme:hunter2:60:\n2:bell::60:\n")
    cause = r"line 3: auth_password is empty, .* auth_password\(string,null\) in the first line"
    with pytest.raises(KamailioTableError, match=cause):
        read_text(tmp_path, "uacreg", COLUMNS)


def test_read_text_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(KamailioTableError, match="No such file or directory"):
        read_text(tmp_path, "uacreg", COLUMNS)
    (tmp_path / "uacreg").write_text("l_uuid(string)\n")
    with pytest.raises(KamailioTableError, match="no such column: auth_password"):
        read_text(tmp_path, "uacreg", COLUMNS)


@given(st.binary(max_size=200))
def test_read_text_of_any_bytes_raises_only_its_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "text"
    folder.mkdir(exist_ok=True)
    (folder / "uacreg").write_bytes(HEAD.encode() + content)
    try:
        read_text(folder, "uacreg", COLUMNS)
    except KamailioTableError as error:
        assert str(error)
