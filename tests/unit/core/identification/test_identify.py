"""The identification rules, with a test for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import event, given, settings

from tests.examples import examples
from tests.unit.core.identification.evidence import (
    ELSEWHERE,
    PROVIDER,
    at,
    call,
    evidence,
    trunk,
    uri,
)
from tests.unit.core.identification.world import (
    NOW,
    Call,
    World,
    account_forms,
    calls,
    forms,
    oracle,
    worlds,
)
from whence.core.identification.decision import Decision, Identified, Reason, Refused, Rule, Unknown
from whence.core.identification.identify import dialled, identify
from whence.core.identification.request import Evidence, Request
from whence.core.identification.trunk import Trunk
from whence.core.sip.phone_number import closeness, owns
from whence.core.sip.transport_address import (
    Transport,
    TransportAddress,
    canonical_ip,
)
from whence.core.sip.uri import Uri


def identified(decision: Decision) -> tuple[str, Rule]:
    assert isinstance(decision, Identified), decision
    return decision.trunk.id, decision.rule


def refused(decision: Decision) -> tuple[str, tuple[str, ...]]:
    assert isinstance(decision, Refused), decision
    return decision.reason, decision.candidates


# Only an address admits a request.


def test_source_without_an_address_is_unknown_with_any_headers() -> None:
    known = evidence(trunk("acme"), numbers={"acme": ["+44201"]})
    for ruri in ("sip:token-acme@h", "sip:+44201@h", "sip:user-acme@h", "sip:x@h;line=token-acme"):
        decision = identify(call(ruri, source=f"udp:{ELSEWHERE}:5060"), known, NOW)
        assert isinstance(decision, Unknown)
        assert decision.reason is Reason.UNKNOWN_ADDRESS


def test_address_identifies_until_it_expires() -> None:
    known = evidence(trunk("acme", at(expires_at=NOW + 60)))
    assert isinstance(identify(call(), known, NOW + 59.999), Identified)
    assert isinstance(identify(call(), known, NOW + 60), Unknown)


def test_address_learned_over_tls_identifies_no_udp_call() -> None:
    known = evidence(trunk("acme", at(transport="tls")))
    assert isinstance(identify(call(source=f"udp:{PROVIDER}:5060"), known, NOW), Unknown)
    assert isinstance(identify(call(source=f"tcp:{PROVIDER}:5060"), known, NOW), Unknown)
    assert isinstance(identify(call(source=f"tls:{PROVIDER}:5061"), known, NOW), Identified)


def test_address_learned_over_udp_identifies_a_tls_call() -> None:
    known = evidence(trunk("acme", at(transport="udp")))
    assert isinstance(identify(call(source=f"tls:{PROVIDER}:5061"), known, NOW), Identified)


def test_source_of_mapped_ipv4_equals_the_ipv4_source() -> None:
    decision = identify(call(source=f"udp:[::ffff:{PROVIDER}]:40000"), evidence(trunk("acme")), NOW)
    assert identified(decision) == ("acme", Rule.ONLY_CANDIDATE)


# Rule 1: the token.


def test_token_in_request_uri_user_identifies_its_trunk() -> None:
    known = evidence(trunk("acme"), trunk("bell"))
    assert identified(identify(call("sip:token-bell@h"), known, NOW)) == ("bell", Rule.TOKEN)


def test_token_in_line_parameter_identifies_its_trunk() -> None:
    known = evidence(trunk("acme"), trunk("bell"))
    decision = identify(call("sip:+44201@h;line=token-bell"), known, NOW)
    assert identified(decision) == ("bell", Rule.TOKEN)


def test_token_beats_a_number_of_another_candidate() -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"acme": ["+44201"]})
    decision = identify(call("sip:+44201@h;line=token-bell"), known, NOW)
    assert identified(decision) == ("bell", Rule.TOKEN)


def test_token_of_a_trunk_elsewhere_is_refused() -> None:
    known = evidence(trunk("acme"), trunk("bell", at(ELSEWHERE)))
    decision = identify(call("sip:token-bell@h"), known, NOW)
    assert refused(decision) == ("token_from_wrong_source", ("acme",))


def test_token_from_wrong_source_beside_a_right_is_refused() -> None:
    known = evidence(trunk("acme"), trunk("bell", at(ELSEWHERE)))
    decision = identify(call("sip:token-acme@h;line=token-bell"), known, NOW)
    assert refused(decision)[0] == "token_from_wrong_source"


def test_token_of_a_trunk_with_expired_address_is_refused() -> None:
    known = evidence(trunk("acme"), trunk("bell", at(expires_at=NOW)))
    assert refused(identify(call("sip:token-bell@h"), known, NOW))[0] == "token_from_wrong_source"


def test_token_of_no_trunk_is_ignored() -> None:
    decision = identify(call("sip:token-x@h;line=y"), evidence(trunk("acme")), NOW)
    assert identified(decision) == ("acme", Rule.ONLY_CANDIDATE)


# Rule 2: a number that the trunk owns.


@pytest.mark.parametrize("called", ["+44201", "0044201", "44201", "+44-20.1"])
def test_number_in_request_uri_identifies_its_trunk(called: str) -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"acme": ["+44201"], "bell": ["+44202"]})
    decision = identify(call(f"sip:{quote(called)}@h"), known, NOW)
    assert identified(decision) == ("acme", Rule.NUMBER)


def test_number_order_is_request_uri_called_party_to() -> None:
    known = evidence(
        trunk("acme"),
        trunk("bell"),
        trunk("cable"),
        numbers={"acme": ["+44201"], "bell": ["+44202"], "cable": ["+44203"]},
    )
    asked = call("sip:+44201@h", p_called_party_id="sip:+44202@h", to="sip:+44203@h")
    assert identified(identify(asked, known, NOW)) == ("acme", Rule.NUMBER)
    asked = replace(asked, ruri=uri("sip:main@h"))
    assert identified(identify(asked, known, NOW)) == ("bell", Rule.NUMBER)
    asked = replace(asked, p_called_party_id=None)
    assert identified(identify(asked, known, NOW)) == ("cable", Rule.NUMBER)


def test_number_of_two_candidates_narrows_to_these() -> None:
    known = evidence(
        trunk("acme"),
        trunk("bell"),
        trunk("cable"),
        numbers={"acme": ["+44201"], "bell": ["+44201"], "cable": ["+44202"]},
    )
    decision = identify(call("sip:+44201@h"), known, NOW)
    assert refused(decision) == ("ambiguous", ("acme", "bell"))
    # Later rules choose between the two, and never add the third again.
    decision = identify(call("sip:+44201@h", to="sip:+44202@h"), known, NOW)
    assert refused(decision) == ("ambiguous", ("acme", "bell"))


def test_prefix_owns_every_number_that_begins_with_it() -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"acme": ["+44201*"], "bell": []})
    for number in ("+44201", "0044201", "44201", "+4420177", "+44201778"):
        assert identified(identify(call(f"sip:{number}@h"), known, NOW)) == ("acme", Rule.NUMBER)
    assert refused(identify(call("sip:+44202@h"), known, NOW)) == ("ambiguous", ("acme", "bell"))


def test_number_beats_prefix_and_longer_beats_shorter() -> None:
    prefixes = {"acme": ["+4420*"], "bell": ["+44201*"], "cable": ["+4420177"]}
    known = evidence(*map(trunk, prefixes), numbers=prefixes)
    for number, owner in {"+44202": "acme", "+44201": "bell", "+4420177": "cable"}.items():
        assert identified(identify(call(f"sip:{number}@h"), known, NOW)) == (owner, Rule.NUMBER)


def test_prefix_of_a_trunk_elsewhere_does_not_count() -> None:
    known = evidence(
        trunk("acme"),
        trunk("bell"),
        trunk("cable", at(ELSEWHERE)),
        numbers={"acme": ["+4420*"], "cable": ["+4420177"]},
    )
    decision = identify(call("sip:+4420177@h"), known, NOW)
    assert identified(decision) == ("acme", Rule.NUMBER)


def test_prefix_in_request_uri_beats_a_number_in_to() -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"acme": ["+4420*"], "bell": ["+44203"]})
    decision = identify(call("sip:+44201@h", to="sip:+44203@h"), known, NOW)
    assert identified(decision) == ("acme", Rule.NUMBER)


def test_prefix_of_two_candidates_leaves_later_rules() -> None:
    shared = {"acme": ["+44201*"], "bell": ["+44201*", "+4420*"], "cable": ["+4420*", "+44203"]}
    known = evidence(*map(trunk, shared), numbers=shared)
    decision = identify(call("sip:+4420177@h"), known, NOW)
    assert refused(decision) == ("ambiguous", ("acme", "bell"))
    decision = identify(call("sip:+4420177@h", to="sip:+44203@h"), known, NOW)
    assert identified(decision) == (
        "bell",
        Rule.NUMBER,
    )  # the first rule excluded cable; bell's prefix holds the number


# Rule 3: the account, in the same places.


@pytest.mark.parametrize("place", ["ruri", "to", "p_called_party_id"])
def test_account_in_each_place_chooses_its_trunk(place: str) -> None:
    known = evidence(trunk("acme"), trunk("bell"))
    asked = call(**{place: "sip:user-bell@h"})
    assert identified(identify(asked, known, NOW)) == ("bell", Rule.AOR_USER)


def test_account_in_another_case_names_no_trunk() -> None:
    known = evidence(trunk("acme"), trunk("bell"))
    assert refused(identify(call("sip:USER-bell@h"), known, NOW))[0] == "ambiguous"


def test_request_uri_account_beats_number_in_to() -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"acme": ["+44201"]})
    for header in ("to", "p_called_party_id"):
        asked = call("sip:user-bell@h", **{header: "sip:+44201@h"})
        assert identified(identify(asked, known, NOW)) == ("bell", Rule.AOR_USER)


@pytest.mark.parametrize("place", ["ruri", "to", "p_called_party_id"])
@pytest.mark.parametrize("account", ["44201", "+44201", "0044201"])
@pytest.mark.parametrize("owned", ["+44201", "+4420*"])
@pytest.mark.parametrize("fallback", [False, True])
def test_number_that_is_anothers_account_is_ambiguous(
    place: str, account: str, owned: str, fallback: bool
) -> None:
    three, four = trunk("three", user=account), trunk("four")
    known = evidence(three, four, trunk("five", fallback=fallback), numbers={"four": [owned]})
    decision = identify(call(**{place: f"sip:{account}@h"}), known, NOW)
    assert refused(decision)[0] == "ambiguous"
    assert decision.steps[-1].left == ("four", "three")


def test_account_that_is_a_number_of_the_same_trunk_is_its_own() -> None:
    known = evidence(trunk("acme", user="44201"), trunk("bell"), numbers={"acme": ["+44201"]})
    for called_ in ("44201", "+44201"):
        assert identified(identify(call(f"sip:{called_}@h"), known, NOW))[0] == "acme"


def test_own_number_closer_than_anothers_prefix_is_no_conflict() -> None:
    numbers = {"acme": ["+44201"], "bell": ["+4420*"]}
    known = evidence(trunk("acme", user="44201"), trunk("bell"), numbers=numbers)
    assert identified(identify(call("sip:44201@h"), known, NOW))[0] == "acme"


# A trunk that is named, and is no candidate.

GONE = {
    "disabled": trunk("disabled", at(ELSEWHERE)),
    "elsewhere": trunk("elsewhere", at(ELSEWHERE)),
    "expired": trunk("expired", at(expires_at=NOW)),
}


@pytest.mark.parametrize("gone", GONE)
@pytest.mark.parametrize("place", ["ruri", "p_called_party_id"])
@pytest.mark.parametrize("named", ["number", "spelling", "prefix", "account"])
@pytest.mark.parametrize("others", ["alone", "fallback", "port"])
def test_name_of_trunk_that_is_no_candidate_is_refused(
    gone: str, place: str, named: str, others: str
) -> None:
    here = {
        "alone": [trunk("mine")],
        "fallback": [trunk("mine", fallback=True), trunk("two")],
        "port": [trunk("mine", at(port=5080)), trunk("two")],
    }[others]
    user = {"number": "+44202", "spelling": "0044202", "prefix": "+44201778"}.get(
        named, f"user-{gone}"
    )
    known = evidence(*here, GONE[gone], numbers={gone: ["+44202", "+44201*"], "mine": ["+44203"]})
    asked = call(source=f"udp:{PROVIDER}:5080", **{place: f"sip:{user}@h"})
    decision = identify(asked, known, NOW)
    assert refused(decision) == ("number_of_another_trunk", tuple(t.id for t in here))
    assert decision.steps[-1].left == (gone,)


def test_to_overrides_no_request_uri_that_names_another() -> None:
    numbers = {"mine": ["+44201"], "elsewhere": ["+44202"]}
    known = evidence(trunk("mine"), trunk("two"), GONE["elsewhere"], numbers=numbers)
    for first in ({"ruri": "sip:+44202@h"}, {"p_called_party_id": "sip:+44202@h"}):
        decision = identify(call(to="sip:+44201@h", **first), known, NOW)
        assert refused(decision)[0] == "number_of_another_trunk"


def test_to_of_another_trunk_takes_nothing_from_a_candidate() -> None:
    numbers = {"mine": ["+44201"], "elsewhere": ["+44202"]}
    known = evidence(trunk("mine"), GONE["elsewhere"], numbers=numbers)
    for ruri, rule in (("sip:+44201@h", Rule.NUMBER), ("sip:x@h", Rule.ONLY_CANDIDATE)):
        decision = identify(call(ruri, to="sip:+44202@h"), known, NOW)
        assert identified(decision) == ("mine", rule)


def test_candidate_that_owns_the_number_too_gets_the_call() -> None:
    for owned in ("+44202", "+4420*"):
        numbers = {"mine": [owned], "elsewhere": ["+44202"]}
        known = evidence(trunk("mine"), trunk("two"), GONE["elsewhere"], numbers=numbers)
        assert identified(identify(call("sip:+44202@h"), known, NOW)) == ("mine", Rule.NUMBER)


def test_token_of_a_candidate_beats_a_name_of_another_trunk() -> None:
    known = evidence(trunk("mine"), GONE["elsewhere"], numbers={"elsewhere": ["+44202"]})
    asked = call("sip:token-mine@h", p_called_party_id="sip:+44202@h")
    assert identified(identify(asked, known, NOW)) == ("mine", Rule.TOKEN)


def test_several_absent_owners_are_all_named() -> None:
    numbers = {"elsewhere": ["+44202"], "expired": ["+44202"]}
    known = evidence(trunk("mine"), GONE["elsewhere"], GONE["expired"], numbers=numbers)
    decision = identify(call("sip:+44202@h"), known, NOW)
    assert decision.steps[-1].left == ("elsewhere", "expired")


# number_headers: the headers that may name a trunk.


def test_number_headers_name_the_trunk_in_their_order() -> None:
    headers = ("x-called", "diversion", "to")
    numbers = {"acme": ["+44201"], "bell": ["+44202"]}
    known = evidence(*(trunk(id_, headers=headers) for id_ in numbers), numbers=numbers)
    asked = call(x_called="+44 201", diversion="<sip:+44202@h>", to="sip:+44202@h")
    assert identified(identify(asked, known, NOW)) == ("acme", Rule.NUMBER)
    asked = call(diversion="<sip:x@h>, <sip:+44202@h>", to="sip:+44201@h")
    assert identified(identify(asked, known, NOW)) == ("bell", Rule.NUMBER)


def test_header_that_no_trunk_lists_is_ignored() -> None:
    numbers = {"acme": ["+44201"], "bell": ["+44202"]}
    known = evidence(*map(trunk, numbers), numbers=numbers)
    decision = identify(call(x_called="+44201", diversion="<sip:+44201@h>"), known, NOW)
    assert refused(decision)[0] == "ambiguous"


def test_to_is_ignored_for_a_trunk_without_it_in_its_headers() -> None:
    acme = trunk("acme", headers=("p-called-party-id",))
    known = evidence(acme, trunk("bell"), numbers={"acme": ["+44201"]})
    assert refused(identify(call(to="sip:+44201@h"), known, NOW))[0] == "ambiguous"


def test_first_headers_of_two_trunks_at_odds_are_ambiguous() -> None:
    acme, bell = trunk("acme", headers=("x-a",)), trunk("bell", headers=("x-b",), fallback=True)
    known = evidence(acme, bell, numbers={"acme": ["+44201"], "bell": ["+44202"]})
    decision = identify(call(x_a="+44201", x_b="+44202"), known, NOW)
    assert refused(decision) == ("ambiguous", ("acme", "bell"))


@pytest.mark.parametrize("header", ["x-called", "p-preferred-identity"])
@pytest.mark.parametrize("to", ["sip:nobody@h", "sip:+44201@h"])
def test_own_header_that_names_another_trunk_is_refused(header: str, to: str) -> None:
    mine = trunk("mine", headers=(header, "to"))
    numbers = {"mine": ["+44201"], "elsewhere": ["+44202"]}
    known = evidence(mine, GONE["elsewhere"], numbers=numbers)
    asked = call(to=to, **{header.replace("-", "_"): "<sip:+44202@h>"})
    assert refused(identify(asked, known, NOW))[0] == "number_of_another_trunk"


def test_diversion_by_another_trunk_is_no_reason_to_refuse() -> None:
    mine = trunk("mine", headers=("diversion", "history-info", "to"))
    known = evidence(mine, GONE["elsewhere"], numbers={"elsewhere": ["+44202"]})
    asked = call(diversion="<sip:+44202@h>", history_info="<sip:+44202@h>;index=1")
    assert identified(identify(asked, known, NOW)) == ("mine", Rule.ONLY_CANDIDATE)


def test_history_info_counts_from_its_last_entry() -> None:
    numbers = {"acme": ["+44201"], "bell": ["+44202"]}
    known = evidence(*(trunk(i, headers=("history-info",)) for i in numbers), numbers=numbers)
    asked = call(history_info="<sip:+44201@h>;index=1, <sip:+44202@h?Reason=x>;index=1.1")
    assert identified(identify(asked, known, NOW)) == ("bell", Rule.NUMBER)


# Rule 4: the exact port.


def test_port_distinguishes_two_candidates() -> None:
    known = evidence(trunk("acme", at(port=5060)), trunk("bell", at(port=5080)))
    decision = identify(call(source=f"udp:{PROVIDER}:5080"), known, NOW)
    assert identified(decision) == ("bell", Rule.PORT)


def test_port_of_an_expired_address_is_ignored() -> None:
    known = evidence(
        trunk("acme", at(port=5080, expires_at=NOW), at(port=5070)), trunk("bell", at(port=5060))
    )
    decision = identify(call(source=f"udp:{PROVIDER}:5080"), known, NOW)
    assert refused(decision) == ("ambiguous", ("acme", "bell"))


# Rules 5 and 6: the only candidate, and the fallback.


def test_only_candidate_gets_the_call() -> None:
    decision = identify(call(), evidence(trunk("acme")), NOW)
    assert identified(decision) == ("acme", Rule.ONLY_CANDIDATE)
    assert isinstance(decision, Identified)
    assert decision.reason is Rule.ONLY_CANDIDATE
    assert decision.message == "only candidate of trunk acme"


def test_unmatched_refuse_accepts_only_calls_that_name_it() -> None:
    acme = trunk("acme", at(port=5060), unmatched="refuse")
    known = evidence(acme, numbers={"acme": ["+44201"]})
    for unmatched in (call(), call("sip:+44202@h"), call(source=f"udp:{PROVIDER}:5060")):
        assert refused(identify(unmatched, known, NOW)) == ("unmatched", ("acme",))
    named = {
        Rule.TOKEN: call("sip:x@h;line=token-acme"),
        Rule.NUMBER: call(to="sip:0044201@h"),
        Rule.AOR_USER: call("sip:user-acme@h"),
    }
    for rule, asked in named.items():
        assert identified(identify(asked, known, NOW)) == ("acme", rule)


def test_unmatched_refuse_gives_no_call_to_another_candidate() -> None:
    """The refusal by one candidate is no reason to give the call to the other."""
    known = evidence(trunk("acme", unmatched="refuse"), trunk("bell"))
    assert refused(identify(call(), known, NOW)) == ("ambiguous", ("acme", "bell"))


def test_port_counts_only_between_several_candidates() -> None:
    acme, bell = (trunk(i, at(port=p), unmatched="refuse") for i, p in (("a", 5060), ("b", 5080)))
    asked = call(source=f"udp:{PROVIDER}:5080")
    assert identified(identify(asked, evidence(acme, bell), NOW)) == ("b", Rule.PORT)
    assert refused(identify(asked, evidence(bell), NOW)) == ("unmatched", ("b",))


def test_fallback_gets_ambiguous_calls() -> None:
    known = evidence(
        trunk("acme"), trunk("bell", fallback=True), trunk("cable"), numbers={"cable": ["+44201"]}
    )
    assert identified(identify(call(), known, NOW)) == ("bell", Rule.FALLBACK)
    assert identified(identify(call("sip:+44201@h"), known, NOW)) == ("cable", Rule.NUMBER)


def test_fallback_elsewhere_gets_no_call() -> None:
    known = evidence(trunk("acme"), trunk("bell"), trunk("cable", at(ELSEWHERE), fallback=True))
    assert refused(identify(call(), known, NOW)) == ("ambiguous", ("acme", "bell"))


def test_fallback_excluded_by_a_number_gets_no_call() -> None:
    shared = {"acme": ["+44201"], "bell": ["+44201"]}
    known = evidence(trunk("acme"), trunk("bell"), trunk("cable", fallback=True), numbers=shared)
    assert refused(identify(call("sip:+44201@h"), known, NOW)) == ("ambiguous", ("acme", "bell"))


def test_fallbacks_of_two_candidates_are_ambiguous() -> None:
    known = evidence(trunk("acme"), trunk("bell", fallback=True), trunk("cable", fallback=True))
    assert refused(identify(call(), known, NOW)) == ("ambiguous", ("bell", "cable"))


def test_accounts_at_one_address_without_a_name_are_refused() -> None:
    """In other products, each such call is given to the first account."""
    known = evidence(trunk("acme"), trunk("bell"))
    assert refused(identify(call(), known, NOW)) == ("ambiguous", ("acme", "bell"))


# The steps of a decision.


def test_decision_lists_each_rule_and_the_trunks_left() -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"bell": ["+44201"]})
    decision = identify(call("sip:+44201@h"), known, NOW)
    assert [str(step) for step in decision.steps] == [
        "address: udp:192.0.2.1:40000: acme, bell",
        "token: +44201: no trunk",
        "number: +44201 in Request-URI: bell",
    ]


# Generated worlds: the decisions equal those of an oracle, written directly from the rules.


def evidence_of(world: World, request: Request) -> Evidence:
    """Return the evidence for a request, without SQL."""
    accounts = {
        text: tuple(t["id"] for t in world if text == t["aor_user"] or text in account_forms(t))
        for text in request.accounts
    }
    return Evidence(
        trunks=tuple(
            Trunk(
                t["id"],
                t["token"],
                t["aor_user"],
                "sip:alice@edge.example",
                tuple(
                    at(a["ip"], a["port"], a["transport"], a["expires_at"], a["exact"])
                    for a in t["addresses"]
                    if at(a["ip"]).holds(request.source.ip)
                ),
                t["unmatched"],
                t["fallback"],
                tuple(t["number_headers"]),
            )
            for t in world
            if t["enabled"]
        ),
        token_owners={t["token"]: t["id"] for t in world if t["token"] in request.tokens},
        number_owners={
            (number, t["id"]): max(owning, key=closeness)
            for t in world
            for number in request.numbers
            if (owning := [f for f in _forms(t) if owns(f, number)])
        },
        account_owners={text: ids for text, ids in accounts.items() if ids},
    )


def _forms(trunk: dict[str, Any]) -> list[str]:
    return [form for number in trunk["numbers"] for form in forms(number, trunk["country"])]


def request_of(made_up: Call) -> Request:
    def sip(user: str, params: str = "") -> Uri:
        return uri(f"sip:{quote(user)}@h{params}" if user else f"sip:h{params}")

    pcpid, to = made_up["p_called_party_id"], made_up["to"]
    others = {"diversion": made_up["diversion"], "x-called": made_up["x_called"]}
    return Request(
        TransportAddress(
            Transport(made_up["transport"]), canonical_ip(made_up["ip"]), made_up["port"]
        ),
        sip(made_up["user"], f";line={made_up['line']}" if made_up["line"] else ""),
        None if to is None else sip(to),
        None if pcpid is None else sip(pcpid),
        {name: (sip(word),) for name, word in others.items() if word is not None},
    )


def outcome(decision: Decision) -> tuple[str, str | None]:
    match decision:
        case Identified(trunk):
            return "identified", trunk.id
        case Refused(reason):
            return "refused", reason
        case Unknown():
            return "unknown", None


@pytest.mark.slow
@settings(max_examples=examples(1500), deadline=None)
@given(worlds, calls)
def test_decision_equals_the_oracles_in_any_world(world: World, made_up: Call) -> None:
    request = request_of(made_up)
    decision = identify(request, evidence_of(world, request), NOW)
    event(f"{outcome(decision)[0]} by {decision.rule if isinstance(decision, Identified) else '-'}")
    assert outcome(decision) == oracle(world, made_up, NOW)


@pytest.mark.slow
@settings(max_examples=examples(500), deadline=None)
@given(worlds, calls)
def test_decision_names_only_trunks_that_admit_the_source(world: World, made_up: Call) -> None:
    request = request_of(made_up)
    known = evidence_of(world, request)
    decision = identify(request, known, NOW)
    admitted = {t.id for t in known.trunks if t.admits(request.source, NOW)}
    if isinstance(decision, Identified):
        assert decision.trunk.id in admitted
        assert decision.steps[-1].left == (decision.trunk.id,)
    elif isinstance(decision, Refused):
        assert admitted and set(decision.candidates) <= admitted
    else:
        assert not admitted


@pytest.mark.slow
@settings(max_examples=examples(500), deadline=None)
@given(worlds, calls, calls)
def test_headers_narrow_and_never_widen(world: World, made_up: Call, other: Call) -> None:
    """Other headers never change whether a source is unknown."""
    source = {key: made_up[key] for key in ("ip", "port", "transport")}
    one, two = request_of(made_up), request_of({**other, **source})
    decisions = [identify(r, evidence_of(world, r), NOW) for r in (one, two)]
    unknown = [isinstance(d, Unknown) for d in decisions]
    assert unknown[0] == unknown[1]


# The dialled number.


@pytest.mark.parametrize(
    ("ruri", "to", "number"),
    [
        ("sip:+44%20(20)%2071@h", None, "+442071"),
        ("sip:token-acme@h", "sip:+4420@h", "+4420"),  # called by our Contact: To has the number
        ("sip:sales@h", "sip:shop@h", "sales"),
        ("sip:+4420@h", "sip:+4930@h", "+4420"),
        ("sip:+4930@h", "sip:+44201@h", "+44201"),  # its own number is preferred
        ("sip:123456@h", "sip:+4930@h", "+4930"),  # the account is no number here
        ("sip:123456@h", "sip:shop@h", "123456"),
        ("sip:987654321098765432109876@h", "sip:+4930@h", "+4930"),  # a token may be all digits
        ("sip:987654321098765432109876@h", "sip:shop@h", "123456"),
        ("sip:h", "sip:shop@h", ""),
    ],
)
def test_dialled_is_own_number_then_another_then_user(
    ruri: str, to: str | None, number: str
) -> None:
    acme = trunk("acme")
    if "token-acme" not in ruri:
        acme = acme._replace(aor_user="123456", token="987654321098765432109876")
    known = evidence(acme, numbers={"acme": ["+44201"]})
    assert dialled(call(ruri, to=to), acme, known) == number


@pytest.mark.parametrize(
    ("numbers", "user", "ruri", "more", "number"),
    [
        # The account is the number of a block, and To has the extension.
        (["+4420*"], "44201", "sip:44201@h", {"to": "sip:+4420177@h"}, "+4420177"),
        (["+4420*"], "44201", "sip:+44201@h", {"to": "sip:+4420177@h"}, "+4420177"),
        (["+4420*"], "44201", "sip:44201@h", {"p_called_party_id": "sip:+4420177@h"}, "+4420177"),
        # A pilot number begins the block, or is listed beside it.
        (["+44201*"], "", "sip:+44201@h", {"to": "sip:+4420177@h"}, "+4420177"),
        (["+44202", "+4420*"], "", "sip:+44202@h", {"to": "sip:+4420177@h"}, "+4420177"),
        # An extension in the Request-URI is the present recipient; To is the first one.
        (["+44201*"], "44201", "sip:+44201778@h", {"to": "sip:+4420177@h"}, "+44201778"),
        # A number in To outside the block does not count.
        (["+44201*"], "44201", "sip:44201@h", {"to": "sip:+44203@h"}, "44201"),
        (["+44201*"], "44201", "sip:44201@h", {"to": "sip:x@h"}, "44201"),
        (["+44201*"], "44201", "sip:44201@h", {}, "44201"),
    ],
)
def test_account_or_pilot_yields_to_an_extension_of_its_block(
    numbers: list[str], user: str, ruri: str, more: dict[str, str], number: str
) -> None:
    acme = trunk("acme", user=user)
    known = evidence(acme, numbers={"acme": numbers})
    assert dialled(call(ruri, **more), acme, known) == number


def test_dialled_is_read_from_number_headers_only() -> None:
    acme = trunk("acme", user="44201", headers=("x-called",))
    known = evidence(acme, numbers={"acme": ["+4420*"]})
    asked = call("sip:44201@h", to="sip:+44202@h", x_called="+4420177")
    assert dialled(asked, acme, known) == "+4420177"
    assert dialled(replace(asked, others={}), acme, known) == "44201"
