"""Answers that no registrar should send: nothing is learned, nothing breaks, no log is flooded.

Each comes from whom was asked, so that nothing but what it says speaks against it.
"""

import json
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from testkit.rig import Rig
from testkit.sip import Message, reply
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.registrar import DOMAIN, Registrar, by_hand, challenge, credentials, number

HOSTILE = "\x1b[31mred\x07\u202egnp.exe\u2066\x7f\x9b0m\u200b"


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    return shared_rig.whence(
        users=["alice"],
        agent={"on_stop": "leave"},
        registration={
            "response_timeout": 4,
            "backoff": {"unreachable": [0.2, 1], "rejected": [0.2, 1]},
        },
    )


@pytest.fixture(autouse=True)
def nothing_breaks(whence: Whence) -> Iterator[None]:
    """After each story: who was alive still is, the log is short, and it is all printable."""
    pids, before = [whence.agent_pid(), *whence.kamailio_pids()], len(whence.log)
    yield
    assert [whence.agent_pid(), *whence.kamailio_pids()] == pids
    assert whence.health() == 200
    said = whence.log[before:]
    assert "Traceback" not in said
    assert len(said) < 8000, said
    assert not unprintable(said.replace("\n", "")), said


def unprintable(text: str) -> list[str]:
    """Return the characters that a terminal would obey: control, bidi, invisible."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")]


def grants(asked: Message, *more: tuple[str, str]) -> Message:
    return reply(asked, 200, "OK", headers=[("Contact", asked["Contact"]), *more])


def persists(registrar: Registrar) -> None:
    """Grant whatever it asks from now on, until one counts: a broken answer may cost a while."""

    def counts() -> bool:
        with suppress(AssertionError):
            registrar.grant(registrar.asked(0.1))
        return registrar.trunk()["state"] == "registered"

    eventually(counts, what=f"{registrar.trunk_id} registered")


def without(message: Message, *names: str) -> Message:
    kept = tuple((name, value) for name, value in message.headers if name not in names)
    return Message(message.start_line, kept, message.body)


def changed(message: Message, name: str, value: str) -> Message:
    fields = tuple((n, value if n == name else v) for n, v in message.headers)
    return Message(message.start_line, fields, message.body)


def started(message: Message, line: str) -> Message:
    return Message(line, message.headers, message.body)


BROKEN: dict[str, Callable[[Message], Message | str | bytes]] = {
    "no SIP": lambda asked: "\x00\x01\x02 nothing that anybody speaks",
    "nothing at all": lambda asked: "\r\n\r\n",
    "a status of letters": lambda asked: started(grants(asked), "SIP/2.0 OK 200"),
    "no status": lambda asked: started(grants(asked), "SIP/2.0"),
    "a status of 999": lambda asked: started(grants(asked), "SIP/2.0 999 Whatever"),
    "SIP 3.0": lambda asked: started(grants(asked), "SIP/3.0 200 OK"),
    "no CSeq": lambda asked: without(grants(asked), "CSeq"),
    "no Call-ID": lambda asked: without(grants(asked), "Call-ID"),
    "no Via": lambda asked: without(grants(asked), "Via"),
    "no header": lambda asked: "SIP/2.0 200 OK\r\n\r\n",
    "another CSeq": lambda asked: changed(grants(asked), "CSeq", f"{number(asked) + 1} REGISTER"),
    "an older CSeq": lambda asked: changed(grants(asked), "CSeq", "0 REGISTER"),
    "another method": lambda asked: changed(grants(asked), "CSeq", f"{number(asked)} INVITE"),
    "another Call-ID": lambda asked: changed(grants(asked), "Call-ID", "of-another-trunk"),
    "a Contact that stretches": lambda asked: grants(asked, ("Contact", "<" * 3000)),
    "half of it": lambda asked: bytes(grants(asked))[: len(bytes(grants(asked))) // 2],
    "as a request": lambda asked: started(grants(asked), "REGISTER sip:x SIP/2.0"),
}
MAY_GRANT = {"a Contact that stretches", "no header", "as a request"}


def test_what_is_broken_teaches_nothing_and_a_right_answer_still_counts(
    shared_rig: Rig, whence: Whence
) -> None:
    """All at once: some take the place of the answer, and cost the wait for the next attempt."""
    registrars = {}
    for kind, broken in BROKEN.items():
        registrar = registrars[kind] = by_hand(shared_rig, whence)
        asked = registrar.asked()
        registrar.endpoint.send(broken(asked), whence.address)
        assert kind in MAY_GRANT or registrar.addresses() == [], kind
        registrar.grant(asked)
    for kind, registrar in registrars.items():
        persists(registrar)
        assert registrar.addresses() == [registrar.endpoint.address[0]], kind


def test_the_answer_to_another_trunks_register_is_not_ours(shared_rig: Rig, whence: Whence) -> None:
    """Two trunks at registrars that know each other's requests, and mix them up."""
    one, other = by_hand(shared_rig, whence), by_hand(shared_rig, whence)
    asked_one, asked_other = one.asked(), other.asked()
    mixed = changed(grants(asked_one), "Call-ID", asked_other.call_id)
    one.endpoint.send(mixed, whence.address)
    one.endpoint.send(changed(mixed, "CSeq", asked_other["CSeq"]), whence.address)
    assert one.addresses() == other.addresses() == []
    one.grant(asked_one)
    other.grant(asked_other)
    persists(one)
    persists(other)


@pytest.mark.parametrize("what", ["one header", "many headers", "many contacts", "a body"])
def test_an_enormous_answer_harms_nobody(shared_rig: Rig, whence: Whence, what: str) -> None:
    registrar = by_hand(shared_rig, whence)
    asked = registrar.asked()
    more: list[tuple[str, str]] = []
    if what == "one header":
        more = [("X-Long", "x" * 58_000)]
    elif what == "many headers":
        more = [("X-Short", "y")] * 5000
    elif what == "many contacts":
        more = [("Contact", f"<sip:o{n}@198.51.100.9>;expires=60") for n in range(1200)]
    answer = grants(asked, *more)
    if what == "a body":
        answer = Message(answer.start_line, answer.headers, "z" * 58_000)
    registrar.endpoint.send(answer, whence.address)
    ends_in = whence.trunk(registrar.trunk_id)["state"]
    assert ends_in in ("registering", "registered", "waiting")
    registrar.change(expires=1800)  # and it goes on
    persists(registrar)


def test_an_enormous_challenge_costs_nothing(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    name, value = challenge(DOMAIN, "n" * 10_000, 'qop="' + "auth-int," * 2000 + 'auth"')
    registrar.answer(registrar.asked(), 401, (name, value))
    whence.wait_state(registrar.trunk_id, "auth_failed")
    assert len(str(whence.trunk(registrar.trunk_id)["message"])) < 500


def test_an_answer_twice_is_one(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    asked = registrar.asked()
    for _ in range(5):
        registrar.answer(asked, 401, challenge(DOMAIN, "n1", 'qop="auth"'))
    asked = registrar.asked()
    for _ in range(5):
        registrar.grant(asked)
    whence.wait_registered(registrar.trunk_id)
    assert registrar.trunk()["failures"] == 0
    assert registrar.asks_no_more()


def test_a_late_answer_teaches_nothing(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    late = registrar.asked()
    asked = registrar.asked()  # the next attempt: the first is over
    registrar.grant(late)
    registrar.answer(asked, 403)
    stands = whence.wait_state(registrar.trunk_id, "waiting")
    assert stands["expires_at"] is None
    assert registrar.addresses() == []


@pytest.mark.parametrize("status", [200, 403, 503])
def test_bytes_that_are_no_utf_8_are_normal_traffic(
    shared_rig: Rig, whence: Whence, status: int
) -> None:
    registrar = by_hand(shared_rig, whence)
    asked = registrar.asked()
    latin = "caf\udce9 \udcff\udcfe"
    headers = [("Server", latin), ("Contact", asked["Contact"]), ("Retry-After", "1000")]
    answer = reply(asked, status, latin, headers=headers)
    registrar.endpoint.send(answer, whence.address)
    stands = whence.wait_state(registrar.trunk_id, "registered" if status == 200 else "waiting")
    assert not unprintable(json.dumps(stands, ensure_ascii=False))
    assert whence.cli("trunks").returncode == 0


def told(whence: Whence, registrar: Registrar) -> str:
    """Return all that an operator is told of the trunk: API, command line, metrics."""
    said = json.dumps(whence.trunk(registrar.trunk_id), ensure_ascii=False)
    listed = whence.cli("trunks").stdout
    line = next(line for line in listed.splitlines() if registrar.trunk_id in line)
    return said + line + whence.metrics().replace("\n", "")


def test_no_reason_phrase_speaks_to_the_operators_terminal(shared_rig: Rig, whence: Whence) -> None:
    registrar = by_hand(shared_rig, whence)
    asked = registrar.asked()
    headers = [("Retry-After", "1000")]
    answer = reply(asked, 403, f"No {HOSTILE} more", headers=headers)
    registrar.endpoint.send(answer, whence.address)
    assert "more" in whence.wait_state(registrar.trunk_id, "waiting")["message"]
    assert not unprintable(told(whence, registrar))


@pytest.mark.parametrize("field", ["realm", "algorithm"])
def test_no_challenge_speaks_to_the_operators_terminal(
    shared_rig: Rig, whence: Whence, field: str
) -> None:
    registrar = by_hand(shared_rig, whence, realm=DOMAIN)
    fields = {"realm": DOMAIN, "algorithm": "MD5", "nonce": "n", field: HOSTILE.replace(" ", "")}
    text = ", ".join(f'{name}="{value}"' for name, value in fields.items())
    registrar.answer(registrar.asked(), 401, ("WWW-Authenticate", f"Digest {text}"))
    whence.wait_state(registrar.trunk_id, "auth_failed")
    assert not unprintable(told(whence, registrar))


@pytest.mark.parametrize(
    "injected",
    [
        'x\\"\\r\\nX-Evil: 1',
        "x\rX-Evil: 1",
        "x\x00X-Evil: 1",
        "x\x0b\x0c\x85\u2028X-Evil: 1",
        'x\\", username=\\"admin',
        "\u202ex\udcff",
    ],
    ids=repr,
)
def test_no_challenge_writes_a_header_of_ours(
    shared_rig: Rig, whence: Whence, injected: str
) -> None:
    registrar = by_hand(shared_rig, whence)
    text = ", ".join(f'{field}="{injected}"' for field in ("realm", "nonce", "opaque"))
    first = registrar.asked()
    registrar.answer(first, 401, ("WWW-Authenticate", f"Digest {text}"))

    def asks_or_has_failed() -> Message | bool:
        with suppress(AssertionError):
            return registrar.asked(0.1)
        return registrar.trunk()["state"] == "auth_failed"

    asked = eventually(asks_or_has_failed, what="another REGISTER, or none any more")
    if not isinstance(asked, Message):  # no challenge that can be answered
        return
    assert "X-Evil" not in asked
    new = {name for name, _ in asked.headers} - {name for name, _ in first.headers}
    assert new <= {"Authorization"}
    assert all(one["username"] == "acct1" for one in credentials(asked))
    assert not unprintable(asked.get("Authorization") or "")
    registrar.grant(asked)
    whence.wait_registered(registrar.trunk_id)


def test_a_flood_of_answers_that_are_not_believed_is_logged_once(
    shared_rig: Rig, whence: Whence
) -> None:
    registrar = by_hand(shared_rig, whence)
    asked = registrar.asked()
    for n in range(500):
        wrong = changed(grants(asked), "CSeq", f"{number(asked) + 1 + n} REGISTER")
        registrar.endpoint.send(wrong, whence.address)
    registrar.grant(asked)
    persists(registrar)
