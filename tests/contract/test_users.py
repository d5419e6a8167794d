"""Local users: a phone registers with its user's password, and with nothing less."""

import secrets

import pytest

from testkit.sip import Message
from tests.contract.books import DOMAIN
from tests.contract.call import ring
from tests.contract.phones import ask, challenged, credentials
from tests.contract.scene import PASSWORD, Scene
from whence.agent.config.trunk import UserConfig


def test_a_phone_is_challenged_and_registers(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    assert f'realm="{DOMAIN}"' in challenge["WWW-Authenticate"]
    assert 'qop="auth"' in challenge["WWW-Authenticate"]
    answer = phone.ask(ask(phone, user, credentials(challenge, user)), scene.edge)
    assert answer.status == 200
    ip, port = phone.address
    assert answer.contacts[0].startswith(f"<sip:{user}@{ip}:{port}>;expires=600")


def test_a_wrong_password_registers_nobody(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    assert phone.register(scene.edge, user, "wrong", DOMAIN).status == 401
    trunk = scene.trunk(user)
    assert trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 480


def test_an_unknown_name_is_answered_exactly_like_a_known_one(scene: Scene) -> None:
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
    """Return what an answer shows, without what is random in each."""
    values = [answer.start_line]
    for name, value in answer.headers:
        fixed = value if name in ("CSeq", "Content-Length") else ""
        if name == "WWW-Authenticate":
            fixed = ",".join(p for p in value.split(", ") if not p.startswith("nonce="))
        values.append(f"{name}: {fixed}")
    return values


def test_nobody_registers_under_anothers_name(scene: Scene) -> None:
    mine, others, phone = scene.user(), scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, others)
    answer = phone.ask(ask(phone, others, credentials(challenge, mine)), scene.edge)
    assert answer.status == 401
    trunk = scene.trunk(others)
    assert trunk.at.ask(scene.invite(trunk.at), scene.edge).status == 480


@pytest.mark.parametrize("spelling", ["{user}@edge.example", "{user}@elsewhere.example", "{USER}"])
def test_credentials_must_name_the_user_as_it_is(scene: Scene, spelling: str) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    name = spelling.format(user=user, USER=user.upper())
    challenge = challenged(scene, phone, user)
    answer = phone.ask(ask(phone, user, credentials(challenge, name)), scene.edge)
    assert answer.status == 401


def test_credentials_are_good_once(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    answer = credentials(challenged(scene, phone, user), user)
    assert phone.ask(ask(phone, user, answer), scene.edge).status == 200
    thief = scene.endpoint()
    assert thief.ask(ask(thief, user, answer), scene.edge).status == 401


def test_nonce_is_good_once_whatever_its_count(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    for count, status in ((1, 200), (2, 401), (1, 401), (3, 401)):
        headers = credentials(challenge, user, count=count)
        answer = phone.ask(ask(phone, user, headers), scene.edge)
        assert answer.status == status, count
        assert status == 200 or "stale=true" in answer["WWW-Authenticate"], count


def test_a_used_nonce_is_stale_so_that_the_phone_tries_again_by_itself(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    assert "stale" not in challenge["WWW-Authenticate"]
    wrong = phone.ask(ask(phone, user, credentials(challenge, user, "wrong")), scene.edge)
    assert "stale" not in wrong["WWW-Authenticate"]
    again = phone.ask(ask(phone, user, credentials(challenge, user)), scene.edge)
    assert (again.status, "stale=true" in again["WWW-Authenticate"]) == (401, True)
    fresh = phone.ask(ask(phone, user, credentials(again, user)), scene.edge)
    assert fresh.status == 200


def test_a_nonce_that_was_not_given_out_is_no_good(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    headers = tuple(
        (n, v.replace('nonce="', f'nonce="{secrets.token_hex(2)}')) for n, v in challenge.headers
    )
    forged = Message(challenge.start_line, headers)
    assert phone.ask(ask(phone, user, credentials(forged, user)), scene.edge).status == 401


def test_a_password_of_another_realm_is_no_good(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    challenge = challenged(scene, phone, user)
    headers = tuple((n, v.replace(DOMAIN, "elsewhere.example")) for n, v in challenge.headers)
    other = Message(challenge.start_line, headers)
    assert phone.ask(ask(phone, user, credentials(other, user)), scene.edge).status == 401


def test_credentials_do_not_stay_with_what_is_answered(scene: Scene) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    answer = phone.register(scene.edge, user, PASSWORD, DOMAIN)
    assert answer.status == 200
    assert PASSWORD not in str(answer)
    assert "Authorization" not in answer


@pytest.mark.parametrize("aor", ["sip:{user}@elsewhere.example", f"sip:{DOMAIN}", "sip:@invalid"])
def test_who_is_not_of_our_domain_is_refused_without_a_challenge(scene: Scene, aor: str) -> None:
    user, phone = scene.user(), scene.endpoint("phones")
    aor = aor.format(user=user)
    answer = phone.ask(ask(phone, user, from_uri=aor, to_uri=aor), scene.edge)
    assert answer.status in (400, 403)
    assert "WWW-Authenticate" not in answer


def test_a_phone_may_ask_where_it_is_registered(scene: Scene) -> None:
    user = scene.user()
    phone = scene.phone(user)
    challenge = challenged(scene, phone, user)
    bare = ask(phone, user, credentials(challenge, user))
    fields = tuple((n, v) for n, v in bare.headers if n not in ("Contact", "Expires"))
    answer = phone.ask(Message(bare.start_line, fields), scene.edge)
    assert answer.status == 200
    assert len(answer.contacts) == 1


def test_a_contact_that_is_none_is_refused_and_the_next_one_passes(scene: Scene) -> None:
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
