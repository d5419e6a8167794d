"""A state directory that another user may change is refused, and no file outside it changes."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.cli.command import whence
from whence.agent.runtime.state_directory import STATE_FILES, become_owner, prepare_state
from whence.errors import OperatorError, UntrustedError
from whence.ipc.decisions import SOCKET_FILE
from whence.trust.paths import directory, open_file

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can make what belongs to another user"
)

NOBODY = 65534
CONTENT = b"content of root\n"


@dataclass
class Place:
    """A folder of root that others can enter, with a file and a folder of root."""

    home: Path
    umask: int

    @property
    def victim(self) -> Path:
        return self.home / "victim"

    @property
    def vault(self) -> Path:
        return self.home / "vault"

    @property
    def file(self) -> Path:
        return self.home / "whence.toml"

    @property
    def state(self) -> Path:
        return self.home / "state"

    def configure(self, state: Path) -> None:
        self.file.write_text(
            '[edge]\nlisten = ["udp:127.254.1.1:5060"]\nagent_socket = "udp:127.254.1.1:5062"\n'
            f'[agent]\nstate_dir = "{state}"\napi_listen = "127.254.1.1:8088"\n'
        )

    def snapshot(self) -> dict[str, tuple[object, ...]]:
        """Return what an attack could change: contents, owners, modes, names below the folder."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.home.rglob("*")):
            now = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(now.st_mode) else b""
            found[str(path)] = (now.st_mode, now.st_uid, now.st_gid, now.st_ino, content)
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    umask = os.umask(0o022)
    home = Path(tempfile.mkdtemp(prefix="whence-state-"))
    home.chmod(0o755)
    place = Place(home, umask)
    place.victim.write_bytes(CONTENT)
    place.victim.chmod(0o640)
    place.vault.mkdir(0o700)
    (place.vault / "directory.db").write_bytes(CONTENT)
    yield place
    shutil.rmtree(home)
    os.umask(umask)


def as_unprivileged_user(*program: str) -> None:
    """Run a program as another user."""
    argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--", *program]
    subprocess.run(argv, check=True, timeout=30, cwd="/")


def nobodys(path: Path, mode: int = 0o755) -> Path:
    path.mkdir()
    path.chmod(mode)
    os.chown(path, NOBODY, NOBODY)
    return path


def roots(path: Path, mode: int) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


def links(place: Place, state: Path, *names: str) -> None:
    """Make links, as another user, to root's file under names that Whence writes."""
    for name in names or ("directory.db", "kamailio.cfg", "generation", "agent.lock", "run.lock"):
        as_unprivileged_user("ln", "-s", str(place.victim), str(state / name))


# Each attack returns the state directory, and the words that the refusal must have.

Attack = Callable[[Place], tuple[Path, list[str]]]


def anothers(place: Place) -> tuple[Path, list[str]]:
    state = nobodys(place.state, 0o700)
    links(place, state)
    return state, ["belongs to user nobody", f"chown root:root {state}", f"chmod 700 {state}"]


def anothers_and_empty(place: Place) -> tuple[Path, list[str]]:
    state = nobodys(place.state)
    return state, ["belongs to user nobody", f"chown root:root {state}"]


def writable(mode: int) -> Attack:
    def attack(place: Place) -> tuple[Path, list[str]]:
        state = roots(place.state, mode)
        if mode & 0o003 == 0o003:
            links(place, state)
        return state, [f"mode {mode:04o}", f"chmod 700 {state}"]

    attack.__name__ = f"mode_{mode:04o}"
    return attack


def below_anothers(place: Place) -> tuple[Path, list[str]]:
    above = nobodys(place.home / "above")
    roots(above / "state", 0o700)
    return above / "state", [str(above), "belongs to user nobody", f"chown root:root {above}"]


def far_below_anothers(place: Place) -> tuple[Path, list[str]]:
    above = nobodys(place.home / "above")
    roots(above / "between", 0o755)
    return above / "between" / "state", [str(above), "belongs to user nobody"]


def missing_below_anothers(place: Place) -> tuple[Path, list[str]]:
    above = nobodys(place.home / "above")
    return above / "a" / "state", [str(above), "belongs to user nobody"]


def below_writable(mode: int) -> Attack:
    def attack(place: Place) -> tuple[Path, list[str]]:
        above = roots(place.home / "above", mode)
        roots(above / "state", 0o700)
        return above / "state", [str(above), f"mode {mode:04o}", f"chmod go-w {above}"]

    attack.__name__ = f"below_mode_{mode:04o}"
    return attack


def anothers_in_sticky(place: Place) -> tuple[Path, list[str]]:
    above = roots(place.home / "above", 0o1777)
    as_unprivileged_user("mkdir", "-m", "0700", str(above / "state"))
    return above / "state", ["belongs to user nobody"]


def link_in_sticky(place: Place) -> tuple[Path, list[str]]:
    above = roots(place.home / "above", 0o1777)
    as_unprivileged_user("ln", "-s", str(place.vault), str(above / "state"))
    return above / "state", [f"{above / 'state'} is a symbolic link", "remove it"]


def link_above_in_sticky(place: Place) -> tuple[Path, list[str]]:
    above = roots(place.home / "above", 0o1777)
    as_unprivileged_user("ln", "-s", str(place.home), str(above / "link"))
    return above / "link" / "vault", [f"{above / 'link'} is a symbolic link"]


def roots_link_in_sticky(place: Place) -> tuple[Path, list[str]]:
    above = roots(place.home / "above", 0o1777)
    (above / "link").symlink_to(place.home)
    return above / "link" / "vault", [f"{above / 'link'} is a symbolic link"]


def link_to_anothers(place: Place) -> tuple[Path, list[str]]:
    nobodys(place.home / "theirs")
    place.state.symlink_to(place.home / "theirs")
    return place.state, ["is a symbolic link"]


def link_to_roots(place: Place) -> tuple[Path, list[str]]:
    place.state.symlink_to(place.vault)
    return place.state, ["is a symbolic link", "write the path to which it leads"]


def anothers_link_left_behind(place: Place) -> tuple[Path, list[str]]:
    """Another user made the link while the folder was open to all."""
    above = roots(place.home / "above", 0o777)
    as_unprivileged_user("ln", "-s", str(place.home), str(above / "link"))
    above.chmod(0o755)
    return above / "link" / "vault", [f"{above / 'link'} belongs to user nobody"]


ATTACKS: list[Attack] = [
    anothers,
    anothers_and_empty,
    writable(0o777),
    writable(0o770),
    writable(0o722),
    writable(0o1777),
    below_anothers,
    far_below_anothers,
    missing_below_anothers,
    below_writable(0o777),
    below_writable(0o775),
    anothers_in_sticky,
    link_in_sticky,
    link_above_in_sticky,
    roots_link_in_sticky,
    link_to_anothers,
    link_to_roots,
    anothers_link_left_behind,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.__name__)
def test_prepare_state_untrusted_directory_is_refused(place: Place, attack: Attack) -> None:
    state, named = attack(place)
    before = place.snapshot()
    with pytest.raises(OperatorError) as refused:
        prepare_state(state)
    message = str(refused.value)
    assert message.startswith(f"the state directory {state} ")
    assert [part for part in named if part not in message] == []
    assert "\n" not in message
    assert place.snapshot() == before


@pytest.mark.parametrize("command", ["run", "agent"])
@pytest.mark.parametrize(
    "attack",
    [
        anothers,
        writable(0o777),
        below_anothers,
        below_writable(0o777),
        link_in_sticky,
        missing_below_anothers,
    ],
    ids=lambda one: one.__name__,
)
def test_start_untrusted_state_directory_is_refused(
    place: Place, command: str, attack: Attack
) -> None:
    state, named = attack(place)
    place.configure(state)
    before = place.snapshot()
    done = whence(command, "-c", place.file)
    assert (done.returncode, done.stdout) == (1, "")
    (message,) = done.stderr.splitlines()
    assert message.startswith(f"whence: the state directory {state} ")
    assert [part for part in named if part not in message] == []
    assert place.snapshot() == before


@pytest.mark.parametrize(
    "attack",
    [writable(0o777), below_writable(0o777), link_in_sticky, link_to_anothers],
    ids=lambda one: one.__name__,
)
def test_edge_config_state_anybody_may_change_is_refused(place: Place, attack: Attack) -> None:
    state, named = attack(place)
    place.configure(state)
    before = place.snapshot()
    done = whence("edge-config", "-c", place.file)
    assert (done.returncode, done.stdout) == (1, "")
    assert [part for part in named if part not in done.stderr] == []
    checked = whence("check", "-c", place.file)
    assert checked.returncode == 0
    assert f"warning: the state directory {state} " in checked.stdout
    assert place.snapshot() == before


def test_edge_config_warns_of_another_users_state(place: Place) -> None:
    """Kamailio and the agent may both run as that user; root only writes the configuration."""
    nobodys(place.state, 0o700)
    place.configure(place.state)
    done = whence("edge-config", "-c", place.file)
    assert done.returncode == 0
    assert "request_route" in done.stdout
    assert f"{place.state} belongs to user nobody; run Kamailio and the agent as" in done.stderr


# Files in a state directory of ours, which may have been open to all for a while.


def link(place: Place, file: Path) -> str:
    file.symlink_to(place.victim)
    return "is a symbolic link"


def dangling(place: Place, file: Path) -> str:
    file.symlink_to(place.home / "made-by-root")
    return "is a symbolic link"


def hard_link(place: Place, file: Path) -> str:
    file.hardlink_to(place.victim)
    return "is not a socket" if file.name == SOCKET_FILE else "has 2 names (hard links)"


def fifo(place: Place, file: Path) -> str:
    os.mkfifo(file, 0o600)
    return "is not a "


def device(place: Place, file: Path) -> str:
    os.mknod(file, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    return "is not a "


def anothers_file(place: Place, file: Path) -> str:
    if file.name == SOCKET_FILE:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as theirs:
            theirs.bind(str(file))
    else:
        file.touch(0o600)
    os.chown(file, NOBODY, NOBODY)
    return "belongs to user nobody"


def open_to_all(place: Place, file: Path) -> str:
    if file.name == SOCKET_FILE:
        file.touch()
        return "is not a socket"
    file.touch()
    file.chmod(0o666)
    return "may be written by other users (mode 0666)"


@pytest.mark.parametrize("name", [*STATE_FILES, SOCKET_FILE])
@pytest.mark.parametrize(
    "lay", [link, dangling, hard_link, fifo, device, anothers_file, open_to_all]
)
def test_prepare_state_untrusted_file_is_refused(
    place: Place, name: str, lay: Callable[[Place, Path], str]
) -> None:
    roots(place.state, 0o700)
    why = lay(place, place.state / name)
    before = place.snapshot()
    with pytest.raises(OperatorError) as refused:
        prepare_state(place.state)
    assert str(refused.value).startswith(f"{place.state / name} cannot be written: it {why}")
    assert place.snapshot() == before


@pytest.mark.parametrize("command", ["run", "agent"])
@pytest.mark.parametrize(
    ("name", "lay"),
    [
        ("directory.db", link),
        ("directory.db-wal", dangling),
        ("location.db-journal", link),
        ("kamailio.cfg", hard_link),
        ("tls.cfg", link),
        ("generation", fifo),
        ("agent.lock", link),
        ("run.lock", link),
        (SOCKET_FILE, link),
    ],
)
def test_start_untrusted_file_is_refused(
    place: Place, command: str, name: str, lay: Callable[[Place, Path], str]
) -> None:
    roots(place.state, 0o700)
    why = lay(place, place.state / name)
    place.configure(place.state)
    before = place.snapshot()
    done = whence(command, "-c", place.file)
    assert done.returncode == 1
    (message,) = done.stderr.splitlines()
    assert message.startswith(f"whence: {place.state / name} cannot be written: it {why}")
    assert place.snapshot() == before


# The documented uses are accepted.


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750])
def test_prepare_state_own_directory_is_accepted(place: Place, mode: int) -> None:
    roots(place.state, mode)
    prepare_state(place.state)
    assert stat.S_IMODE(place.state.stat().st_mode) == mode


def test_prepare_state_missing_parents_are_made_private(place: Place) -> None:
    state = roots(place.home / "sticky", 0o1777) / "a" / "b"
    prepare_state(state)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (state, state.parent)}
    assert set(modes.values()) == {0o700}


def test_prepare_state_roots_link_on_the_way_is_followed(place: Place) -> None:
    roots(place.home / "disk", 0o755)
    (place.home / "lib").symlink_to("disk")
    (place.home / "var").symlink_to(place.home)
    prepare_state(place.home / "var" / "lib" / "state")
    assert (place.home / "disk" / "state").is_dir()


def test_prepare_state_links_in_a_circle_are_refused(place: Place) -> None:
    (place.home / "a").symlink_to("b")
    (place.home / "b").symlink_to("a")
    with pytest.raises(OperatorError, match="Too many levels of symbolic links"):
        prepare_state(place.home / "a" / "state")


def in_child(uid: int, do: Callable[[], None]) -> int:
    """Call a function as another user, in a child process; return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            do()
            status = 0
        except OperatorError:
            status = 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_prepare_state_user_trusts_only_itself_and_root(place: Place) -> None:
    daemon = 1
    own = nobodys(place.home / "own", 0o755)
    assert in_child(NOBODY, lambda: prepare_state(own / "state")) == 0
    assert (own / "state").stat().st_uid == NOBODY
    os.chown(own, daemon, daemon)
    assert in_child(NOBODY, lambda: prepare_state(own / "state")) == 1
    os.chown(own, NOBODY, NOBODY)
    own.chmod(0o777)
    assert in_child(NOBODY, lambda: prepare_state(own / "state")) == 1


def test_prepare_state_directory_swapped_meanwhile_harms_nothing(place: Place) -> None:
    """Another user swaps links and folders in a sticky folder while root starts there."""
    sticky = roots(place.home / "sticky", 0o1777)
    state = sticky / "state"
    script = (
        f'cd "{sticky}"; while :; do '
        f'mkdir state 2>/dev/null; ln -s "{place.victim}" state/run.lock 2>/dev/null; '
        f'rm -rf state 2>/dev/null; ln -s "{place.vault}" state 2>/dev/null; rm -f state; done'
    )
    before = (place.victim.read_bytes(), [path.name for path in place.vault.iterdir()])
    argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    swapper = subprocess.Popen([*argv, "sh", "-c", script], cwd="/")
    refused, until = 0, time.process_time() + 60
    try:
        while refused < 200:
            assert swapper.poll() is None
            assert time.process_time() < until
            try:
                prepare_state(state)
            except OperatorError:
                refused += 1
            else:  # root made it first: no other user can remove it
                assert state.lstat().st_uid == 0
                assert stat.S_ISDIR(state.lstat().st_mode)
                state.rmdir()
    finally:
        swapper.kill()
        swapper.wait()
    now = (place.victim.read_bytes(), [path.name for path in place.vault.iterdir()])
    assert now == before


# The agent beside a drop-in becomes the owner of the directory.


@pytest.mark.parametrize("third", ["above", "link", "open"])
def test_become_owner_third_users_path_is_refused(place: Place, third: str) -> None:
    above = roots(place.home / "above", 0o1777)
    state = above / "state"
    if third == "link":
        nobodys(place.home / "theirs", 0o700)
        as_unprivileged_user("ln", "-s", str(place.home / "theirs"), str(state))
    else:
        nobodys(state, 0o777 if third == "open" else 0o700)
    if third == "above":
        os.chown(above, 1, 1)
    assert in_child(0, lambda: become_owner(state)) == 1


# Single files.


def test_open_file_path_swapped_for_a_link_opens_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user makes the link between the check and the opening."""
    file = place.home / "calls.json"
    file.touch()
    really = os.open

    def later(path: Path, *rest: int) -> int:
        file.unlink()
        file.symlink_to(place.victim)
        return really(path, *rest)

    monkeypatch.setattr(os, "open", later)
    with pytest.raises(OSError, match="Too many levels"):
        open_file(file, os.O_WRONLY | os.O_APPEND)
    assert place.victim.read_bytes() == CONTENT


def test_open_file_path_swapped_for_a_hard_link_opens_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place.home / "calls.json"
    file.touch()
    really = os.open

    def later(path: Path, *rest: int) -> int:
        file.unlink()
        file.hardlink_to(place.victim)
        return really(path, *rest)

    monkeypatch.setattr(os, "open", later)
    with pytest.raises(UntrustedError, match="has 2 names"):
        open_file(file, os.O_WRONLY | os.O_APPEND)
    assert place.victim.read_bytes() == CONTENT


def test_directory_that_is_missing_is_not_made(place: Place) -> None:
    with pytest.raises(FileNotFoundError), directory(place.home / "nowhere"):
        pass
    assert not (place.home / "nowhere").exists()
