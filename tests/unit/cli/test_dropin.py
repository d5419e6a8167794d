"""The command `whence drop-in`: what it writes, what it prints, and that it harms nothing."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.cli.command import whence
from tests.unit.cli.existing_kamailio import DEBIANS, UAC
from tests.unit.store import old_files
from whence.store.credentials_key import FILE as KEY_FILE
from whence.store.schema import VERSION

ME = "root" if os.geteuid() == 0 else str(os.environ.get("USER", ""))


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    """Debian's own configuration, with registrations by uac."""
    cfg = tmp_path / "kamailio.cfg"
    text = DEBIANS.read_text()
    cfg.write_text(text.replace('loadmodule "counters.so"\n', f'loadmodule "counters.so"\n{UAC}'))
    return cfg


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter; those of pytest are for one user alone."""
    folder = Path(tempfile.mkdtemp(prefix="whence-drop-in-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def drop_in(folder: Path, cfg: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    user = ("--user", ME) if ME == "root" else ()
    return whence("drop-in", folder, "--kamailio-cfg", cfg, *user, *more)


def follow(cfg: Path, advice: str) -> None:
    """Change the configuration as the command says, line by line."""
    lines = cfg.read_text().splitlines()
    include = re.search(r"after line (\d+): add (include_file .*)", advice)
    route = re.search(r"line (\d+): replace (route\(\w+\);) by: (.*)", advice)
    assert include is not None and route is not None, advice
    at = int(route[1]) - 1
    assert route[2] in lines[at]
    lines[at] = lines[at].replace(route[2], route[3])
    lines.insert(int(include[1]), include[2])
    cfg.write_text("\n".join(lines) + "\n")


def check_with_kamailio(cfg: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("kamailio") or "/usr/sbin/kamailio", "-c", "-f", cfg],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "state" / "directory.db")) as db:
        return db.execute(query).fetchall()


# The lines to add


def test_drop_in_lines_fit_debians_configuration(tmp_path: Path, cfg: Path) -> None:
    folder, before = tmp_path / "whence", cfg.read_text()
    done = drop_in(folder, cfg)
    assert (done.returncode, done.stderr) == (0, "")
    assert cfg.read_text() == before, "the file of the operator is not changed"
    assert "reg_retry_interval is 0" in done.stdout
    assert "hunter2" not in done.stdout
    follow(cfg, done.stdout)
    checked = check_with_kamailio(cfg)
    assert checked.returncode == 0, checked.stderr
    again = drop_in(folder, cfg)
    assert "all lines to add are present" in again.stdout


def test_drop_in_keeps_an_event_route_of_the_operator(tmp_path: Path, cfg: Path) -> None:
    with cfg.open("a") as file:
        file.write('event_route[tm:local-request] {\n\txlog("sent\\n");\n}\n')
    done = drop_in(tmp_path / "whence", cfg)
    assert "at the end of your event_route[tm:local-request]: add python_exec" in done.stdout
    follow(cfg, done.stdout)
    call = 'xlog("sent\\n");\n\tpython_exec("whence_local_request");'
    cfg.write_text(cfg.read_text().replace('xlog("sent\\n");', call))
    checked = check_with_kamailio(cfg)
    assert checked.returncode == 0, checked.stderr


def test_drop_in_files_are_for_one_user_alone(tmp_path: Path, cfg: Path) -> None:
    folder = tmp_path / "whence"
    assert drop_in(folder, cfg).returncode == 0
    modes = {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
    }
    assert modes == {
        "whence.cfg": 0o644,
        "drop-in.toml": 0o600,
        "state": 0o700,
        "state/directory.db": 0o600,
        "state/generation": 0o600,
    }


def test_drop_in_again_keeps_settings_and_addresses(tmp_path: Path, cfg: Path) -> None:
    folder = tmp_path / "whence"
    drop_in(folder, cfg)
    settings = folder / "drop-in.toml"
    settings.write_text('country = "44"\n')
    with closing(sqlite3.connect(folder / "state" / "directory.db")) as db, db:
        db.execute(
            "INSERT INTO trunk (id, token, aor_user, target, unmatched, fallback, enabled,"
            " credentials_fingerprint)"
            " VALUES ('acme', 'acme', 'u', 't', 'accept', 0, 1, '')"
        )
        db.execute(
            "INSERT INTO address VALUES ('acme', '192.0.2.1', 5060, 'udp', 0, 'learned', '', 1,"
            " 9e9, 0, '', '', '')"
        )
    assert drop_in(folder, cfg).returncode == 0
    assert settings.read_text() == 'country = "44"\n'
    assert rows(folder, "SELECT trunk_id FROM address") == [("acme",)]


def test_drop_in_migrates_an_older_directory(tmp_path: Path, cfg: Path) -> None:
    folder = tmp_path / "whence"
    drop_in(folder, cfg)
    file = folder / "state" / "directory.db"
    file.unlink()
    old_files.make(file, "4")
    assert drop_in(folder, cfg).returncode == 0
    assert rows(folder, "PRAGMA user_version") == [(VERSION,)]
    assert ("acme", "192.0.2.1") in rows(folder, "SELECT trunk_id, ip FROM address")


def test_drop_in_stores_no_credentials(tmp_path: Path, cfg: Path) -> None:
    """Calls out are the operator's own routing there, and `uac` has the passwords."""
    folder = tmp_path / "whence"
    assert drop_in(folder, cfg).returncode == 0
    assert not (folder / "state" / KEY_FILE).exists()
    assert rows(folder, "SELECT trunk_id FROM outbound_trunk UNION SELECT trunk_id FROM home") == []


# Numbers


def test_drop_in_installs_the_numbers_each_time(tmp_path: Path, cfg: Path) -> None:
    folder = tmp_path / "whence"
    drop_in(folder, cfg)
    generation = (folder / "state" / "generation").read_bytes()
    settings = folder / "drop-in.toml"
    settings.write_text('country = "44"\n[numbers]\nacme = ["+442071234567", "+4420799999*"]\n')
    done = drop_in(folder, cfg)
    assert "the numbers of 1 trunk," in done.stdout
    spellings = {
        spelling for (spelling,) in rows(folder, "SELECT spelling FROM number WHERE NOT of_account")
    }
    assert {"+442071234567", "02071234567", "+4420799999*"} <= spellings
    assert rows(folder, "SELECT id, token, enabled FROM trunk") == [("acme", "acme", 1)]
    assert (folder / "state" / "generation").read_bytes() != generation


def test_drop_in_faulty_file_keeps_the_old_numbers(tmp_path: Path, cfg: Path) -> None:
    folder = tmp_path / "whence"
    drop_in(folder, cfg)
    settings = folder / "drop-in.toml"
    settings.write_text('[numbers]\nacme = ["+442071234567"]\n')
    drop_in(folder, cfg)
    installed = rows(folder, "SELECT * FROM number")
    assert installed != []
    settings.write_text('countri = "44"\n[numbers]\nacme = ["abc"]\n')
    cfg.write_text(cfg.read_text().replace('loadmodule "uac.so"\n', ""))
    done = drop_in(folder, cfg)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "kamailio.cfg", "drop-in.toml", "drop-in.toml",
    ]  # fmt: skip
    assert rows(folder, "SELECT * FROM number") == installed


# Refusals


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "kamailio.cfg: cannot be read: No such file or directory"),
        ("", "kamailio.cfg: is no kamailio.cfg: it loads no module"),
        ('include_file "kamailio.cfg"\n', "kamailio.cfg: is no kamailio.cfg"),
        ('loadmodule "tm.so"\nloadmodule "sl.so"\nloadmodule "pv.so"\n', "module uac is not load"),
    ],
)
def test_drop_in_unfit_file_ends_with_2_and_writes_nothing(
    tmp_path: Path, text: str | None, message: str
) -> None:
    cfg = tmp_path / "kamailio.cfg"
    if text is not None:
        cfg.write_text(text)
    done = drop_in(tmp_path / "whence", cfg)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (tmp_path / "whence").exists()


@pytest.mark.parametrize("name", ["with space", 'with"quote', "x" * 120, "with;semicolon"])
def test_drop_in_folder_unfit_for_a_kamailio_cfg_is_refused(
    tmp_path: Path, cfg: Path, name: str
) -> None:
    done = drop_in(tmp_path / name, cfg)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / name).exists()


def test_drop_in_folder_that_cannot_be_made_ends_with_1(tmp_path: Path, cfg: Path) -> None:
    (tmp_path / "file").touch()
    done = drop_in(tmp_path / "file" / "whence", cfg)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("whence: ")
    assert len(done.stderr.splitlines()) == 1


def test_drop_in_link_instead_of_state_is_not_followed(tmp_path: Path, cfg: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "whence").mkdir()
    (tmp_path / "whence" / "state").symlink_to(tmp_path / "elsewhere")
    done = drop_in(tmp_path / "whence", cfg)
    assert done.returncode == 1
    assert "is no folder; remove it" in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o755


def test_drop_in_user_that_does_not_exist_ends_with_1(tmp_path: Path, cfg: Path) -> None:
    done = whence("drop-in", tmp_path / "w", "--kamailio-cfg", cfg, "--user", "nobody-of-this-name")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no user nobody-of-this-name" in done.stderr


def test_drop_in_old_kamailio_ends_with_1(tmp_path: Path, cfg: Path) -> None:
    other = tmp_path / "bin" / "kamailio"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho 'version: kamailio 4.4.0 (x86_64/linux)'\n")
    other.chmod(0o755)
    path = f"{other.parent}:{os.environ['PATH']}"
    done = whence("drop-in", tmp_path / "w", "--kamailio-cfg", cfg, PATH=path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "this Kamailio is 4.4, and Whence needs 5.6" in done.stderr


def test_drop_in_link_of_kamailios_user_cannot_redirect_root(open_folder: Path, cfg: Path) -> None:
    """In a folder that another user may write, root opens files as that user."""
    folder, target = open_folder / "whence", open_folder / "roots"
    assert drop_in(folder, cfg).returncode == 0
    target.write_text("")
    target.chmod(0o644)
    state = folder / "state"
    if os.geteuid() != 0:
        done = whence("drop-in", folder, "--kamailio-cfg", cfg, "--user", "root")
        assert (done.returncode, "belongs to user" in done.stderr) == (1, True)
        return
    (state / "directory.db").unlink()
    (state / "directory.db").symlink_to(target)
    shutil.chown(state, "nobody")
    done = whence("drop-in", folder, "--kamailio-cfg", cfg, "--user", "nobody")
    assert done.returncode == 1
    assert "directory.db cannot be opened" in done.stderr
    assert (target.read_text(), stat.S_IMODE(target.stat().st_mode)) == ("", 0o644)
    assert target.stat().st_uid == 0


def test_drop_in_gives_roots_directory_to_kamailios_user(open_folder: Path, cfg: Path) -> None:
    folder = open_folder / "whence"
    assert drop_in(folder, cfg).returncode == 0
    user = "nobody" if os.geteuid() == 0 else ME
    assert whence("drop-in", folder, "--kamailio-cfg", cfg, "--user", user).returncode == 0
    owners = {path.owner() for path in (folder / "state", *(folder / "state").iterdir())}
    assert owners == {user}
