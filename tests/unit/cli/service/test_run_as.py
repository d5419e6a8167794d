"""As which user `whence run` runs, when root starts it."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from whence.cli.service import run_as
from whence.cli.service.run_as import become_user
from whence.errors import OperatorError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

NOBODY = 65534
ABSENT = "whence-absent"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of root that all users may enter, below directories of root alone."""
    with tempfile.TemporaryDirectory(prefix="whence-run-as-", dir="/run") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def file(folder: Path) -> Path:
    """A settings file whose state directory belongs to another user."""
    state = folder / "state"
    state.mkdir(0o700)
    os.chown(state, NOBODY, NOBODY)
    file = folder / "whence.toml"
    file.write_text(f'[agent]\nstate_dir = "{state}"\n', "utf-8")
    file.chmod(0o644)
    return file


def state_of_process() -> dict[str, object]:
    status = Path("/proc/self/status").read_text("utf-8")
    shown = dict(re.findall(r"^(Uid|Gid|Groups|NoNewPrivs|Cap\w+):\s*(.*?)\s*$", status, re.M))
    return {**shown, "home": os.environ["HOME"]}


def in_child(
    act: Callable[[], object], then: Callable[[], dict[str, object]] = state_of_process
) -> dict[str, object]:
    """Act in a process of its own, which cannot become root again; return what it is then."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        result: dict[str, object] = {"error": "an exception"}
        with suppress(BaseException):
            try:
                act()
                result = then()
            except OperatorError as error:
                result = {"error": str(error)}
            os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        shown: dict[str, object] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return shown


def ids(shown: dict[str, object], name: str) -> set[int]:
    return {int(one) for one in str(shown[name]).split()}


@pytest.mark.parametrize("name", ["", "nobody"])
def test_root_becomes_the_owner_of_the_state_directory(file: Path, name: str) -> None:
    shown = in_child(lambda: become_user(str(file), name))
    assert "error" not in shown, shown
    assert ids(shown, "Uid") == ids(shown, "Gid") == ids(shown, "Groups") == {NOBODY}
    assert shown["NoNewPrivs"] == "1"
    assert {int(str(shown[one]), 16) for one in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert shown["home"] != "/root"


def test_root_becomes_whence_without_a_state_directory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_as, "USER", "daemon")
    (file.parent / "state").rmdir()
    assert ids(in_child(lambda: become_user(str(file))), "Uid") == {1}


def test_root_becomes_whence_where_root_owns_the_state(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_as, "USER", "daemon")
    os.chown(file.parent / "state", 0, 0)
    assert ids(in_child(lambda: become_user(str(file))), "Uid") == {1}


def test_root_ignores_a_directory_that_others_could_make(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_as, "USER", "daemon")
    file.parent.chmod(0o1777)
    assert ids(in_child(lambda: become_user(str(file))), "Uid") == {1}


def test_root_stays_root_if_it_asks_for_that(file: Path) -> None:
    shown = in_child(lambda: become_user(str(file), "root"))
    assert ids(shown, "Uid") == {0}
    assert shown["NoNewPrivs"] == "0"


def test_missing_user_stops_the_start_with_its_command(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_as, "USER", ABSENT)
    (file.parent / "state").rmdir()
    with pytest.raises(OperatorError, match=f"useradd --system .* {ABSENT}; or name a user"):
        become_user(str(file))
    with pytest.raises(OperatorError, match=f"there is no user {ABSENT}; make it: useradd"):
        become_user(str(file), ABSENT)
    assert os.geteuid() == 0


def test_file_that_the_user_cannot_read_is_named(file: Path) -> None:
    file.chmod(0o600)
    error = str(in_child(lambda: become_user(str(file)))["error"])
    assert error.startswith(f"{file} cannot be read by user nobody, ")
    assert error.endswith(f"chgrp nogroup {file} && chmod 640 {file}")


@pytest.mark.parametrize(
    "content", [None, "[agent", "agent = 3", '[agent]\nstate_dir = "a\\u0000"']
)
def test_faulty_file_is_left_to_the_agent(
    file: Path, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_as, "USER", "daemon")
    file.unlink()
    if content is not None:
        file.write_text(content, "utf-8")
    assert ids(in_child(lambda: become_user(str(file))), "Uid") == {1}


def test_fifo_as_settings_file_is_not_waited_for(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_as, "USER", "daemon")
    file.unlink()
    os.mkfifo(file, 0o644)
    assert ids(in_child(lambda: become_user(str(file))), "Uid") == {1}


def test_another_user_runs_as_itself_alone(file: Path) -> None:
    def as_nobody(name: str) -> dict[str, object]:
        def act() -> None:
            os.setuid(NOBODY)
            become_user(str(file), name)

        return in_child(act)

    assert ids(as_nobody(""), "Uid") == {NOBODY}
    assert ids(as_nobody("nobody"), "Uid") == {NOBODY}
    assert "sudo -u root" in str(as_nobody("root")["error"])
