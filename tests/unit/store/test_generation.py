"""The generation changes when a decision could change, but not when an expiry is extended."""

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
    """A function that returns whether the generation changed since its last call."""
    file = tmp_path / GENERATION_FILE
    seen = [file.read_bytes()]

    def ask() -> bool:
        seen.append(file.read_bytes())
        return seen[-1] != seen[-2]

    return ask


def save(directory: Directory, *actions: Action, now: float = NOW) -> None:
    directory.save(AccountKey("acct1"), Registration("acme", "call-1"), list(actions), OURS, now)


def test_generation_changes_with_a_new_address(directory: Directory, moved: Moved) -> None:
    save(directory, Learn(FROM, NOW + 60))
    assert moved()


def test_generation_stays_when_a_refresh_extends_an_address(
    directory: Directory, moved: Moved
) -> None:
    save(directory, Learn(FROM, NOW + 60))
    moved()
    save(directory, Learn(FROM, NOW + 105), now=NOW + 45)
    assert not moved()


def test_generation_changes_when_an_expired_address_returns(
    directory: Directory, moved: Moved
) -> None:
    save(directory, Learn(FROM, NOW + 60))
    moved()
    save(directory, Learn(FROM, NOW + 160), now=NOW + 60)
    assert moved()


def test_generation_changes_with_an_earlier_end(directory: Directory, moved: Moved) -> None:
    save(directory, Learn(FROM, NOW + 60))
    moved()
    save(directory, Learn(FROM, NOW + 50), now=NOW + 1)
    assert moved()


def test_generation_changes_with_pin_and_unpin(directory: Directory, moved: Moved) -> None:
    pin = Address(FROM.ip, None, Transport.UDP, Origin.PINNED, "", NOW, NOW + 60)
    directory.pin("acme", pin)
    assert moved()
    directory.unpin("acme", FROM.ip, NOW)
    assert moved()


def test_generation_changes_when_addresses_are_forgotten(
    directory: Directory, moved: Moved
) -> None:
    save(directory, Learn(FROM, NOW + 60))
    moved()
    save(directory, ForgetAddresses())
    assert moved()


def test_generation_stays_when_a_step_teaches_nothing(directory: Directory, moved: Moved) -> None:
    save(directory)
    assert not moved()


def test_generation_changes_with_install_and_removal(directory: Directory, moved: Moved) -> None:
    install(directory, SETTINGS)
    assert moved()
    install(directory, SETTINGS, replaced=["acme"])
    assert moved()


def test_generation_changes_even_if_the_write_fails(directory: Directory, moved: Moved) -> None:
    """One change too many costs a query. One too few could give a call to a wrong trunk."""
    with pytest.raises(Exception, match="FOREIGN KEY"):
        directory.save(
            AccountKey("x"), Registration("nobody", "c"), [Learn(FROM, NOW + 60)], OURS, NOW
        )
    assert moved()


@pytest.mark.parametrize("length", [0, 3, 8, 100])
def test_generation_file_of_any_length_becomes_eight_bytes(tmp_path: Path, length: int) -> None:
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
def test_generation_on_a_full_disk_raises_an_error(tmp_path: Path) -> None:
    """The disk is in the mount namespace of the child process."""
    script = ["unshare", "--mount", "sh", "-c", FULL_DISK, str(tmp_path)]
    python = [sys.executable, "-c", MAKE, str(tmp_path / GENERATION_FILE)]
    done = subprocess.run([*script, *python], capture_output=True, text=True, check=False)
    assert (done.returncode, "No space left on device" in done.stderr) == (1, True), done
