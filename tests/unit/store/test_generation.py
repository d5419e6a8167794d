"""The generation moves when an answer could change, and not when an address only lives longer."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testkit.directory import install
from whence.agent.config.models import Config
from whence.core.identification.address import Address, Origin
from whence.core.registration.events import Action, ForgetAddresses, Learn
from whence.core.registration.model import AccountKey, Registration
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.store.connection import GenerationWriter
from whence.store.directory import FILE, Directory
from whence.store.schema import GENERATION_FILE

NOW = 1_000_000.0
OURS, FROM = (
    TransportAddress.parse("udp:192.0.2.9:5060"),
    TransportAddress.parse("udp:192.0.2.1:5060"),
)

SETTINGS = Config.model_validate(
    {
        "trunk": [
            {
                "id": "acme",
                "registrar": "sip:192.0.2.1",
                "user": "acct1",
                "password": "secret",
                "target": "sip:pbx@192.0.2.8",
            }
        ]
    }
)

Moved = Callable[[], bool]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    directory = Directory(tmp_path / FILE)
    install(directory, SETTINGS)
    yield directory
    directory.close()


@pytest.fixture
def moved(directory: Directory, tmp_path: Path) -> Moved:
    """Whether it moved since it was asked last."""
    file = tmp_path / GENERATION_FILE
    seen = [file.read_bytes()]

    def ask() -> bool:
        seen.append(file.read_bytes())
        return seen[-1] != seen[-2]

    return ask


def save(directory: Directory, *actions: Action, now: float = NOW) -> None:
    directory.save(AccountKey("acct1"), Registration("acme", "call-1"), list(actions), OURS, now)


def test_an_address_that_appears_moves_it(directory: Directory, moved: Moved) -> None:
    save(directory, Learn(FROM, NOW + 60))
    assert moved()


def test_a_refresh_that_extends_an_address_does_not(directory: Directory, moved: Moved) -> None:
    save(directory, Learn(FROM, NOW + 60))
    moved()
    save(directory, Learn(FROM, NOW + 105), now=NOW + 45)
    assert not moved()


def test_an_address_that_comes_back_after_its_end_moves_it(
    directory: Directory, moved: Moved
) -> None:
    save(directory, Learn(FROM, NOW + 60))
    moved()
    save(directory, Learn(FROM, NOW + 160), now=NOW + 60)
    assert moved()


def test_a_grant_that_ends_sooner_than_the_one_before_moves_it(
    directory: Directory, moved: Moved
) -> None:
    save(directory, Learn(FROM, NOW + 60))
    moved()
    save(directory, Learn(FROM, NOW + 50), now=NOW + 1)
    assert moved()


def test_what_is_pinned_and_unpinned_moves_it(directory: Directory, moved: Moved) -> None:
    pin = Address(FROM.ip, None, Transport.UDP, Origin.PINNED, "", NOW, NOW + 60)
    directory.pin("acme", pin)
    assert moved()
    directory.unpin("acme", FROM.ip, NOW)
    assert moved()


def test_what_is_unregistered_moves_it(directory: Directory, moved: Moved) -> None:
    save(directory, Learn(FROM, NOW + 60))
    moved()
    save(directory, ForgetAddresses())
    assert moved()


def test_a_step_that_teaches_nothing_does_not(directory: Directory, moved: Moved) -> None:
    save(directory)
    assert not moved()


def test_a_new_file_and_a_trunk_that_goes_move_it(directory: Directory, moved: Moved) -> None:
    install(directory, SETTINGS)
    assert moved()
    install(directory, SETTINGS, replaced=["acme"])
    assert moved()


def test_a_change_that_fails_moves_it_all_the_same(directory: Directory, moved: Moved) -> None:
    """Too often is a query more; too rarely would be a wrong trunk."""
    with pytest.raises(Exception, match="FOREIGN KEY"):
        directory.save(
            AccountKey("x"), Registration("nobody", "c"), [Learn(FROM, NOW + 60)], OURS, NOW
        )
    assert moved()


@pytest.mark.parametrize("length", [0, 3, 8, 100])
def test_it_is_eight_bytes_whatever_was_there(tmp_path: Path, length: int) -> None:
    path = tmp_path / GENERATION_FILE
    path.write_bytes(bytes(length))
    GenerationWriter(path).close()
    assert len(path.read_bytes()) == 8
    assert path.read_bytes() != bytes(8)


FULL_DISK = """
mount -t tmpfs -o size=64k none "$0" && touch "$0/generation" || exit 99
dd if=/dev/zero of="$0/filler" bs=1k 2>/dev/null
exec "$@"
"""
MAKE = (
    "import sys, pathlib, whence.store.connection as c;"
    " c.GenerationWriter(pathlib.Path(sys.argv[1]))"
)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a disk that is soon full")
def test_a_full_disk_is_an_error_and_ends_no_process(tmp_path: Path) -> None:
    """The disk is the child's own, and nobody else sees it."""
    script = ["unshare", "--mount", "sh", "-c", FULL_DISK, str(tmp_path)]
    python = [sys.executable, "-c", MAKE, str(tmp_path / GENERATION_FILE)]
    done = subprocess.run([*script, *python], capture_output=True, text=True, check=False)
    assert (done.returncode, "No space left on device" in done.stderr) == (1, True), done
