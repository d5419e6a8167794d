"""Whole calls: a phone, the functions as the edge calls them, and trunks of all kinds."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.outbound.provider import PASSWORD, USER, Realm
from whence.core.outbound.answers import (
    Answer,
    AnswerChallenge,
    FinalAnswer,
    Pass,
    TryNext,
    final_answer,
    initial_answer,
)
from whence.core.outbound.caller import caller_of
from whence.core.outbound.health import HEALTHY
from whence.core.outbound.identity import identity
from whence.core.outbound.model import FromUser, OutboundTrunk, OutboundUser, Routing
from whence.core.outbound.numbers import DialPlan, called_party
from whence.core.outbound.rewriting import (
    DialogRequest,
    initial_lines,
    late_answer_lines,
    request_lines,
    tries_of,
)
from whence.core.outbound.rounds import ROUNDS_LIMIT, Rounds
from whence.core.outbound.route_state import Kind, RouteState, read_state, write_state
from whence.core.outbound.selection import TrunkStatus, plan_call
from whence.core.sip.challenges import parse_challenges
from whence.core.sip.digest import Credentials
from whence.core.sip.secret import Secret
from whence.core.sip.uri import Uri

NOON = 1_800_000_000.0
KEY = "11" * 32
DOMAIN = "edge.example"
CREDENTIALS = Credentials(USER, Secret(PASSWORD))
ALICE = OutboundUser("alice", ("t0", "t1", "t2"), "+442071234567")
ANSWERS = (0, 408, 403, 486, 404, 603, 500, 503, 302, 200, 200, 200)


@dataclass
class Provider:
    """A strict server: each request needs a higher CSeq. `status`: its answer; 0: none at all."""

    status: int
    realms: list[Realm]
    at_trunk: bool = True
    cseqs: list[int] = field(default_factory=list)

    def answers(self, method: str, headers: list[tuple[str, str]], uri: str) -> FinalAnswer:
        cseq, named = dict(headers)["CSeq"].split()
        assert named == method
        assert all(cseq_ < int(cseq) for cseq_ in self.cseqs)
        self.cseqs.append(int(cseq))
        assert "alice" not in repr(headers)
        if self.status == 0:
            return FinalAnswer(408, timed_out=True)
        for realm in self.realms:
            verdict = realm.accepts(method, uri, headers)
            if verdict != "ok":
                challenges = tuple(
                    one
                    for proxy, text in realm.challenge(stale=verdict == "stale")
                    for one in parse_challenges(text, proxy=proxy)
                )
                return FinalAnswer(407, challenges, self.at_trunk)
        return FinalAnswer(self.status, from_trunk=self.at_trunk)


@dataclass
class Result:
    status: int
    state: str = ""
    trunk: OutboundTrunk | None = None
    provider: Provider | None = None


def call(providers: list[Provider], cseq: int) -> Result:
    """Make a call as the edge does, and return what the phone gets."""
    called = called_party(
        Uri.parse(f"sip:+493012345678@{DOMAIN}"), True, lambda _: False, {"112"}, DialPlan()
    )
    assert called is not None
    trunks = {
        f"t{i}": OutboundTrunk(f"t{i}", USER, f"p{i}.example", from_user=FromUser.NUMBER)
        for i in range(len(providers))
    }
    status = {id_: TrunkStatus(trunk, registered=True) for id_, trunk in trunks.items()}
    plan = plan_call(called, ALICE, Routing(), status, NOON)
    caller = caller_of(
        ALICE, {"from": [f"<sip:alice@{DOMAIN}>;tag=a"]}, DialPlan(), emergency=False
    )
    tried: list[TryNext] = []
    for trunk in plan.trunks:
        provider, rounds = providers[int(trunk.id[1:])], Rounds()
        while True:
            shown = identity(trunk, caller, called)
            assert shown is not None
            lines = initial_lines(shown, cseq, rounds.tries, "a")
            digests = rounds.authorizations(CREDENTIALS, "INVITE", shown.request_uri, "c")
            answer = provider.answers("INVITE", [*lines, *digests], shown.request_uri)
            if answer.status == 200:
                state = RouteState(
                    Kind.OUT,
                    "alice",
                    trunk.id,
                    cseq,
                    rounds.tries,
                    shown.our_user,
                    shown.their_user,
                    f"sip:alice@{DOMAIN}",
                    f"sip:+493012345678@{DOMAIN}",
                )
                value = write_state(KEY, "call", "a", state, DOMAIN)
                return Result(200, value, trunk, provider)
            outcome = initial_answer(answer, rounds, CREDENTIALS, canceled=False)
            if not isinstance(outcome, AnswerChallenge):
                break
            rounds = outcome.rounds
        if isinstance(outcome, Answer):
            return Result(outcome.status)
        if isinstance(outcome, Pass):
            return Result(answer.status)
        tried.append(outcome)
    return Result(final_answer(tried).status)


realms = st.lists(
    st.builds(
        Realm,
        st.sampled_from(["a", "b"]),
        st.sampled_from([("MD5",), ("SHA-256",), ("SHA-512-256-sess", "MD5"), ("X",)]),
        st.sampled_from(["auth", None]),
        password=st.sampled_from([PASSWORD, PASSWORD, "another"]),
        stale=st.integers(0, 1),
    ),
    max_size=2,
    unique_by=lambda realm: realm.name,
)
behaviours = st.lists(
    st.builds(Provider, st.sampled_from(ANSWERS), realms, st.sampled_from([True, True, False])),
    min_size=1,
    max_size=3,
)
cseqs = st.integers(0, 2**31 - 1)


@given(behaviours, cseqs)
def test_call_ends_with_answer_that_phone_can_use(providers: list[Provider], cseq: int) -> None:
    result = call(providers, cseq)
    assert result.status == 200 or 400 <= result.status < 700
    assert result.status not in (401, 407, 503)
    assert all(len(provider.cseqs) <= ROUNDS_LIMIT + 1 for provider in providers)


@given(behaviours, cseqs)
def test_call_tries_no_trunk_after_answer_of_callee(providers: list[Provider], cseq: int) -> None:
    result = call(providers, cseq)
    asked = [bool(provider.cseqs) for provider in providers]
    assert asked == sorted(asked, reverse=True)  # in their order, without a gap
    if result.status in (200, 486, 404, 603, 480):
        last = [provider for provider in providers if provider.cseqs][-1]
        assert last.status == {480: 302}.get(result.status, result.status)


@given(behaviours, cseqs)
def test_server_at_no_address_of_trunk_gets_no_digest(providers: list[Provider], cseq: int) -> None:
    call(providers, cseq)
    for provider in providers:
        if not provider.at_trunk:
            assert not any(realm.seen for realm in provider.realms)


@given(behaviours, st.integers(0, 2**28 - 10))
def test_request_in_answered_call_has_higher_cseq(providers: list[Provider], cseq: int) -> None:
    result = call(providers, cseq)
    if result.status != 200:
        return
    assert result.provider is not None
    assert result.trunk is not None
    read = read_state(KEY, "call", "a", "b", result.state, DOMAIN)
    assert read is not None
    state, from_caller = read
    assert from_caller
    invite = result.provider.cseqs[-1]
    ack = DialogRequest("ACK", cseq, "a", "b")
    lines = dict(
        request_lines(state, ack, result.trunk, from_caller=True, tries=tries_of(state, cseq, None))
    )
    assert lines["CSeq"] == f"{invite} ACK"
    answer = DialogRequest("INVITE", invite, "a", "b")
    late = dict(late_answer_lines(state, answer, result.trunk, from_caller=True))
    assert late["CSeq"] == f"{cseq} INVITE"
    assert late["From"] == f"<sip:alice@{DOMAIN}>;tag=a"
    bye = DialogRequest("BYE", cseq + 1, "a", "b")
    changed = request_lines(state, bye, result.trunk, from_caller=True, tries=0)
    result.provider.realms = []
    result.provider.answers("BYE", list(changed), "sip:x@p.example")


@given(st.lists(st.booleans(), max_size=20))
def test_trunk_that_recovers_is_first_again(failures: list[bool]) -> None:
    health, now = HEALTHY, NOON
    for failed in failures:
        health = health.failed(now) if failed else HEALTHY
        now += 100
    trunk = OutboundTrunk("t0", USER, "p0.example")
    other = TrunkStatus(OutboundTrunk("t1", USER, "p1.example"), registered=True)
    status = {"t0": TrunkStatus(trunk, registered=True, health=health), "t1": other}
    called = called_party(Uri.parse("tel:+493012345678"), False, lambda _: False, (), DialPlan())
    assert called is not None
    later = plan_call(called, ALICE, Routing(), status, now + 1000)
    assert [one.id for one in later.trunks] == ["t0", "t1"]
