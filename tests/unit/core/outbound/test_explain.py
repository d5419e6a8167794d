"""The plan of a call in sentences."""

import re

import pytest

from whence.core.outbound import explain
from whence.core.outbound.caller import Caller
from whence.core.outbound.explain import explain_plan
from whence.core.outbound.identity import Identity, identity
from whence.core.outbound.limits import Counts
from whence.core.outbound.model import (
    Emergency,
    Limits,
    NumberHeader,
    OutboundTrunk,
    OutboundUser,
    Route,
    Routing,
)
from whence.core.outbound.numbers import Called
from whence.core.outbound.selection import RefusalReason, Standing, TrunkStatus, plan_call

NOON = 1_800_000_000.0
BERLIN = Called("+493012345678")
ACME = OutboundTrunk("acme", "acct1", "provider.example", number_header=NumberHeader.ASSERTED)
BOLT = OutboundTrunk("bolt", "acct2", "other.example")
STATUS = {"acme": TrunkStatus(ACME, True), "bolt": TrunkStatus(BOLT, False)}
ALICE = OutboundUser("alice", ("acme", "bolt"), "+442071234567")


def steps(
    user: OutboundUser = ALICE,
    called: Called = BERLIN,
    routing: Routing = Routing(),  # noqa: B008
    counts: Counts = Counts(),  # noqa: B008
) -> list[str]:
    plan = plan_call(called, user, routing, STATUS, NOON, counts)

    def shown(trunk: OutboundTrunk) -> Identity | None:
        return identity(trunk, Caller(user, user.caller_number), called)

    return explain_plan(plan, called, user, routing, shown)


def test_explanation_has_trunks_and_identity() -> None:
    assert steps() == [
        '+493012345678: no route holds, so user "alice" has its own trunks',
        'trunk "acme" is ready',
        'trunk "bolt" is not registered, so it gets no call',
        'try 1: trunk "acme" gets sip:+493012345678@provider.example from '
        "<sip:acct1@provider.example>, P-Asserted-Identity: <sip:+442071234567@provider.example>",
    ]


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (Route(("acme",), "+49"), " (prefix +49)"),
        (Route(("acme",), pattern=re.compile(r"\+49.*")), r" (regex \+49.*)"),
        (Route(("acme",), "+49", users=frozenset({"alice"})), " (prefix +49, users alice)"),
        (Route(("acme",)), ""),
    ],
)
def test_explanation_names_route(route: Route, text: str) -> None:
    found = steps(routing=Routing((Route((), "+1"), route)))
    assert found[0] == f"+493012345678: route number 2 holds{text}"


def test_explanation_of_emergency_call_names_its_trunks() -> None:
    routing = Routing(emergency=Emergency(frozenset({"112"}), ("acme",)))
    found = steps(called=Called("112", emergency=True), routing=routing)
    assert found[0] == "112 is an emergency number, which has its own trunks"
    assert found[1] == 'trunk "acme" is ready'


@pytest.mark.parametrize(
    ("user", "routing", "counts", "text"),
    [
        (
            OutboundUser("bob"),
            Routing(),
            Counts(),
            'the edge answers 403 Forbidden: user "bob" has no trunks; write trunks = ["…"] in '
            "[[user]]",
        ),
        (
            ALICE,
            Routing((Route((), "+49"),)),
            Counts(),
            "the edge answers 403 Forbidden: route number 1 has no trunks, so its numbers may not "
            "be called",
        ),
        (
            ALICE._replace(trunks=("bolt",)),
            Routing(),
            Counts(),
            "the edge answers 480 Temporarily Unavailable: no trunk can carry the call",
        ),
        (
            ALICE._replace(limits=Limits(prefixes=("+44",))),
            Routing(),
            Counts(),
            'the edge answers 403 Forbidden: limits of user "alice" have no prefix of '
            "+493012345678; add one to prefixes",
        ),
        (
            ALICE._replace(limits=Limits(concurrent=1)),
            Routing(),
            Counts(1),
            'the edge answers 486 Busy Here: user "alice" has as many calls as its limit '
            "concurrent_calls",
        ),
    ],
)
def test_explanation_of_refusal_ends_with_remedy(
    user: OutboundUser, routing: Routing, counts: Counts, text: str
) -> None:
    assert steps(user, routing=routing, counts=counts)[-1] == text


def test_explanation_of_limit_names_no_route() -> None:
    found = steps(ALICE._replace(limits=Limits(concurrent=1)), counts=Counts(1))
    assert len(found) == 1


def test_explanation_has_a_sentence_for_each_code() -> None:
    assert set(explain._STANDINGS) == set(Standing)
    assert set(explain._REFUSALS) == set(RefusalReason)
