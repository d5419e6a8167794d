"""Tokens: their file, and how the agent verifies them."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
from pathlib import Path

import pytest

from testkit.wait import PATIENCE_S
from whence.agent.access.tokens import FILE, TokenFile
from whence.agent.access.verifier import (
    WAITING,
    TokenVerifier,
    TooManyWrongTokensError,
    WrongTokenError,
    hashed,
    matches,
)
from whence.core.access import FREE_FAILURES, Role
from whence.errors import OperatorError

SOURCE = "192.0.2.1"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path)


def plain(token: str) -> str:
    return f"hash of {token}"


def is_plain(stored: str, token: str) -> bool:
    return stored == plain(token)


def made(file: TokenFile, name: str = "ops", role: Role = Role.OPERATE) -> str:
    return file.create(name, role, plain, 1.0)[0]


# The file.


def test_token_file_has_a_hash_and_not_the_token(file: TokenFile, tmp_path: Path) -> None:
    token, stored = file.create("ops", Role.VIEW, hashed, 1.0)
    text = (tmp_path / FILE).read_text()
    assert stored.hash in text and stored.hash.startswith("$argon2id$")
    assert token.rpartition("_")[2] not in text
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert matches(stored.hash, token)
    assert not matches(stored.hash, token[:-1])


@pytest.mark.parametrize("name", ["", "two words", "a" * 65, "x\n", "ops"])
def test_token_with_a_wrong_or_taken_name_is_refused(file: TokenFile, name: str) -> None:
    made(file)
    with pytest.raises(OperatorError):
        file.create(name, Role.VIEW, plain, 1.0)
    assert [one.name for one in file.read().values()] == ["ops"]


def test_tokens_created_at_once_are_all_stored(file: TokenFile) -> None:
    threads = [threading.Thread(target=made, args=(file, f"t{i}")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(file.read()) == 8


@pytest.mark.parametrize("text", ["", "{}", '{"tokens": [{"id": 1}]}', "[1]", "\xff"])
def test_broken_token_file_accepts_no_token(file: TokenFile, text: str) -> None:
    async def story() -> None:
        token = made(file)
        verifier = TokenVerifier(file, matches=is_plain)
        await verifier.caller(token, SOURCE)
        file.path.write_bytes(text.encode("latin-1"))
        with pytest.raises(WrongTokenError):
            await verifier.caller(token, SOURCE)

    asyncio.run(story())


# Verification.


def test_verifier_returns_name_and_role(file: TokenFile) -> None:
    async def story() -> None:
        token = made(file, "grafana", Role.VIEW)
        caller = await TokenVerifier(file, matches=is_plain).caller(token, SOURCE)
        assert (caller.name, caller.role) == ("grafana", Role.VIEW)

    asyncio.run(story())


def test_token_that_is_revoked_ends_at_once(file: TokenFile) -> None:
    async def story() -> None:
        token = made(file)
        verifier = TokenVerifier(file, matches=is_plain)
        await verifier.caller(token, SOURCE)
        file.revoke("ops")
        with pytest.raises(WrongTokenError):
            await verifier.caller(token, SOURCE)

    asyncio.run(story())


def test_token_that_is_revoked_during_its_check_is_refused(file: TokenFile) -> None:
    async def story() -> None:
        token = made(file)

        def revokes(stored: str, given: str) -> bool:
            file.revoke("ops")
            return is_plain(stored, given)

        with pytest.raises(WrongTokenError):
            await TokenVerifier(file, matches=revokes).caller(token, SOURCE)

    asyncio.run(story())


def test_token_that_expired_is_refused_from_the_cache_too(file: TokenFile) -> None:
    async def story() -> None:
        clock = Clock()
        token, _ = file.create("ops", Role.VIEW, plain, 1.0, clock.now + 10)
        verifier = TokenVerifier(file, clock, is_plain)
        await verifier.caller(token, SOURCE)
        clock.now += 10
        with pytest.raises(WrongTokenError):
            await verifier.caller(token, SOURCE)

    asyncio.run(story())


def test_verified_token_needs_no_second_slow_hash(file: TokenFile) -> None:
    async def story() -> None:
        hashes: list[str] = []

        def counts(stored: str, given: str) -> bool:
            hashes.append(given)
            return is_plain(stored, given)

        token = made(file)
        verifier = TokenVerifier(file, matches=counts)
        for _ in range(5):
            await verifier.caller(token, SOURCE)
        assert len(hashes) == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    "token", ["", "x", "whence_0123456789abcdef_" + "A" * 43, "whence_", "ä" * 100, "a" * 100_000]
)
def test_token_without_a_known_id_costs_no_slow_hash(file: TokenFile, token: str) -> None:
    async def story() -> None:
        def fails(_: str, __: str) -> bool:
            raise AssertionError

        made(file)
        verifier = TokenVerifier(file, matches=fails)
        with pytest.raises(WrongTokenError):
            await verifier.caller(token, SOURCE)

    asyncio.run(story())


def test_locked_source_still_uses_its_verified_token(file: TokenFile) -> None:
    """An attacker behind the same proxy must not lock out the operator."""

    async def story() -> None:
        clock = Clock()
        token, other = made(file), made(file, "other")
        verifier = TokenVerifier(file, clock, is_plain)
        await verifier.caller(token, SOURCE)
        for _ in range(FREE_FAILURES):
            with pytest.raises(WrongTokenError):
                await verifier.caller(token[:-1] + "!", SOURCE)
        assert (await verifier.caller(token, SOURCE)).name == "ops"
        with pytest.raises(TooManyWrongTokensError) as locked:
            await verifier.caller(other, SOURCE)
        assert locked.value.retry_s == 60.0
        assert (await verifier.caller(other, "192.0.2.2")).name == "other"

    asyncio.run(story())


@pytest.mark.parametrize("changed", ["created", "revoked"])
def test_change_of_another_token_keeps_the_verified_one(file: TokenFile, changed: str) -> None:
    """Else an attacker at the operator's address locks the operator out with the next change."""

    async def story() -> None:
        token, _ = made(file), made(file, "other")
        verifier = TokenVerifier(file, Clock(), is_plain)
        await verifier.caller(token, SOURCE)
        for _ in range(FREE_FAILURES):
            with pytest.raises(WrongTokenError):
                await verifier.caller("x", SOURCE)
        if changed == "created":
            made(file, "third")
        else:
            file.revoke("other")
        assert (await verifier.caller(token, SOURCE)).name == "ops"

    asyncio.run(story())


def test_ipv4_clients_of_an_ipv6_socket_are_sources_of_their_own(file: TokenFile) -> None:
    async def story() -> None:
        token = made(file)
        verifier = TokenVerifier(file, Clock(), is_plain)
        for _ in range(FREE_FAILURES):
            with pytest.raises(WrongTokenError):
                await verifier.caller("x", "::ffff:203.0.113.7")
        assert (await verifier.caller(token, "::ffff:192.0.2.1")).name == "ops"

    asyncio.run(story())


def test_addresses_of_one_ipv6_network_are_one_source(file: TokenFile) -> None:
    async def story() -> None:
        token = made(file)
        verifier = TokenVerifier(file, Clock(), is_plain)
        for host in range(FREE_FAILURES):
            with pytest.raises(WrongTokenError):
                await verifier.caller("x", f"2001:db8::{host:x}")
        with pytest.raises(TooManyWrongTokensError):
            await verifier.caller(token, "2001:db8::ffff")

    asyncio.run(story())


def test_slow_hashes_block_no_loop_and_wait_in_bounds(file: TokenFile) -> None:
    async def story() -> None:
        release = threading.Event()

        def slow(stored: str, given: str) -> bool:
            release.wait(PATIENCE_S)
            return is_plain(stored, given)

        tokens = [made(file, f"t{i}") for i in range(WAITING + 1)]
        verifier = TokenVerifier(file, matches=slow)
        waiting = [asyncio.create_task(verifier.caller(one, SOURCE)) for one in tokens]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        assert isinstance(refused.exception(), TooManyWrongTokensError)
        release.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(isinstance(one, Exception) for one in results) == 1

    asyncio.run(story())


def test_wrong_tokens_are_logged_in_bounds_without_them(
    file: TokenFile, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        verifier = TokenVerifier(file, Clock(), is_plain)
        for number in range(200):
            with pytest.raises(WrongTokenError):
                await verifier.caller("guessed-secret", f"192.0.2.{number}")

    asyncio.run(story())
    lines = [line for line in caplog.messages if line.startswith("api_token_wrong source=192.")]
    assert len(lines) == 60
    assert "guessed-secret" not in caplog.text


FILTER = Path(__file__).parents[4] / "packaging/fail2ban/filter.d/whence-api.conf"
PLAIN = logging.Formatter("%(asctime)s agent: %(levelname)s %(message)s", "%H:%M:%S")


@pytest.mark.parametrize("prefix", ["", "Nov 28 01:02:03 host whence[1]: "])
def test_fail2ban_filter_matches_wrong_tokens_only(
    file: TokenFile, tmp_path: Path, caplog: pytest.LogCaptureFixture, prefix: str
) -> None:
    async def story() -> None:
        verifier = TokenVerifier(file, Clock(), is_plain)
        for source in ("203.0.113.7", "2001:db8::7", "198.51.100.9"):
            with pytest.raises(WrongTokenError):
                await verifier.caller("x", source)

    asyncio.run(story())
    right = [prefix + PLAIN.format(record) for record in caplog.records]
    forged = [f"kamailio: {right[0]}", f"{right[0]} more", f"agent: INFO audit: {right[0]}"]
    log = tmp_path / "log"
    log.write_text("".join(f"{line}\n" for line in (*right, *forged)))
    command = ["fail2ban-regex", str(log), str(FILTER)]
    output = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    assert "Lines: 6 lines, 0 ignored, 3 matched, 3 missed" in output, output
