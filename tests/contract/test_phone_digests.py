"""The edge offers SHA-256 beside MD5 to phones, and accepts each with its own nonce only."""

import re
from collections.abc import Iterator

import pytest

from testkit.sip import Endpoint, Message
from tests.contract.phones import ask, challenged, credentials
from tests.contract.scene import PASSWORD, Scene
from tests.contract.world import World
from whence.agent.config.trunk import UserConfig
from whence.core.sip.digest import ha1
from whence.core.sip.secret import Secret

ALGORITHMS = ["SHA-256", "MD5"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("digests")) as world:
        yield world


def offered(challenge: Message) -> list[str]:
    """Return the algorithms of a challenge, in their order."""
    found = [re.search(r"algorithm=([\w-]+)", one) for one in challenge.all("WWW-Authenticate")]
    return [one[1] if one else "MD5" for one in found]


def status(scene: Scene, phone: Endpoint, user: str, challenge: Message, **how: object) -> int:
    answer = credentials(challenge, user, **how)  # type: ignore[arg-type]
    return phone.ask(ask(phone, user, answer), scene.edge).status


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_register_is_challenged_with_the_strongest_first(scene: Scene, known: bool) -> None:
    user = scene.user()
    challenge = challenged(scene, scene.endpoint("phones"), user if known else "nobody")
    assert offered(challenge) == ALGORITHMS


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_phone_registers_with_each_algorithm(scene: Scene, algorithm: str) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    assert status(scene, phone, user, challenge, only=algorithm) == 200


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_wrong_password_with_each_algorithm_is_refused(scene: Scene, algorithm: str) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    assert status(scene, phone, user, challenge, only=algorithm, password="wrong") == 401


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nonce_of_the_other_algorithm_is_refused(scene: Scene, algorithm: str) -> None:
    """The answer has the nonce of one challenge and the algorithm of the other."""
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    nonces = [re.search(r'nonce="([^"]*)"', one) for one in challenge.all("WWW-Authenticate")]
    texts = [nonce[1] for nonce in nonces if nonce]
    assert len(set(texts)) == len(ALGORITHMS)
    swapped = Message(
        challenge.start_line,
        tuple(
            (
                n,
                v.replace(texts[0], "-")
                .replace(texts[1], texts[0])
                .replace('"-"', f'"{texts[1]}"'),
            )
            for n, v in challenge.headers
        ),
    )
    assert status(scene, phone, user, swapped, only=algorithm) == 401


def test_nonce_of_sha256_serves_one_request(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    for count, expected in ((1, 200), (1, 401), (2, 401)):
        answer = credentials(challenge, user, count=count, only="SHA-256")
        got = phone.ask(ask(phone, user, answer), scene.edge)
        assert got.status == expected, count
        stale = ["stale=true" in one for one in got.all("WWW-Authenticate")]
        assert stale == ([] if expected == 200 else [True, True]), count


def test_nonce_of_sha256_of_another_ip_is_stale(scene: Scene) -> None:
    user, phone, thief = scene.user(), scene.endpoint("phones"), scene.endpoint("thief")
    challenge = challenged(scene, phone, user)
    answer = credentials(challenge, user, only="SHA-256")
    got = thief.ask(ask(thief, user, answer), scene.edge)
    assert (got.status, "stale=true" in got["WWW-Authenticate"]) == (401, True)


def test_credentials_of_another_user_with_sha256_are_refused(scene: Scene) -> None:
    mine, others, phone = scene.user(), scene.user(), scene.endpoint("phones")
    answer = credentials(challenged(scene, phone, others), mine, only="SHA-256")
    assert phone.ask(ask(phone, others, answer), scene.edge).status == 401


def test_user_without_sha256_lets_the_edge_offer_md5_only(scene: Scene) -> None:
    """Also to others: a challenge shows no user's settings."""
    user, phone = scene.user(), scene.endpoint("phones")
    before = challenged(scene, phone, user)
    assert offered(before) == ALGORITHMS
    name = scene.name("old")
    md5 = ha1("MD5", name, scene.world.books.settings.edge.domain, Secret(PASSWORD))
    books = scene.world.books
    books.add(UserConfig.model_validate({"name": name, "ha1": {"md5": md5}}))
    try:
        for one in (name, user, "nobody"):
            assert offered(challenged(scene, phone, one)) == ["MD5"]
        assert status(scene, phone, name, challenged(scene, phone, name)) == 200
        # The right password, and a fresh nonce: the directory has no HA1 to compare.
        empty = credentials(before, name, only="SHA-256")
        assert phone.ask(ask(phone, name, empty), scene.edge).status == 401
    finally:
        books.remove_user(name)
    assert offered(challenged(scene, phone, user)) == ALGORITHMS


def test_sha256_that_is_switched_off_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("md5")
    with World(folder, phones={"sha256": False}) as world, Scene(world) as scene:
        user, phone = scene.user(), scene.endpoint("phones")
        challenge = challenged(scene, phone, user)
        assert offered(challenge) == ["MD5"]
        forced = Message(
            challenge.start_line,
            tuple(
                (n, v + ", algorithm=SHA-256" if n == "WWW-Authenticate" else v)
                for n, v in challenge.headers
            ),
        )
        assert status(scene, phone, user, forced) == 401
        assert status(scene, phone, user, challenged(scene, phone, user)) == 200


def test_all_workers_accept_the_nonces_of_each_other(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with World(tmp_path_factory.mktemp("workers"), workers=4) as world, Scene(world) as scene:
        user, phone = scene.user(), scene.endpoint("phones")
        for _ in range(20):
            challenge = challenged(scene, phone, user)
            assert status(scene, phone, user, challenge, only="SHA-256") == 200
