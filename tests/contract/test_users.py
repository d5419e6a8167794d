"""Local users: a phone registers only with the password of its user."""

import secrets

import pytest

from testkit.sip import Message
from tests.contract.books import DOMAIN
from tests.contract.call import ring
from tests.contract.phones import ask, challenged, credentials
from tests.contract.scene import PASSWORD, Scene
from whence.agent.config.trunk import UserConfig


def test_phone_with_its_password_registers(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    assert f'realm="{DOMAIN}"' in challenge["WWW-Authenticate"]
    assert 'qop="auth"' in challenge["WWW-Authenticate"]
    answer = phone.ask(ask(phone, user, credentials(challenge, user)), scene.edge)
    assert answer.status == 200
    ip, port = phone.address
    assert answer.contacts[0].startswith(f"<sip:{user}@{ip}:{port}>;expires=600")


def test_register_with_a_wrong_password_is_refused(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    assert phone.register(scene.edge, user, "wrong", DOMAIN).status == 401
    trunk = scene.trunk(user)
    assert trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 480


def test_register_of_an_unknown_user_is_answered_alike(scene: Scene) -> None:
    phone = scene.endpoint("phones")
    shapes = []
    for user in (scene.user(), "nobody"):
        challenge = phone.ask(ask(phone, user), scene.edge)
        tries = [credentials(challenge, user, "wrong", count) for count in (1, 1, 2)]
        tries.append(credentials(challenge, user, "wrong", 1))
        answers = [phone.ask(ask(phone, user, headers), scene.edge) for headers in tries]
        shapes.append([shape(answer) for answer in (challenge, *answers)])
    assert shapes[0] == shapes[1]


def shape(answer: Message) -> list[str]:
    """Return the content of an answer, without its random parts."""
    values = [answer.start_line]
    for name, value in answer.headers:
        fixed = value if name in ("CSeq", "Content-Length") else ""
        if name == "WWW-Authenticate":
            fixed = ",".join(p for p in value.split(", ") if not p.startswith("nonce="))
        values.append(f"{name}: {fixed}")
    return values


def test_register_of_another_user_is_refused(scene: Scene) -> None:
    mine, others, phone = scene.user(), scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, others)
    answer = phone.ask(ask(phone, others, credentials(challenge, mine)), scene.edge)
    assert answer.status == 401
    trunk = scene.trunk(others)
    assert trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 480


@pytest.mark.parametrize("spelling", ["{user}@edge.example", "{user}@elsewhere.example", "{USER}"])
def test_credentials_with_another_spelling_are_refused(scene: Scene, spelling: str) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    name = spelling.format(user=user, USER=user.upper())
    challenge = challenged(scene, phone, user)
    answer = phone.ask(ask(phone, user, credentials(challenge, name)), scene.edge)
    assert answer.status == 401


def test_credentials_used_twice_are_refused(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    answer = credentials(challenged(scene, phone, user), user)
    assert phone.ask(ask(phone, user, answer), scene.edge).status == 200
    thief = scene.endpoint()
    assert thief.ask(ask(thief, user, answer), scene.edge).status == 401


def test_nonce_used_twice_with_any_count_is_refused(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    for count, status in ((1, 200), (2, 401), (1, 401), (3, 401)):
        headers = credentials(challenge, user, count=count)
        answer = phone.ask(ask(phone, user, headers), scene.edge)
        assert answer.status == status, count
        assert status == 200 or "stale=true" in answer["WWW-Authenticate"], count


def test_used_nonce_brings_a_stale_challenge(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    assert "stale" not in challenge["WWW-Authenticate"]
    wrong = phone.ask(ask(phone, user, credentials(challenge, user, "wrong")), scene.edge)
    assert "stale" not in wrong["WWW-Authenticate"]
    again = phone.ask(ask(phone, user, credentials(challenge, user)), scene.edge)
    assert (again.status, "stale=true" in again["WWW-Authenticate"]) == (401, True)
    fresh = phone.ask(ask(phone, user, credentials(again, user)), scene.edge)
    assert fresh.status == 200


def test_nonce_that_is_not_ours_is_refused(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    headers = tuple(
        (n, v.replace('nonce="', f'nonce="{secrets.token_hex(2)}')) for n, v in challenge.headers
    )
    forged = Message(challenge.start_line, headers)
    assert phone.ask(ask(phone, user, credentials(forged, user)), scene.edge).status == 401


def test_password_of_another_realm_is_refused(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    headers = tuple((n, v.replace(DOMAIN, "elsewhere.example")) for n, v in challenge.headers)
    other = Message(challenge.start_line, headers)
    assert phone.ask(ask(phone, user, credentials(other, user)), scene.edge).status == 401


def test_answer_to_a_register_repeats_no_credentials(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    answer = phone.register(scene.edge, user, PASSWORD, DOMAIN)
    assert answer.status == 200
    assert PASSWORD not in str(answer)
    assert "Authorization" not in answer


@pytest.mark.parametrize("aor", ["sip:{user}@elsewhere.example", f"sip:{DOMAIN}", "sip:@invalid"])
def test_register_of_another_domain_gets_403(scene: Scene, aor: str) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    aor = aor.format(user=user)
    answer = phone.ask(ask(phone, user, from_uri=aor, to_uri=aor), scene.edge)
    assert answer.status in (400, 403)
    assert "WWW-Authenticate" not in answer


def test_register_without_contact_lists_the_contacts(scene: Scene) -> None:
    user = scene.user()
    phone = scene.phone(user)
    challenge = challenged(scene, phone, user)
    bare = ask(phone, user, credentials(challenge, user))
    fields = tuple((n, v) for n, v in bare.headers if n not in ("Contact", "Expires"))
    answer = phone.ask(Message(bare.start_line, fields), scene.edge)
    assert answer.status == 200
    assert len(answer.contacts) == 1


def test_invalid_contact_is_refused_and_the_next_passes(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    for contact in ("<sip:", "garbage", "<sip:a@b>;expires=\udcff", "*", "<sip:a@b>, <"):
        answer = phone.register(scene.edge, user, PASSWORD, DOMAIN, contact=contact)
        assert answer.status in (200, 400, 500), contact
    assert phone.register(scene.edge, user, PASSWORD, DOMAIN).status == 200


def test_registrar_users_that_differ_in_case_have_own_phones(scene: Scene) -> None:
    """The user part of a URI is case-sensitive (RFC 3261 19.1.4)."""
    lower = scene.user()
    upper = lower.upper()
    scene.world.books.add(UserConfig.model_validate({"name": upper, "password": PASSWORD}))
    phone = scene.phone(upper)
    trunk, other = scene.trunk(upper, at="provider"), scene.trunk(lower, at="other provider")
    assert other.at.ask(scene.invite(other.at), scene.edge).status == 480
    ring(scene, trunk.at, phone)


def test_register_of_more_phones_than_max_contacts_is_refused(scene: Scene) -> None:
    user = scene.user()
    limit = scene.world.books.settings.phones.max_contacts
    for _ in range(limit):
        scene.phone(user)
    refused = scene.endpoint("phones").register(scene.edge, user, PASSWORD, DOMAIN)
    assert refused.status == 503


@pytest.mark.parametrize(("asked", "granted"), [(1, 60), (59, 60), (600, 600), (86400, 3600)])
def test_register_is_granted_the_nearest_lifetime(scene: Scene, asked: int, granted: int) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    answer = phone.register(scene.edge, user, PASSWORD, DOMAIN, expires_s=asked)
    assert answer.status == 200
    assert f"expires={granted}" in answer["Contact"]
