"""Whence does this call come? The identification rules, each as a test."""

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
from tests.unit.core.registration.world import (
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


# Nobody comes in but by an address.


def test_a_source_that_no_address_admits_is_unknown_whatever_its_headers_say() -> None:
    known = evidence(trunk("acme"), numbers={"acme": ["+44201"]})
    for ruri in ("sip:token-acme@h", "sip:+44201@h", "sip:user-acme@h", "sip:x@h;line=token-acme"):
        decision = identify(call(ruri, source=f"udp:{ELSEWHERE}:5060"), known, NOW)
        assert isinstance(decision, Unknown)
        assert decision.reason is Reason.UNKNOWN_ADDRESS


def test_an_address_identifies_until_the_second_it_expires() -> None:
    known = evidence(trunk("acme", at(expires_at=NOW + 60)))
    assert isinstance(identify(call(), known, NOW + 59.999), Identified)
    assert isinstance(identify(call(), known, NOW + 60), Unknown)


def test_an_address_learned_over_tls_identifies_no_call_over_udp() -> None:
    known = evidence(trunk("acme", at(transport="tls")))
    assert isinstance(identify(call(source=f"udp:{PROVIDER}:5060"), known, NOW), Unknown)
    assert isinstance(identify(call(source=f"tcp:{PROVIDER}:5060"), known, NOW), Unknown)
    assert isinstance(identify(call(source=f"tls:{PROVIDER}:5061"), known, NOW), Identified)


def test_an_address_learned_over_udp_identifies_a_call_over_tls() -> None:
    known = evidence(trunk("acme", at(transport="udp")))
    assert isinstance(identify(call(source=f"tls:{PROVIDER}:5061"), known, NOW), Identified)


def test_an_ipv4_source_written_as_ipv6_is_the_ipv4_source() -> None:
    decision = identify(call(source=f"udp:[::ffff:{PROVIDER}]:40000"), evidence(trunk("acme")), NOW)
    assert identified(decision) == ("acme", Rule.ONLY_CANDIDATE)


# Rule 1: the token.


def test_1_the_token_in_the_request_uri_user_chooses_the_trunk() -> None:
    known = evidence(trunk("acme"), trunk("bell"))
    assert identified(identify(call("sip:token-bell@h"), known, NOW)) == ("bell", Rule.TOKEN)


def test_1_the_token_in_the_line_parameter_chooses_the_trunk() -> None:
    known = evidence(trunk("acme"), trunk("bell"))
    decision = identify(call("sip:+44201@h;line=token-bell"), known, NOW)
    assert identified(decision) == ("bell", Rule.TOKEN)


def test_1_the_token_wins_over_a_number_of_another_candidate() -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"acme": ["+44201"]})
    decision = identify(call("sip:+44201@h;line=token-bell"), known, NOW)
    assert identified(decision) == ("bell", Rule.TOKEN)


def test_1_a_token_of_a_trunk_that_the_source_may_not_use_is_refused() -> None:
    known = evidence(trunk("acme"), trunk("bell", at(ELSEWHERE)))
    decision = identify(call("sip:token-bell@h"), known, NOW)
    assert refused(decision) == ("token_from_wrong_source", ("acme",))


def test_1_a_wrong_token_is_refused_also_beside_a_right_one() -> None:
    known = evidence(trunk("acme"), trunk("bell", at(ELSEWHERE)))
    decision = identify(call("sip:token-acme@h;line=token-bell"), known, NOW)
    assert refused(decision)[0] == "token_from_wrong_source"


def test_1_a_token_of_a_trunk_whose_address_has_expired_is_refused() -> None:
    known = evidence(trunk("acme"), trunk("bell", at(expires_at=NOW)))
    assert refused(identify(call("sip:token-bell@h"), known, NOW))[0] == "token_from_wrong_source"


def test_1_what_is_nobodys_token_says_nothing() -> None:
    decision = identify(call("sip:token-x@h;line=y"), evidence(trunk("acme")), NOW)
    assert identified(decision) == ("acme", Rule.ONLY_CANDIDATE)


# Rule 2: a number that the trunk owns.


@pytest.mark.parametrize("called", ["+44201", "0044201", "44201", "+44-20.1"])
def test_2_a_number_of_the_trunk_in_the_request_uri_chooses_it(called: str) -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"acme": ["+44201"], "bell": ["+44202"]})
    decision = identify(call(f"sip:{quote(called)}@h"), known, NOW)
    assert identified(decision) == ("acme", Rule.NUMBER)


def test_2_numbers_are_looked_for_in_request_uri_then_p_called_party_id_then_to() -> None:
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


def test_2_a_number_that_two_candidates_own_narrows_to_these_two() -> None:
    known = evidence(
        trunk("acme"),
        trunk("bell"),
        trunk("cable"),
        numbers={"acme": ["+44201"], "bell": ["+44201"], "cable": ["+44202"]},
    )
    decision = identify(call("sip:+44201@h"), known, NOW)
    assert refused(decision) == ("ambiguous", ("acme", "bell"))
    # and what follows chooses between the two, and does not bring the third back
    decision = identify(call("sip:+44201@h", to="sip:+44202@h"), known, NOW)
    assert refused(decision) == ("ambiguous", ("acme", "bell"))


def test_2_a_prefix_owns_every_number_that_begins_like_it() -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"acme": ["+44201*"], "bell": []})
    for number in ("+44201", "0044201", "44201", "+4420177", "+44201778"):
        assert identified(identify(call(f"sip:{number}@h"), known, NOW)) == ("acme", Rule.NUMBER)
    assert refused(identify(call("sip:+44202@h"), known, NOW)) == ("ambiguous", ("acme", "bell"))


def test_2_a_number_itself_goes_before_a_prefix_and_a_longer_prefix_before_a_shorter() -> None:
    prefixes = {"acme": ["+4420*"], "bell": ["+44201*"], "cable": ["+4420177"]}
    known = evidence(*map(trunk, prefixes), numbers=prefixes)
    for number, owner in {"+44202": "acme", "+44201": "bell", "+4420177": "cable"}.items():
        assert identified(identify(call(f"sip:{number}@h"), known, NOW)) == (owner, Rule.NUMBER)


def test_2_the_longer_prefix_of_a_trunk_elsewhere_takes_nothing_from_the_candidates() -> None:
    known = evidence(
        trunk("acme"),
        trunk("bell"),
        trunk("cable", at(ELSEWHERE)),
        numbers={"acme": ["+4420*"], "cable": ["+4420177"]},
    )
    decision = identify(call("sip:+4420177@h"), known, NOW)
    assert identified(decision) == ("acme", Rule.NUMBER)


def test_2_a_prefix_in_the_request_uri_goes_before_a_number_itself_in_to() -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"acme": ["+4420*"], "bell": ["+44203"]})
    decision = identify(call("sip:+44201@h", to="sip:+44203@h"), known, NOW)
    assert identified(decision) == ("acme", Rule.NUMBER)


def test_2_who_owns_the_same_prefix_is_left_to_the_rules_that_follow() -> None:
    shared = {"acme": ["+44201*"], "bell": ["+44201*", "+4420*"], "cable": ["+4420*", "+44203"]}
    known = evidence(*map(trunk, shared), numbers=shared)
    decision = identify(call("sip:+4420177@h"), known, NOW)
    assert refused(decision) == ("ambiguous", ("acme", "bell"))
    decision = identify(call("sip:+4420177@h", to="sip:+44203@h"), known, NOW)
    assert identified(decision) == ("bell", Rule.NUMBER)  # cable was out, bell's prefix holds it


# The account, in the same places.


@pytest.mark.parametrize("place", ["ruri", "to", "p_called_party_id"])
def test_account_in_each_place_chooses_its_trunk(place: str) -> None:
    known = evidence(trunk("acme"), trunk("bell"))
    asked = call(**{place: "sip:user-bell@h"})
    assert identified(identify(asked, known, NOW)) == ("bell", Rule.AOR_USER)


def test_account_in_another_case_names_nobody() -> None:
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


# number_headers: in which headers each trunk is looked for.


def test_number_headers_name_the_trunk_in_their_order() -> None:
    headers = ("x-called", "diversion", "to")
    numbers = {"acme": ["+44201"], "bell": ["+44202"]}
    known = evidence(*(trunk(id_, headers=headers) for id_ in numbers), numbers=numbers)
    asked = call(x_called="+44 201", diversion="<sip:+44202@h>", to="sip:+44202@h")
    assert identified(identify(asked, known, NOW)) == ("acme", Rule.NUMBER)
    asked = call(diversion="<sip:x@h>, <sip:+44202@h>", to="sip:+44201@h")
    assert identified(identify(asked, known, NOW)) == ("bell", Rule.NUMBER)


def test_header_that_no_trunk_has_is_not_looked_at() -> None:
    numbers = {"acme": ["+44201"], "bell": ["+44202"]}
    known = evidence(*map(trunk, numbers), numbers=numbers)
    decision = identify(call(x_called="+44201", diversion="<sip:+44201@h>"), known, NOW)
    assert refused(decision)[0] == "ambiguous"


def test_trunk_without_to_in_its_headers_is_not_found_there() -> None:
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


def test_4_the_exact_learned_port_tells_two_candidates_apart() -> None:
    known = evidence(trunk("acme", at(port=5060)), trunk("bell", at(port=5080)))
    decision = identify(call(source=f"udp:{PROVIDER}:5080"), known, NOW)
    assert identified(decision) == ("bell", Rule.PORT)


def test_4_the_port_of_an_expired_address_says_nothing() -> None:
    known = evidence(
        trunk("acme", at(port=5080, expires_at=NOW), at(port=5070)), trunk("bell", at(port=5060))
    )
    decision = identify(call(source=f"udp:{PROVIDER}:5080"), known, NOW)
    assert refused(decision) == ("ambiguous", ("acme", "bell"))


# Rules 5 and 6: what is left.


def test_5_the_only_candidate_takes_the_call() -> None:
    decision = identify(call(), evidence(trunk("acme")), NOW)
    assert identified(decision) == ("acme", Rule.ONLY_CANDIDATE)
    assert isinstance(decision, Identified)
    assert decision.reason is Rule.ONLY_CANDIDATE
    assert decision.message == "only candidate of trunk acme"


def test_5_who_refuses_what_is_unmatched_takes_only_what_names_it() -> None:
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


def test_5_what_is_unmatched_counts_only_where_there_is_no_other_candidate() -> None:
    """Where two are there, that one refuses is no reason to give it to the other."""
    known = evidence(trunk("acme", unmatched="refuse"), trunk("bell"))
    assert refused(identify(call(), known, NOW)) == ("ambiguous", ("acme", "bell"))


def test_5_the_port_names_a_trunk_only_where_it_tells_it_from_another() -> None:
    acme, bell = (trunk(i, at(port=p), unmatched="refuse") for i, p in (("a", 5060), ("b", 5080)))
    asked = call(source=f"udp:{PROVIDER}:5080")
    assert identified(identify(asked, evidence(acme, bell), NOW)) == ("b", Rule.PORT)
    assert refused(identify(asked, evidence(bell), NOW)) == ("unmatched", ("b",))


def test_6_what_nothing_tells_apart_goes_to_the_fallback() -> None:
    known = evidence(
        trunk("acme"), trunk("bell", fallback=True), trunk("cable"), numbers={"cable": ["+44201"]}
    )
    assert identified(identify(call(), known, NOW)) == ("bell", Rule.FALLBACK)
    assert identified(identify(call("sip:+44201@h"), known, NOW)) == ("cable", Rule.NUMBER)


def test_6_a_fallback_elsewhere_takes_nothing() -> None:
    known = evidence(trunk("acme"), trunk("bell"), trunk("cable", at(ELSEWHERE), fallback=True))
    assert refused(identify(call(), known, NOW)) == ("ambiguous", ("acme", "bell"))


def test_6_a_fallback_takes_only_what_was_narrowed_to_it_and_others() -> None:
    shared = {"acme": ["+44201"], "bell": ["+44201"]}
    known = evidence(trunk("acme"), trunk("bell"), trunk("cable", fallback=True), numbers=shared)
    assert refused(identify(call("sip:+44201@h"), known, NOW)) == ("ambiguous", ("acme", "bell"))


def test_6_two_fallbacks_are_as_ambiguous_as_none() -> None:
    known = evidence(trunk("acme"), trunk("bell", fallback=True), trunk("cable", fallback=True))
    assert refused(identify(call(), known, NOW)) == ("ambiguous", ("bell", "cable"))


def test_6_two_accounts_at_one_address_and_nothing_to_tell_them_apart_is_refused() -> None:
    """The most repeated complaint of the field: every call goes to the first account."""
    known = evidence(trunk("acme"), trunk("bell"))
    assert refused(identify(call(), known, NOW)) == ("ambiguous", ("acme", "bell"))


# What a decision says.


def test_a_decision_shows_each_rule_that_was_applied_and_who_was_left() -> None:
    known = evidence(trunk("acme"), trunk("bell"), numbers={"bell": ["+44201"]})
    decision = identify(call("sip:+44201@h"), known, NOW)
    assert [str(step) for step in decision.steps] == [
        "address: udp:192.0.2.1:40000: acme, bell",
        "token: +44201: no trunk",
        "number: +44201 in Request-URI: bell",
    ]


# All worlds: a small oracle, written straight from the rules, must agree.


def evidence_of(world: World, request: Request) -> Evidence:
    """What the directory holds about a request, looked for by hand."""
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


def said(decision: Decision) -> tuple[str, str | None]:
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
def test_in_any_world_the_decision_is_the_oracles(world: World, made_up: Call) -> None:
    request = request_of(made_up)
    decision = identify(request, evidence_of(world, request), NOW)
    event(f"{said(decision)[0]} by {decision.rule if isinstance(decision, Identified) else '-'}")
    assert said(decision) == oracle(world, made_up, NOW)


@pytest.mark.slow
@settings(max_examples=examples(500), deadline=None)
@given(worlds, calls)
def test_no_answer_names_a_trunk_whose_live_addresses_do_not_admit_the_source(
    world: World, made_up: Call
) -> None:
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
    """Whatever the headers are changed to, nobody comes in who did not before, or else out."""
    source = {key: made_up[key] for key in ("ip", "port", "transport")}
    one, two = request_of(made_up), request_of({**other, **source})
    decisions = [identify(r, evidence_of(world, r), NOW) for r in (one, two)]
    unknown = [isinstance(d, Unknown) for d in decisions]
    assert unknown[0] == unknown[1]


# The number that is dialled.


@pytest.mark.parametrize(
    ("ruri", "to", "number"),
    [
        ("sip:+44%20(20)%2071@h", None, "+442071"),
        ("sip:token-acme@h", "sip:+4420@h", "+4420"),  # by our Contact: To has the number
        ("sip:sales@h", "sip:shop@h", "sales"),
        ("sip:+4420@h", "sip:+4930@h", "+4420"),
        ("sip:+4930@h", "sip:+44201@h", "+44201"),  # a number of its own goes before another
        ("sip:123456@h", "sip:+4930@h", "+4930"),  # the account, as the one that is called
        ("sip:123456@h", "sip:shop@h", "123456"),
        ("sip:987654321098765432109876@h", "sip:+4930@h", "+4930"),  # a token may be all digits
        ("sip:987654321098765432109876@h", "sip:shop@h", "123456"),
        ("sip:h", "sip:shop@h", ""),
    ],
)
def test_what_is_dialled_is_its_number_then_another_then_the_user(
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
        # A pilot number: it begins the block, or is written down beside it.
        (["+44201*"], "", "sip:+44201@h", {"to": "sip:+4420177@h"}, "+4420177"),
        (["+44202", "+4420*"], "", "sip:+44202@h", {"to": "sip:+4420177@h"}, "+4420177"),
        # An extension in the Request-URI is what is called now, To what was called first.
        (["+44201*"], "44201", "sip:+44201778@h", {"to": "sip:+4420177@h"}, "+44201778"),
        # A number of somebody else's in To is none of its block.
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


def test_number_is_taken_from_number_headers_alone() -> None:
    acme = trunk("acme", user="44201", headers=("x-called",))
    known = evidence(acme, numbers={"acme": ["+4420*"]})
    asked = call("sip:44201@h", to="sip:+44202@h", x_called="+4420177")
    assert dialled(asked, acme, known) == "+4420177"
    assert dialled(replace(asked, others={}), acme, known) == "44201"
