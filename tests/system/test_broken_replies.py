"""Replies to a REGISTER that no registrar should send.

The agent learns nothing from them, keeps running, and writes few log lines. Each reply comes from
the registrar's own address, so only its content can be the reason to reject it.
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
from tests.system.registrar import DOMAIN, Registrar, challenge, credentials, new_registrar, number

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
    """Check after each test that no process died, and that the new log is short and printable."""
    pids, before = [whence.agent_pid(), *whence.kamailio_pids()], len(whence.log)
    yield
    assert [whence.agent_pid(), *whence.kamailio_pids()] == pids
    assert whence.health() == 200
    output = whence.log[before:]
    assert "Traceback" not in output
    assert len(output) < 8000, output
    assert not unprintable(output.replace("\n", "")), output


def unprintable(text: str) -> list[str]:
    """Return the characters that a terminal would interpret: control, bidi, invisible."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")]


def grants(register: Message, *more: tuple[str, str]) -> Message:
    return reply(register, 200, "OK", headers=[("Contact", register["Contact"]), *more])


def grant_until_registered(registrar: Registrar) -> None:
    """Grant each REGISTER until the trunk is registered: a broken reply may cost a wait."""

    def is_registered() -> bool:
        with suppress(AssertionError):
            registrar.grant(registrar.next_register(0.1))
        return registrar.trunk()["state"] == "registered"

    eventually(is_registered, what=f"{registrar.trunk_id} registered")


def without(message: Message, *names: str) -> Message:
    kept = tuple((name, value) for name, value in message.headers if name not in names)
    return Message(message.start_line, kept, message.body)


def changed(message: Message, name: str, value: str) -> Message:
    fields = tuple((n, value if n == name else v) for n, v in message.headers)
    return Message(message.start_line, fields, message.body)


def started(message: Message, line: str) -> Message:
    return Message(line, message.headers, message.body)


BROKEN: dict[str, Callable[[Message], Message | str | bytes]] = {
    "no SIP": lambda sent: "\x00\x01\x02 no protocol",
    "only line ends": lambda sent: "\r\n\r\n",
    "a status of letters": lambda sent: started(grants(sent), "SIP/2.0 OK 200"),
    "no status": lambda sent: started(grants(sent), "SIP/2.0"),
    "a status of 999": lambda sent: started(grants(sent), "SIP/2.0 999 Whatever"),
    "SIP 3.0": lambda sent: started(grants(sent), "SIP/3.0 200 OK"),
    "no CSeq": lambda sent: without(grants(sent), "CSeq"),
    "no Call-ID": lambda sent: without(grants(sent), "Call-ID"),
    "no Via": lambda sent: without(grants(sent), "Via"),
    "no header": lambda sent: "SIP/2.0 200 OK\r\n\r\n",
    "another CSeq": lambda sent: changed(grants(sent), "CSeq", f"{number(sent) + 1} REGISTER"),
    "an older CSeq": lambda sent: changed(grants(sent), "CSeq", "0 REGISTER"),
    "another method": lambda sent: changed(grants(sent), "CSeq", f"{number(sent)} INVITE"),
    "another Call-ID": lambda sent: changed(grants(sent), "Call-ID", "another-trunk"),
    "an unterminated Contact": lambda sent: grants(sent, ("Contact", "<" * 3000)),
    "the first half": lambda sent: bytes(grants(sent))[: len(bytes(grants(sent))) // 2],
    "as a request": lambda sent: started(grants(sent), "REGISTER sip:x SIP/2.0"),
}
MAY_GRANT = {"an unterminated Contact", "no header", "as a request"}


def test_broken_reply_is_ignored_and_a_valid_one_counts(shared_rig: Rig, whence: Whence) -> None:
    """All kinds run at once: some of them end the attempt, and cost a wait until the next one."""
    registrars = {}
    for kind, broken in BROKEN.items():
        registrar = registrars[kind] = new_registrar(shared_rig, whence)
        register = registrar.next_register()
        registrar.endpoint.send(broken(register), whence.address)
        assert kind in MAY_GRANT or registrar.addresses() == [], kind
        registrar.grant(register)
    for kind, registrar in registrars.items():
        grant_until_registered(registrar)
        assert registrar.addresses() == [registrar.endpoint.address[0]], kind


def test_reply_with_another_trunks_call_id_is_ignored(shared_rig: Rig, whence: Whence) -> None:
    """Two registrars know each other's requests, and answer with the other one's Call-ID."""
    one, other = new_registrar(shared_rig, whence), new_registrar(shared_rig, whence)
    asked_one, asked_other = one.next_register(), other.next_register()
    mixed = changed(grants(asked_one), "Call-ID", asked_other.call_id)
    one.endpoint.send(mixed, whence.address)
    one.endpoint.send(changed(mixed, "CSeq", asked_other["CSeq"]), whence.address)
    assert one.addresses() == other.addresses() == []
    one.grant(asked_one)
    other.grant(asked_other)
    grant_until_registered(one)
    grant_until_registered(other)


@pytest.mark.parametrize("what", ["one header", "many headers", "many contacts", "a body"])
def test_huge_reply_leaves_the_trunk_working(shared_rig: Rig, whence: Whence, what: str) -> None:
    registrar = new_registrar(shared_rig, whence)
    register = registrar.next_register()
    more: list[tuple[str, str]] = []
    if what == "one header":
        more = [("X-Long", "x" * 58_000)]
    elif what == "many headers":
        more = [("X-Short", "y")] * 5000
    elif what == "many contacts":
        more = [("Contact", f"<sip:o{n}@198.51.100.9>;expires=60") for n in range(1200)]
    answer = grants(register, *more)
    if what == "a body":
        answer = Message(answer.start_line, answer.headers, "z" * 58_000)
    registrar.endpoint.send(answer, whence.address)
    state = whence.trunk(registrar.trunk_id)["state"]
    assert state in ("registering", "registered", "waiting")
    registrar.change(expires=1800)
    grant_until_registered(registrar)


def test_huge_challenge_gives_a_short_message(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    name, value = challenge(DOMAIN, "n" * 10_000, 'qop="' + "auth-int," * 2000 + 'auth"')
    registrar.answer(registrar.next_register(), 401, (name, value))
    whence.wait_state(registrar.trunk_id, "auth_failed")
    assert len(str(whence.trunk(registrar.trunk_id)["message"])) < 500


def test_repeated_reply_counts_once(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    register = registrar.next_register()
    for _ in range(5):
        registrar.answer(register, 401, challenge(DOMAIN, "n1", 'qop="auth"'))
    register = registrar.next_register()
    for _ in range(5):
        registrar.grant(register)
    whence.wait_registered(registrar.trunk_id)
    assert registrar.trunk()["failures"] == 0
    assert registrar.sent_no_more()


def test_late_reply_is_not_learned(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    late = registrar.next_register()
    register = registrar.next_register()  # the next attempt; the agent has given the first one up
    registrar.grant(late)
    registrar.answer(register, 403)
    details = whence.wait_state(registrar.trunk_id, "waiting")
    assert details["expires_at"] is None
    assert registrar.addresses() == []


@pytest.mark.parametrize("status", [200, 403, 503])
def test_reply_with_latin_1_bytes_is_read_and_escaped(
    shared_rig: Rig, whence: Whence, status: int
) -> None:
    registrar = new_registrar(shared_rig, whence)
    register = registrar.next_register()
    latin = "caf\udce9 \udcff\udcfe"
    headers = [("Server", latin), ("Contact", register["Contact"]), ("Retry-After", "1000")]
    answer = reply(register, status, latin, headers=headers)
    registrar.endpoint.send(answer, whence.address)
    details = whence.wait_state(registrar.trunk_id, "registered" if status == 200 else "waiting")
    assert not unprintable(json.dumps(details, ensure_ascii=False))
    assert whence.cli("trunks").returncode == 0


def shown(whence: Whence, registrar: Registrar) -> str:
    """Return all that an operator sees of the trunk: API, command line, metrics."""
    output = json.dumps(whence.trunk(registrar.trunk_id), ensure_ascii=False)
    listed = whence.cli("trunks").stdout
    line = next(line for line in listed.splitlines() if registrar.trunk_id in line)
    return output + line + whence.metrics().replace("\n", "")


def test_reason_phrase_cannot_control_a_terminal(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    register = registrar.next_register()
    headers = [("Retry-After", "1000")]
    answer = reply(register, 403, f"No {HOSTILE} more", headers=headers)
    registrar.endpoint.send(answer, whence.address)
    assert "more" in whence.wait_state(registrar.trunk_id, "waiting")["message"]
    assert not unprintable(shown(whence, registrar))


@pytest.mark.parametrize("field", ["realm", "algorithm"])
def test_challenge_cannot_control_a_terminal(shared_rig: Rig, whence: Whence, field: str) -> None:
    registrar = new_registrar(shared_rig, whence, realm=DOMAIN)
    fields = {"realm": DOMAIN, "algorithm": "MD5", "nonce": "n", field: HOSTILE.replace(" ", "")}
    text = ", ".join(f'{name}="{value}"' for name, value in fields.items())
    registrar.answer(registrar.next_register(), 401, ("WWW-Authenticate", f"Digest {text}"))
    whence.wait_state(registrar.trunk_id, "auth_failed")
    assert not unprintable(shown(whence, registrar))


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
def test_challenge_cannot_inject_a_header(shared_rig: Rig, whence: Whence, injected: str) -> None:
    registrar = new_registrar(shared_rig, whence)
    text = ", ".join(f'{field}="{injected}"' for field in ("realm", "nonce", "opaque"))
    first = registrar.next_register()
    registrar.answer(first, 401, ("WWW-Authenticate", f"Digest {text}"))

    def asks_or_has_failed() -> Message | bool:
        with suppress(AssertionError):
            return registrar.next_register(0.1)
        return registrar.trunk()["state"] == "auth_failed"

    register = eventually(asks_or_has_failed, what="another REGISTER, or auth_failed")
    if not isinstance(register, Message):  # the challenge cannot be answered
        return
    assert "X-Evil" not in register
    new = {name for name, _ in register.headers} - {name for name, _ in first.headers}
    assert new <= {"Authorization"}
    assert all(one["username"] == "acct1" for one in credentials(register))
    assert not unprintable(register.get("Authorization") or "")
    registrar.grant(register)
    whence.wait_registered(registrar.trunk_id)


def test_many_rejected_replies_leave_a_short_log(shared_rig: Rig, whence: Whence) -> None:
    registrar = new_registrar(shared_rig, whence)
    register = registrar.next_register()
    for n in range(500):
        wrong = changed(grants(register), "CSeq", f"{number(register) + 1 + n} REGISTER")
        registrar.endpoint.send(wrong, whence.address)
    registrar.grant(register)
    grant_until_registered(registrar)
