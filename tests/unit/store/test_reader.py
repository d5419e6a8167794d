"""The directory as a worker reads it: beside the writing agent, and after failures."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from whence.core.identification.address import Address, Origin
from whence.core.identification.decision import Decision, Identified, Unknown
from whence.core.sip.transport_address import Transport, canonical_ip
from whence.edge.base import read
from whence.edge.decision_cache import CacheKey
from whence.errors import StoreUnavailableError
from whence.store.directory import FILE, Directory
from whence.store.reader import DirectoryReader as Reading
from whence.store.rows import row_of
from whence.store.statements import PUT_ADDRESS

NOW = 1_000_000.0
KEY = CacheKey("udp:192.0.2.1:5060", "sip:nobody@edge.example", None, None)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The agent's connection. Trunk acme has the address 192.0.2.1."""
    Directory(tmp_path / FILE).close()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as db:
        db.execute(
            "INSERT INTO trunk (id, token, aor_user, target, unmatched, fallback, enabled,"
            " credentials_fingerprint)"
            " VALUES ('acme', 't', 'u', 'sip:a@b', 'accept', 0, 1, '')"
        )
        address = Address(
            canonical_ip("192.0.2.1"), 5060, Transport.UDP, Origin.LEARNED, "", NOW, None
        )
        db.execute(PUT_ADDRESS, row_of("acme", address))
        yield db


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Reading]:
    reading = Reading(tmp_path / FILE)
    yield reading
    reading.close()


def decided(edge: Reading) -> Decision:
    request = read(KEY)
    assert request is not None
    decision, _ = edge.decide(request, NOW)
    return decision


def test_decide_reads_one_state_of_the_directory(agent: sqlite3.Connection, edge: Reading) -> None:
    """The agent removes the address between the two queries of the edge's transaction.

    The query before it finds that the request names no trunk.
    """
    assert isinstance(decided(edge), Identified)
    asked: list[str] = []

    def remove_address(statement: str) -> None:
        asked.append(statement)
        if len([one for one in asked if "SELECT" in one]) == 3:
            agent.execute("DELETE FROM address")

    assert edge._connection is not None
    edge._connection.set_trace_callback(remove_address)
    assert isinstance(decided(edge), Identified)
    assert agent.execute("SELECT count(*) FROM address").fetchone() == (0,)
    edge._connection.set_trace_callback(None)
    assert isinstance(decided(edge), Unknown)


def test_decide_that_fails_leaves_no_transaction_open(
    agent: sqlite3.Connection, edge: Reading
) -> None:
    agent.execute("UPDATE address SET transport = 'tcp?', expires_at = NULL")
    agent.execute("UPDATE trunk SET aor_user = 'nobody'")
    with pytest.raises(ValueError, match=r"tcp\?"):
        decided(edge)
    agent.execute("UPDATE address SET transport = 'udp'")
    assert isinstance(decided(edge), Identified)
    # No reader holds an old state, so SQLite can move the whole WAL into the database file.
    assert agent.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


def test_reader_of_a_moved_directory_opens_the_new_one(
    agent: sqlite3.Connection, edge: Reading, tmp_path: Path
) -> None:
    """The operator moves the file to begin anew, while Kamailio runs."""
    assert isinstance(decided(edge), Identified)
    agent.close()
    for file in tmp_path.glob(f"{FILE}*"):
        file.rename(tmp_path / f"moved-{file.name}")
    with pytest.raises(StoreUnavailableError):
        decided(edge)
    Directory(tmp_path / FILE).close()
    assert isinstance(decided(edge), Unknown)
