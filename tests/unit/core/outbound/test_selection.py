"""Which trunks get a call, and in which order."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence.core.outbound.health import HEALTHY, Health
from whence.core.outbound.limits import NO_CALLS, Counts
from whence.core.outbound.model import (
    NO_LIMITS,
    TRY_S,
    Emergency,
    Limits,
    OutboundTrunk,
    OutboundUser,
    Route,
    Routing,
)
from whence.core.outbound.numbers import Called, DialPlan
from whence.core.outbound.selection import (
    Plan,
    RefusalReason,
    Standing,
    TrunkStatus,
    candidates,
    plan_call,
)
from whence.core.sip.phone_number import Format, Style

NOON = 1_800_000_000.0
FAILED = HEALTHY.failed(NOON - 1)
BERLIN = Called("+493012345678")
POLICE = Called("112", emergency=True)
NONE = DialPlan()
IDS = ("acme", "bolt", "core")
ALICE = OutboundUser("alice", ("acme", "bolt"))


def status(
    *,
    registered: bool = True,
    health: Health = HEALTHY,
    counts: Counts = NO_CALLS,
    limits: Limits = NO_LIMITS,
    plan: DialPlan = NONE,
) -> TrunkStatus:
    trunk = OutboundTrunk("", "acct1", "provider.example", limits=limits, plan=plan)
    return TrunkStatus(trunk, registered, health, counts)


def world(**changed: TrunkStatus) -> dict[str, TrunkStatus]:
    known = {id_: status() for id_ in IDS} | changed
    return {id_: one._replace(trunk=one.trunk._replace(id=id_)) for id_, one in known.items()}


def ids(plan: Plan) -> tuple[str, ...]:
    return tuple(trunk.id for trunk in plan.trunks)


def reason(plan: Plan) -> RefusalReason | None:
    return plan.refusal.reason if plan.refusal else None


def test_call_without_route_gets_trunks_of_user() -> None:
    plan = plan_call(BERLIN, ALICE, Routing(), world(), NOON)
    assert ids(plan) == ("acme", "bolt")
    assert (plan.refusal, plan.route, plan.try_s) == (None, None, TRY_S)


def test_user_without_trunks_is_refused() -> None:
    plan = plan_call(BERLIN, OutboundUser("bob"), Routing(), world(), NOON)
    assert (ids(plan), reason(plan)) == ((), RefusalReason.NO_TRUNKS)
    assert plan.refusal is not None
    assert plan.refusal.status == 403


@pytest.mark.parametrize(
    ("routes", "trunks"),
    [
        ([Route(("bolt",), prefix="+49")], ("bolt",)),
        ([Route(("bolt", "acme"), prefix="+49")], ("bolt", "acme")),
        ([Route(("bolt",), prefix="+44")], ("acme", "bolt")),
        ([Route(("bolt",), pattern=re.compile(r"\+49(30|40)\d+"))], ("bolt",)),
        ([Route(("bolt",), pattern=re.compile(r"\+49"))], ("acme", "bolt")),  # not the whole number
        ([Route(("bolt",), pattern=re.compile(r"30\d+"))], ("acme", "bolt")),
        ([Route(("bolt",), users=frozenset({"carol"}))], ("acme", "bolt")),
        ([Route(("bolt",), users=frozenset({"alice"}))], ("bolt",)),
        ([Route(("acme",), "+49"), Route(("bolt",), "+4930")], ("acme",)),
        ([Route(("core",), "+49"), Route(("bolt",), "+4930")], ("bolt",)),
        ([Route(("core", "bolt"), "+49")], ("bolt",)),
    ],
)
def test_first_route_with_trunk_of_user_decides(
    routes: list[Route], trunks: tuple[str, ...]
) -> None:
    plan = plan_call(BERLIN, ALICE, Routing(tuple(routes)), world(), NOON)
    assert ids(plan) == trunks


def test_route_has_its_own_time() -> None:
    routing = Routing((Route((), "+1"), Route(("bolt",), "+49", try_s=7.0)))
    plan = plan_call(BERLIN, ALICE, routing, world(), NOON)
    assert (plan.route, plan.try_s) == (1, 7.0)


def test_route_without_trunks_bars_its_numbers() -> None:
    routing = Routing((Route((), "+49900"), Route(("acme",), "+49")))
    assert reason(plan_call(Called("+49900123456"), ALICE, routing, world(), NOON)) is (
        RefusalReason.BARRED
    )
    assert ids(plan_call(BERLIN, ALICE, routing, world(), NOON)) == ("acme",)


@given(
    st.lists(
        st.builds(
            Route,
            st.lists(st.sampled_from(IDS), unique=True).map(tuple),
            st.sampled_from(["", "+", "+49", "+44", "0"]),
            users=st.frozensets(st.sampled_from(["alice", "bob"]), max_size=2),
        ),
        max_size=4,
    ),
    st.lists(st.sampled_from(IDS), unique=True).map(tuple),
)
def test_route_gives_user_no_further_trunk(routes: list[Route], own: tuple[str, ...]) -> None:
    user, routing = OutboundUser("alice", own), Routing(tuple(routes))
    plan = plan_call(BERLIN, user, routing, world(), NOON)
    assert set(ids(plan)) <= set(own)
    assert set(ids(plan)) <= set(candidates(BERLIN, user, routing))
    assert bool(plan.trunks) != bool(plan.refusal)


def test_failed_trunk_is_tried_after_the_others() -> None:
    plan = plan_call(BERLIN, ALICE, Routing(), world(acme=status(health=FAILED)), NOON)
    assert ids(plan) == ("bolt", "acme")
    assert plan.considered == (("acme", Standing.FAILED_LATELY), ("bolt", Standing.READY))


def test_failed_trunks_are_tried_if_all_failed() -> None:
    failing = world(acme=status(health=FAILED), bolt=status(health=FAILED))
    assert ids(plan_call(BERLIN, ALICE, Routing(), failing, NOON)) == ("acme", "bolt")


def test_failed_trunk_is_first_again_later() -> None:
    plan = plan_call(BERLIN, ALICE, Routing(), world(acme=status(health=FAILED)), FAILED.until)
    assert ids(plan) == ("acme", "bolt")


@pytest.mark.parametrize(
    ("one", "standing"),
    [
        (status(registered=False), Standing.NOT_REGISTERED),
        (status(limits=Limits(prefixes=("+44",))), Standing.NUMBER_NOT_ALLOWED),
        (
            status(limits=Limits(concurrent=1), counts=Counts(1)),
            Standing.CONCURRENT_CALLS,
        ),
        (
            status(limits=Limits(per_minute=1), counts=Counts(0, 1)),
            Standing.CALLS_PER_MINUTE,
        ),
    ],
)
def test_trunk_that_cannot_carry_call_is_left_out(one: TrunkStatus, standing: Standing) -> None:
    plan = plan_call(BERLIN, ALICE, Routing(), world(acme=one), NOON)
    assert ids(plan) == ("bolt",)
    assert plan.considered[0] == ("acme", standing)


def test_trunk_that_reads_another_number_is_left_out() -> None:
    german = status(plan=DialPlan(Style(Format.AS_SENT, "49", "0", "00")))
    plan = plan_call(Called("03012345678"), ALICE, Routing(), world(acme=german), NOON)
    assert plan.considered[0] == ("acme", Standing.NUMBER_NOT_WRITABLE)
    assert ids(plan) == ("bolt",)


def test_unknown_trunk_is_left_out() -> None:
    user = OutboundUser("alice", ("gone",))
    plan = plan_call(BERLIN, user, Routing(), world(), NOON)
    assert plan.considered == (("gone", Standing.UNKNOWN),)
    assert reason(plan) is RefusalReason.NO_TRUNK_READY


@pytest.mark.parametrize(
    ("counts", "number", "refusal"),
    [
        (Counts(1), BERLIN, RefusalReason.CONCURRENT_CALLS),
        (Counts(0, 3), BERLIN, RefusalReason.CALLS_PER_MINUTE),
        (Counts(), Called("+12125551234"), RefusalReason.NUMBER_NOT_ALLOWED),
    ],
)
def test_limit_of_user_refuses_call(counts: Counts, number: Called, refusal: RefusalReason) -> None:
    user = ALICE._replace(limits=Limits(1, 3, prefixes=("+49",)))
    plan = plan_call(number, user, Routing(), world(), NOON, counts)
    assert (ids(plan), reason(plan)) == ((), refusal)


def test_emergency_call_gets_its_own_trunks_past_all_limits() -> None:
    user = OutboundUser("bob", limits=Limits(1, 1, prefixes=("+49",)))
    full = status(limits=Limits(1, 1, prefixes=("+49",)), counts=Counts(9, 9))
    routing = Routing((Route(()),), Emergency(frozenset({"112"}), ("core", "acme")))
    plan = plan_call(POLICE, user, routing, world(core=full), NOON, Counts(9, 9))
    assert ids(plan) == ("core", "acme")
    assert candidates(POLICE, user, routing) == ("core", "acme")
