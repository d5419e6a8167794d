"""A file of settings that another user may write is refused, and so is each file that it names."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testkit.certificates import Authority
from tests.unit.agent.monitoring.reports import record
from tests.unit.cli.command import whence
from tests.unit.cli.existing_kamailio import DEBIANS, UAC
from whence.agent.config.load import load
from whence.agent.config.models import Config
from whence.agent.config.to_core import LoadedSettings
from whence.agent.dropin.config import load as load_drop_in
from whence.agent.monitoring.call_log import CallsFile
from whence.agent.monitoring.call_record import CallRecord
from whence.agent.provisioning.reload import Reload
from whence.core.settings import NodeSettings
from whence.errors import ConfigError
from whence.ipc import decisions
from whence.trust.settings import load_trusted

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can make what belongs to another user"
)

NOBODY = 65534
TRUNK = """
[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1;transport=tls"
user = "acct1"
password_file = "acme.password"
target = "sip:100@192.0.2.9;transport=tls"
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of root that others can enter."""
    umask = os.umask(0o022)
    home = Path(tempfile.mkdtemp(prefix="whence-files-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home)
    os.umask(umask)


def settings_file(home: Path, text: str = "") -> Path:
    """A settings file that names each kind of file; all of them are valid."""
    authority = Authority("authority", home)
    own = authority.certificate("DNS:edge.example")
    for name in ("acme.password", "token"):
        (home / name).write_text("hunter2\n")
        (home / name).chmod(0o600)
    Path(own.key).chmod(0o600)
    shutil.copy(own.key, home / "key.pem")
    shutil.copy(own.certificate, home / "cert.pem")
    shutil.copy(authority.file, home / "ca.pem")
    (home / "calls").mkdir()
    file = home / "whence.toml"
    file.write_text(
        '[edge]\nlisten = ["tls:127.254.1.1:5061"]\nagent_socket = "udp:127.254.1.1:5062"\n'
        '[edge.tls]\ncertificate = "cert.pem"\nkey = "key.pem"\nca = "ca.pem"\n'
        f'[agent]\nstate_dir = "{home}/state"\napi_listen = "127.254.1.1:8088"\n'
        'call_log_file = "calls/calls.json"\n'
        'webhook = "https://hooks.example/x"\nwebhook_token_file = "token"\n' + text + TRUNK
    )
    file.chmod(0o600)
    return file


Change = Callable[[Path], str]


def anothers(path: Path) -> str:
    os.chown(path, NOBODY, NOBODY)
    return f"{path} belongs to user nobody"


def open_to_all(path: Path) -> str:
    path.chmod(0o666)
    return f"{path} may be written by other users (mode 0666)"


def open_to_a_group(path: Path) -> str:
    path.chmod(0o660)
    return f"{path} may be written by other users (mode 0660)"


CHANGES: list[Change] = [anothers, open_to_all, open_to_a_group]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("whence.toml", ""),
        ("acme.password", "whence.toml: password_file: "),
        ("token", "whence.toml: agent: webhook_token_file: "),
        ("cert.pem", "whence.toml: edge: tls: certificate: "),
        ("key.pem", "whence.toml: edge: tls: key: "),
        ("ca.pem", "whence.toml: edge: tls: ca: "),
        ("calls/calls.json", "whence.toml: agent: call_log_file: "),
    ],
)
def test_load_trusted_file_others_write_is_refused(
    home: Path, name: str, key: str, change: Change
) -> None:
    file = settings_file(home)
    (home / "calls" / "calls.json").touch(0o600)
    assert load_trusted(file, load)[1] == []
    reason = change(home / name)
    with pytest.raises(ConfigError) as refused:
        load_trusted(file, load)
    (fault,) = refused.value.faults
    assert fault.startswith(key + reason)


@pytest.mark.parametrize("command", ["run", "agent", "edge-config", "check"])
@pytest.mark.parametrize("change", [open_to_all, open_to_a_group])
def test_command_file_others_write_ends_with_2(home: Path, command: str, change: Change) -> None:
    file = settings_file(home)
    reason = change(file)
    done = whence(command, "-c", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(reason)
    assert not (home / "state").exists()


@pytest.mark.parametrize("command", ["run", "agent"])
def test_start_on_anothers_file_ends_with_2(home: Path, command: str) -> None:
    file = settings_file(home)
    reason = anothers(file)
    done = whence(command, "-c", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(reason)
    assert f"chown root:root {file} && chmod 600 {file}" in done.stderr
    assert not (home / "state").exists()


def test_check_of_anothers_file_is_no_fault(home: Path) -> None:
    """Root checks the file of the user who runs Whence."""
    file = settings_file(home)
    for path in (*home.iterdir(), home / "calls"):
        os.chown(path, NOBODY, NOBODY)
    done = whence("check", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning" not in done.stdout
    assert whence("edge-config", "-c", file).returncode == 0


def test_load_trusted_names_all_faults_at_once(home: Path) -> None:
    file = settings_file(home)
    open_to_all(home / "acme.password")
    anothers(home / "ca.pem")
    with pytest.raises(ConfigError) as refused:
        load_trusted(file, load)
    assert len(refused.value.faults) == 2


@pytest.mark.parametrize("sticky", [False, True])
def test_load_trusted_folder_others_write_is_refused(home: Path, sticky: bool) -> None:
    (home / "open").mkdir()
    file = home / "open" / "whence.toml"
    settings_file(home).rename(file)
    for name in ("acme.password", "token", "cert.pem", "key.pem", "ca.pem", "calls"):
        (home / name).rename(home / "open" / name)
    (home / "open").chmod(0o1777 if sticky else 0o777)
    if sticky:  # no other user can replace files of root there
        assert load_trusted(file, load)[1] == []
        return
    with pytest.raises(ConfigError, match=f"^{home}/open may be written by other users"):
        load_trusted(file, load)


def test_load_trusted_anothers_link_is_refused(home: Path) -> None:
    real = settings_file(home)
    (home / "sticky").mkdir()
    (home / "sticky").chmod(0o1777)
    link = home / "sticky" / "whence.toml"
    link.symlink_to(real)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(ConfigError, match=f"^{link} is a symbolic link"):
        load_trusted(link, load)


def test_load_trusted_roots_link_is_followed(home: Path) -> None:
    """As certbot has its certificates: live/… leads to archive/…"""
    file = settings_file(home)
    (home / "key.pem").rename(home / "key1.pem")
    (home / "key.pem").symlink_to("key1.pem")
    assert load_trusted(file, load)[1] == []
    open_to_all(home / "key1.pem")
    with pytest.raises(ConfigError, match=r"edge: tls: key: .*mode 0666"):
        load_trusted(file, load)


@pytest.mark.parametrize("name", ["acme.password", "token", "key.pem"])
def test_check_warns_of_a_secret_that_all_may_read(home: Path, name: str) -> None:
    file = settings_file(home)
    (home / name).chmod(0o644)
    done = whence("check", "-c", file)
    assert done.returncode == 0
    assert (
        f"{home / name} holds a secret, and all users may read it (mode 0644); "
        f"chmod o-r {home / name}"
    ) in done.stdout
    assert "hunter2" not in done.stdout
    home.chmod(0o700)  # no other user can enter now
    assert "holds a secret" not in whence("check", "-c", file).stdout


def test_check_warns_of_passwords_that_all_may_read(home: Path) -> None:
    file = settings_file(home)
    file.chmod(0o644)
    assert "holds a secret" not in whence("check", "-c", file).stdout
    file.write_text(file.read_text().replace('password_file = "acme.password"', 'password = "x"'))
    assert f"{file} holds a secret" in whence("check", "-c", file).stdout


def test_load_trusted_file_removed_meanwhile_is_refused(home: Path) -> None:
    """The file of another user exists only while it is read."""
    file = settings_file(home)
    hidden = home / "hidden"
    file.rename(hidden)

    def read(path: Path) -> Config:
        hidden.rename(path)
        settings = load(path)
        path.rename(hidden)
        return settings

    with pytest.raises(ConfigError, match=r"whence\.toml cannot be checked"):
        load_trusted(file, read)


@pytest.mark.parametrize("command", ["run", "agent"])
def test_start_on_a_fifo_ends_with_2(home: Path, command: str) -> None:
    file = home / "whence.toml"
    os.mkfifo(file, 0o600)
    done = whence(command, "-c", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{file} is not a regular file; ")


def test_reload_file_others_write_changes_nothing(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = settings_file(home)
    applied: list[NodeSettings] = []
    reload = Reload(file, LoadedSettings.of(load(file)), applied.append)
    reason = open_to_all(file)
    with pytest.raises(ConfigError):
        reload()
    assert applied == []
    assert f"not reloaded: {reason}" in caplog.text
    file.chmod(0o600)
    reload()
    assert len(applied) == 1


def test_drop_in_settings_others_write_are_refused(home: Path) -> None:
    file = home / "drop-in.toml"
    file.write_text("")
    assert load_trusted(file, load_drop_in)[1] == []
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="mode 0666"):
        load_trusted(file, load_drop_in)


# The call log file.


@pytest.mark.parametrize("lay", ["link", "hard link", "fifo", "another's"])
def test_calls_file_that_is_anothers_is_not_written(
    home: Path, lay: str, caplog: pytest.LogCaptureFixture
) -> None:
    victim, file = home / "victim", home / "calls.json"
    victim.write_text("content of root\n")
    if lay == "link":
        file.symlink_to(victim)
    elif lay == "hard link":
        file.hardlink_to(victim)
    elif lay == "fifo":
        os.mkfifo(file)
    else:
        file.touch()
        os.chown(file, NOBODY, NOBODY)
    calls = CallsFile(file)
    calls.write(CallRecord(decisions.read(record())))
    assert calls.errors == 1
    assert f"{file}: calls are not written: {file} " in caplog.text
    assert victim.read_text() == "content of root\n"
    file.unlink()
    calls.write(CallRecord(decisions.read(record())))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


# Code.


def test_run_imports_nothing_from_the_current_directory(home: Path) -> None:
    """Without -P, the Python of the agent would import from the folder that it starts in."""
    (home / "whence").mkdir()
    for file in (home / "whence" / "__init__.py", home / "asyncio.py"):
        file.write_text(f"open({str(home / 'imported')!r}, 'w')\n")
    script = (
        "import subprocess; from whence.cli.service.supervisor import _whence;"
        "print(subprocess.run([*_whence(), '--help'], capture_output=True, text=True).returncode)"
    )
    argv = [sys.executable, "-P", "-c", script]
    done = subprocess.run(argv, cwd=home, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert not (home / "imported").exists()


# The folder of a drop-in.


@pytest.fixture
def cfg(home: Path) -> Path:
    cfg = home / "kamailio.cfg"
    text = DEBIANS.read_text()
    cfg.write_text(text.replace('loadmodule "counters.so"\n', f'loadmodule "counters.so"\n{UAC}'))
    return cfg


def drop_in(folder: Path, cfg: Path, user: str) -> subprocess.CompletedProcess[str]:
    return whence("drop-in", folder, "--kamailio-cfg", cfg, "--user", user)


@pytest.mark.parametrize("how", ["anothers", "open", "below", "link"])
def test_drop_in_folder_others_write_is_refused(home: Path, cfg: Path, how: str) -> None:
    above = home / "above"
    folder = above / "whence"
    folder.mkdir(parents=True)
    if how == "anothers":
        os.chown(folder, 1, 1)
    elif how == "open":
        folder.chmod(0o777)
    elif how == "below":
        os.chown(above, NOBODY, NOBODY)
    else:
        folder.rmdir()
        (home / "vault").mkdir()
        folder.symlink_to(home / "vault")
    before = sorted(home.rglob("*"))
    done = drop_in(folder, cfg, "nobody" if how == "anothers" else "root")
    assert (done.returncode, done.stdout) == (1, "")
    (message,) = done.stderr.splitlines()
    assert message.startswith(f"whence: {above if how == 'below' else folder} ")
    assert sorted(home.rglob("*")) == before


def test_drop_in_folder_of_kamailios_user_is_written_as_it(home: Path, cfg: Path) -> None:
    folder = home / "whence"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    assert drop_in(folder, cfg, "nobody").returncode == 0
    owners = {path.owner() for path in (folder, *folder.rglob("*"))}
    assert owners == {"nobody"}
    assert drop_in(folder, cfg, "nobody").returncode == 0


def test_drop_in_hard_link_in_roots_state_is_not_given_away(home: Path, cfg: Path) -> None:
    """Root made the state directory, and others could write to it for a while."""
    folder, victim = home / "whence", home / "victim"
    assert drop_in(folder, cfg, "root").returncode == 0
    victim.write_text("")
    (folder / "state" / "more\x1b[2J").hardlink_to(victim)
    done = drop_in(folder, cfg, "nobody")
    assert done.returncode == 1
    assert f"{folder / 'state' / 'more'}\\x1b[2J has 2 names (hard links)" in done.stderr
    assert victim.stat().st_uid == 0
