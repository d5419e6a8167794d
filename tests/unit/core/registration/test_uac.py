"""Test which addresses are learned from registrations of Kamailio's module `uac`."""

from collections.abc import Set
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.identification.evidence import call, evidence, trunk
from whence.core.identification import uac_accounts
from whence.core.identification.decision import Decision, Identified, Refused
from whence.core.identification.identify import identify
from whence.core.identification.request import Evidence, Request
from whence.core.identification.trunk import Trunk
from whence.core.identification.uac_accounts import Declined
from whence.core.registration.events import ForgetAddresses, IgnoreReply, Learn
from whence.core.registration.learning import ExpectedSources, Ground
from whence.core.registration.model import Registration, Reply, State
from whence.core.registration.reason import RegistrationReason
from whence.core.registration.uac import UacRequest, answered, asked_ips, unanswered, unregistered
from whence.core.sip.contact import Contact
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri

NOW, GRACE_S = 1_000_000.0, 32.0
FROM = TransportAddress.parse("udp:192.0.2.1:5060")
OURS = Uri("sip", "acme", "192.0.2.9", 5060)
OTHERS = Contact(Uri("sip", "another", "192.0.2.8"), 7200)
NEW = Registration("acme", "", next_at=None)
SENT = UacRequest(OURS, "sip:acct1@provider.example", "call-1", 10, 3600, NOW - 1, asked=(FROM.ip,))


def ok(*contacts: Contact, expires_s: int | None = None, status: int = 200) -> Reply:
    return Reply(status, "OK", 10, contacts, expires_s)


def refusal(status: int) -> Reply:
    return Reply(status, "No", 10)


def registered(at: float = NOW, sent: UacRequest = SENT) -> Registration:
    return answered(NEW, sent, ok(Contact(OURS, 60)), FROM, at, GRACE_S)[0]


@pytest.mark.parametrize(
    ("reply", "granted_s"),
    [
        (ok(Contact(OURS, 60)), 60),
        (ok(OTHERS, Contact(OURS, 90)), 90),
        (ok(Contact(OURS), expires_s=120), 120),
        (ok(expires_s=30), 30),
        (ok(), 3600),
        (ok(Contact(OURS, 60), status=202), 60),
    ],
)
def test_grant_learns_its_source_for_the_granted_time(reply: Reply, granted_s: int) -> None:
    after, actions = answered(NEW, SENT, reply, FROM, NOW, GRACE_S)
    assert actions == (Learn(FROM, NOW + granted_s + GRACE_S),)
    assert (after.state, after.expires_at) == (State.REGISTERED, NOW + granted_s)
    assert after.registrar == FROM


IMPOSTOR = TransportAddress.parse("udp:192.0.2.66:5060")
IGNORED = IgnoreReply(IMPOSTOR, "192.0.2.1")


def test_grant_by_unexpected_source_learns_nothing() -> None:
    after, actions = answered(NEW, SENT, ok(Contact(OURS, 60)), IMPOSTOR, NOW, GRACE_S)
    assert actions == (IGNORED,)
    assert (after.state, after.expires_at) == (State.REGISTERED, NOW + 60)
    assert (after.registrar, after.learned_until, after.unexpected) == (None, None, IMPOSTOR)


def test_grant_by_unexpected_source_keeps_server_and_end() -> None:
    refresh = replace(SENT, cseq=11, at=NOW + 40)
    reply = ok(Contact(OURS, 600))
    after, actions = answered(registered(), refresh, reply, IMPOSTOR, NOW + 41, GRACE_S)
    assert actions == (IGNORED,)
    assert (after.registrar, after.learned_until) == (FROM, NOW + 60)


def test_grant_by_server_after_unexpected_one_is_learned() -> None:
    unexpected, _ = answered(NEW, SENT, ok(Contact(OURS, 60)), IMPOSTOR, NOW, GRACE_S)
    after, actions = answered(unexpected, SENT, ok(Contact(OURS, 90)), FROM, NOW + 1, GRACE_S)
    assert actions == (Learn(FROM, NOW + 91 + GRACE_S),)
    assert (after.registrar, after.unexpected) == (FROM, None)
    again = answered(after, SENT, ok(Contact(OURS, 60)), IMPOSTOR, NOW + 2, GRACE_S)
    assert again == (after, ())


def test_grant_with_unknown_asked_ip_learns_nothing() -> None:
    for text in ("", "?"):
        asked, unreadable = asked_ips([text])
        assert (asked, "".join(unreadable)) == ((), text)
        sent = replace(SENT, asked=asked)
        _, actions = answered(NEW, sent, ok(), FROM, NOW, GRACE_S)
        assert [type(action) for action in actions] == [IgnoreReply]


@pytest.mark.parametrize("asked", ["192.0.2.1", "[::ffff:192.0.2.1]", "::ffff:c000:201"])
def test_asked_ip_is_compared_as_a_value(asked: str) -> None:
    ips, _ = asked_ips(["?", "", asked])
    _, actions = answered(NEW, replace(SENT, asked=ips), ok(), FROM, NOW, GRACE_S)
    assert [type(action) for action in actions] == [Learn]


def test_grant_with_learn_from_any_learns_any_source() -> None:
    expected = ExpectedSources(any_source=True)
    _, actions = answered(NEW, SENT, ok(), IMPOSTOR, NOW, GRACE_S, expected)
    assert actions == (Learn(IMPOSTOR, NOW + 3600 + GRACE_S, Ground.ANY),)


@pytest.mark.parametrize("reply", [ok(OTHERS), ok(Contact(OURS, 0)), ok(expires_s=0)])
def test_grant_of_no_time_or_other_contact_fails(reply: Reply) -> None:
    after, actions = answered(NEW, SENT, reply, FROM, NOW, GRACE_S)
    assert (after.state, actions) == (State.WAITING, ())


def test_grant_repeated_changes_nothing() -> None:
    before = registered()
    again = answered(before, SENT, ok(Contact(OURS, 60)), FROM, NOW + 4, GRACE_S)
    assert again == (before, ())
    assert again[0] is before


def test_refresh_extends_the_grant() -> None:
    refresh = replace(SENT, cseq=11, at=NOW + 40)
    after, actions = answered(registered(), refresh, ok(Contact(OURS, 60)), FROM, NOW + 41, GRACE_S)
    assert actions == (Learn(FROM, NOW + 101 + GRACE_S),)
    assert after.since == NOW


@pytest.mark.parametrize("status", [403, 404, 408, 423, 500, 503, 603, 302])
def test_refresh_that_fails_ends_nothing(status: int) -> None:
    before, refresh = registered(), replace(SENT, cseq=11, at=NOW + 40)
    after, actions = answered(before, refresh, refusal(status), FROM, NOW + 41, GRACE_S)
    assert actions == ()
    assert after.expires_at == before.expires_at
    assert (after.state, after.last_status, after.failures) == (State.WAITING, status, 1)
    timed_out = unanswered(after, replace(refresh, cseq=12), NOW + 50)
    assert (timed_out.expires_at, timed_out.failures) == (before.expires_at, 2)
    assert (timed_out.reason, timed_out.last_status) == (RegistrationReason.NO_ANSWER, None)


@pytest.mark.parametrize("status", [401, 407])
def test_challenge_is_a_failure_only_after_credentials(status: int) -> None:
    before = registered()
    challenged, _ = answered(before, SENT, refusal(status), FROM, NOW, GRACE_S)
    assert challenged is before
    wrong = replace(SENT, cseq=11, answers=True)
    assert answered(before, wrong, refusal(status), FROM, NOW, GRACE_S)[0].state is State.WAITING


def test_unregistered_account_loses_its_address() -> None:
    after, actions = unregistered(registered(), NOW + 10)
    assert actions == (ForgetAddresses(),)
    assert (after.state, after.expires_at) == (State.UNREGISTERED, None)


@pytest.mark.parametrize("listed", [(), (Contact(OURS, 0),), (Contact(OURS, 60),)])
def test_answer_to_unregister_learns_nothing(listed: tuple[Contact, ...]) -> None:
    before, _ = unregistered(registered(), NOW + 10)
    un_register = replace(SENT, cseq=11, expires_s=0, at=NOW + 10)
    for reply in (ok(*listed), refusal(503)):
        assert answered(before, un_register, reply, FROM, NOW + 11, GRACE_S) == (before, ())
    assert unanswered(before, un_register, NOW + 40) is before


def test_answer_to_older_register_after_unregister_is_ignored() -> None:
    """The 200 to the REGISTER arrives after the un-REGISTER was sent."""
    before, _ = unregistered(registered(), NOW + 10)
    for at, comes_back in ((NOW + 9.9, False), (NOW + 10, False), (NOW + 10.1, True)):
        late = replace(SENT, cseq=11, at=at)
        after, actions = answered(before, late, ok(Contact(OURS, 60)), FROM, NOW + 11, GRACE_S)
        assert (after is not before) == comes_back
        assert bool(actions) == comes_back


@given(
    status=st.integers(100, 699),
    contacts=st.lists(st.sampled_from([Contact(OURS, 60), Contact(OURS), OTHERS]), max_size=3),
    expires_s=st.none() | st.integers(0, 7200),
    asked_s=st.integers(0, 7200),
    answers=st.booleans(),
)
def test_learn_needs_a_2xx_that_grants_our_contact(
    status: int, contacts: list[Contact], expires_s: int | None, asked_s: int, answers: bool
) -> None:
    reply = Reply(status, "", 10, tuple(contacts), expires_s)
    sent = replace(SENT, expires_s=asked_s, answers=answers)
    before = registered(NOW - 30, replace(SENT, cseq=9))
    after, actions = answered(before, sent, reply, FROM, NOW, GRACE_S)
    ours = not contacts or any(contact.uri == OURS for contact in contacts)
    if actions:
        assert 200 <= status < 300
        assert ours
        assert asked_s > 0
        assert after.expires_at is not None
        assert after.expires_at > NOW
    else:
        assert after.expires_at == before.expires_at


# The trunk of a call, among the accounts that `uac` still has.

ACME, BELL, COAL = trunk("acme"), trunk("bell"), trunk("coal")


def choose(
    request: Request, *accounts: Trunk, gone: Set[str] = frozenset(), missed: Set[str] = frozenset()
) -> uac_accounts.ChosenAccount | uac_accounts.NoAccount:
    def decide(without: Set[str]) -> tuple[Decision, Evidence]:
        seen = evidence(
            *(t._replace(addresses=()) if t.id in without else t for t in accounts),
            numbers={"bell": ["+44202"], "acme": ["+44201"]},
        )
        return identify(request, seen, NOW), seen

    return uac_accounts.choose(decide, lambda id_: id_ not in gone, missed.__contains__)


def test_choose_with_all_accounts_is_the_decision() -> None:
    chosen = choose(call("sip:token-acme@h"), ACME, BELL)
    assert isinstance(chosen, uac_accounts.ChosenAccount)
    assert isinstance(chosen.decision, Identified)
    assert (chosen.decision.trunk.id, chosen.among_all) == ("acme", True)


def test_choose_with_a_removed_account_takes_the_only_other() -> None:
    chosen = choose(call(), ACME, BELL, gone={"bell"})
    assert isinstance(chosen, uac_accounts.ChosenAccount)
    assert isinstance(chosen.decision, Identified)
    assert (chosen.decision.trunk.id, chosen.among_all) == ("acme", False)


def test_choose_call_that_names_removed_account_declines() -> None:
    chosen = choose(call("sip:token-bell@h"), ACME, BELL, gone={"bell"})
    assert isinstance(chosen, uac_accounts.NoAccount)
    assert chosen.reason is Declined.ACCOUNT_GONE


def test_choose_call_of_removed_account_ignores_to() -> None:
    for ruri in ("sip:+44202@h", "sip:user-bell@h", "sip:token-bell@h"):
        chosen = choose(call(ruri, to="sip:+44201@h"), ACME, BELL, COAL, gone={"bell"})
        assert isinstance(chosen, uac_accounts.NoAccount)
        assert chosen.reason is Declined.ACCOUNT_GONE


def test_choose_while_uac_reloads_declines_missing_account() -> None:
    chosen = choose(call(), ACME, BELL, gone={"bell"}, missed={"bell"})
    assert isinstance(chosen, uac_accounts.NoAccount)
    assert chosen.reason is Declined.ACCOUNT_MISSED
    assert chosen.message == "uac has no account bell now"


def test_choose_among_several_accounts_refuses() -> None:
    chosen = choose(call(), ACME, BELL, COAL, gone={"bell"})
    assert isinstance(chosen, uac_accounts.ChosenAccount)
    assert isinstance(chosen.decision, Refused)
    assert chosen.decision.candidates == ("acme", "coal")


def test_choose_with_many_removed_accounts_is_bounded() -> None:
    accounts = [trunk(f"gone-{n}") for n in range(40)]
    asked: list[str] = []

    def exists(id_: str) -> bool:
        asked.append(id_)
        return False

    def decide(without: Set[str]) -> tuple[Decision, Evidence]:
        left = [t for t in accounts if t.id not in without][:2]
        return identify(call(), evidence(*left), NOW), evidence(*left)

    chosen = uac_accounts.choose(decide, exists, lambda _: False)
    assert isinstance(chosen, uac_accounts.NoAccount)
    assert chosen.reason is Declined.TOO_MANY_ACCOUNTS_GONE
    assert len(asked) < 40
