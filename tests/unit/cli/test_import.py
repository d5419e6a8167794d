"""`whence import`: files in, a settings file out."""

from __future__ import annotations

import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.cli.command import whence
from tests.unit.importers.samples import FOLDER, KINDS


@pytest.mark.parametrize("name", KINDS)
def test_import_of_each_format_passes_the_check(tmp_path: Path, name: str) -> None:
    file = tmp_path / "whence.toml"
    done = whence("import", KINDS[name], FOLDER / name, "-o", file)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{FOLDER / name}:" in done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    checked = whence("check", "-c", file)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_import_prints_the_file_and_notes_apart() -> None:
    done = whence("import", "csv", FOLDER / "trunks.csv")
    assert done.returncode == 0
    assert len(tomllib.loads(done.stdout)["trunk"]) == 3
    assert done.stderr.splitlines()[-1] == "3 trunks, 0 users, 2 comments, 9 notes"
    for secret in ("secret3", "spaced", "again"):
        assert secret not in done.stderr


def test_import_reads_an_sqlite_table(tmp_path: Path) -> None:
    database = tmp_path / "kamailio.sqlite"
    columns = "l_uuid, l_username, l_domain, r_username, r_domain, auth_username, auth_password"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"CREATE TABLE accounts ({columns}, expires INTEGER, realm)")
        row = ("acme", "alice", "here.example", "acct1", "provider.example", "acct1", "a'b\"c")
        values = (*row, 600, None)
        connection.execute("INSERT INTO accounts VALUES (?,?,?,?,?,?,?,?,?)", values)
        connection.commit()
    done = whence("import", "uacreg", database, "--table", "accounts")
    assert done.returncode == 0
    (trunk,) = tomllib.loads(done.stdout)["trunk"]
    assert (trunk["password"], trunk["expires"]) == ("a'b\"c", 600)
    missing = whence("import", "uacreg", database)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == f"{database}: table uacreg: no such table: uacreg\n"


def test_import_never_replaces_a_file_without_force(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    file.write_text("precious")
    words: list[str | Path] = ["import", "csv", FOLDER / "trunks.csv", "-o", file]
    done = whence(*words)
    assert done.returncode == 1
    assert f"{file} exists already" in done.stderr
    assert file.read_text() == "precious"
    assert whence(*words, "--force").returncode == 0
    assert "trunk" in tomllib.loads(file.read_text())
    assert [one.name for one in tmp_path.iterdir()] == ["whence.toml"]


def test_import_does_not_follow_a_link(tmp_path: Path) -> None:
    other, link = tmp_path / "other", tmp_path / "whence.toml"
    other.write_text("precious")
    link.symlink_to(other)
    assert whence("import", "csv", FOLDER / "trunks.csv", "-o", link, "--force").returncode == 0
    assert other.read_text() == "precious"
    assert not link.is_symlink()


def test_import_writes_passwords_into_files(tmp_path: Path) -> None:
    file, secrets = tmp_path / "whence.toml", tmp_path / "secrets"
    words: list[str | Path] = [
        "import",
        "csv",
        FOLDER / "trunks.csv",
        "-o",
        file,
        "--secrets",
        secrets,
    ]
    assert whence(*words).returncode == 0
    acme, spaced, *_ = tomllib.loads(file.read_text())["trunk"]
    password = Path(acme["password_file"])
    assert password == secrets / "acme.password"
    assert password.read_text() == 'pa;ss "word"\n'
    assert (secrets.stat().st_mode & 0o777, password.stat().st_mode & 0o777) == (0o700, 0o600)
    assert spaced["password"] == " spaced "  # a file cannot keep the blanks
    checked = whence("check", "-c", file)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_import_for_an_existing_file_can_be_appended(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    words: list[str | Path] = ["import", "csv", FOLDER / "trunks.csv"]
    assert whence(*words, "-o", file).returncode == 0
    done = whence(*words, "-c", file)
    file.write_text(file.read_text() + done.stdout)
    checked = whence("check", "-c", file)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "6 trunks" in checked.stdout


def test_import_reads_paths_of_the_existing_file_beside_it(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    file = home / "whence.toml"
    file.write_text('[agent]\nwebhook_token_file = "token"\n')
    (home / "token").write_text("word\n")
    (home / "token").chmod(0o600)
    words: list[str | Path] = ["-c", file, "-o", elsewhere / "trunks.toml"]
    done = whence("import", "csv", FOLDER / "trunks.csv", *words)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["sip.conf", FOLDER / "pjsip.conf"], 2),
        (["pjsip"], 2),
        (["pjsip", FOLDER / "missing"], 2),
        (["pjsip", FOLDER], 2),
        (["pjsip", "/dev/zero"], 2),
        (["freeswitch", FOLDER / "pjsip.conf"], 2),
        (["csv", FOLDER / "trunks.csv", "-c", FOLDER / "missing"], 2),
        (["csv", FOLDER / "trunks.csv", "-o", FOLDER / "missing" / "x"], 1),
    ],
)
def test_import_that_cannot_work_is_one_sentence(words: list[str | Path], status: int) -> None:
    done = whence("import", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert "Traceback" not in done.stderr


def test_import_of_latin_1_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "trunks.csv"
    file.write_bytes(b"registrar,user,password\n\nsip:a.example,u,gr\xfc\xdfe\n")
    done = whence("import", "csv", file)
    assert f"{file}:3: is not UTF-8; the file is read as Latin-1" in done.stderr
    assert tomllib.loads(done.stdout)["trunk"][0]["password"] == "grüße"
