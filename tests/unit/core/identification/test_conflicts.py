"""Which trunks could no rule tell apart? And which of them are worth an operator's time?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from whence.core.identification.conflicts import (
    Conflict,
    ConflictKind,
    NamedTrunk,
    Site,
    accounts_of_others,
    find,
)
from whence.core.sip.phone_number import account_spellings

HERE: Site = ("192.0.2.1", 5060)
ELSEWHERE: Site = ("192.0.2.2", 5060)


def conflicts(
    numbers: dict[str, list[str]],
    *,
    at: dict[str, list[Site]] | None = None,
    users: dict[str, str] | None = None,
    fallbacks: Iterable[str] = (),
    accounts: dict[str, str] | None = None,
) -> list[Conflict]:
    """Conflicts of trunks with these numbers; all are HERE, have a user of their own."""
    return find(
        [
            NamedTrunk(id_, (users or {}).get(id_, f"user-{id_}"), bool(owned), id_ in fallbacks)
            for id_, owned in numbers.items()
        ],
        [(number, id_) for id_, owned in numbers.items() for number in owned],
        [(id_, site) for id_ in numbers for site in (at or {}).get(id_, [HERE])],
        accounts=accounts_of_others(
            [
                (form, id_)
                for id_, one in (accounts or {}).items()
                for form in account_spellings(one)
            ],
            [(number, id_) for id_, owned in numbers.items() for number in owned],
        ),
    )


def briefly(found: list[Conflict]) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(conflict.kind.value, conflict.trunks, conflict.shared) for conflict in found]


# Numbers.


def test_trunks_with_different_numbers_at_one_address_do_not_conflict() -> None:
    assert conflicts({"acme": ["+44201"], "bell": ["+44202"], "cable": ["+44203*"]}) == []


def test_the_same_number_at_two_trunks_of_one_address_conflicts() -> None:
    (conflict,) = conflicts({"acme": ["+44201", "+44202"], "bell": ["+44201"]})
    assert conflict == Conflict(
        ConflictKind.NUMBER, ("acme", "bell"), ("192.0.2.1:5060",), ("+44201",)
    )


def test_one_shared_spelling_is_enough() -> None:
    """A number of one country may be dialled as one of another is."""
    assert briefly(conflicts({"acme": ["+44201", "201"], "bell": ["+1201", "201"]})) == [
        ("number", ("acme", "bell"), ("201",))
    ]


def test_a_number_is_shown_once_however_many_spellings_are_shared() -> None:
    london = ["+442071234567", "442071234567", "00442071234567", "02071234567", "+4402071234567"]
    budapest = ["+3612345678", "3612345678", "+360612345678"]
    (conflict,) = conflicts({"acme": london + budapest, "bell": london + budapest})
    assert conflict.shared == ("+3612345678", "+442071234567")


def test_prefixes_of_one_length_conflict_and_those_of_two_lengths_do_not() -> None:
    assert conflicts({"acme": ["+44201*"], "bell": ["+442017*"], "cable": ["+4420177"]}) == []
    assert briefly(conflicts({"acme": ["+44201*"], "bell": ["+44201*"]})) == [
        ("number", ("acme", "bell"), ("+44201*",))
    ]


def test_the_same_number_at_two_addresses_is_no_conflict() -> None:
    at = {"acme": [HERE], "bell": [ELSEWHERE]}
    assert conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at) == []


def test_a_trunk_without_an_address_conflicts_with_nobody() -> None:
    at: dict[str, list[Site]] = {"acme": [HERE], "bell": []}
    assert conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at) == []
    assert conflicts({"acme": [], "bell": []}, at=at) == []


def test_one_fallback_among_those_that_share_a_number_takes_its_calls() -> None:
    shared = {"acme": ["+44201"], "bell": ["+44201"], "cable": ["+44202"]}
    assert conflicts(shared, fallbacks=["acme"]) == []
    # one that does not share it does not get its calls
    assert briefly(conflicts(shared, fallbacks=["cable"])) == [
        ("number", ("acme", "bell"), ("+44201",))
    ]


def test_a_conflict_at_several_addresses_is_one_and_names_them_all() -> None:
    both = [HERE, ELSEWHERE]
    at = {"acme": both, "bell": both}
    (conflict,) = conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at)
    assert conflict.addresses == ("192.0.2.1:5060", "192.0.2.2:5060")


# A number that is another one's account.


@pytest.mark.parametrize("owned", ["+4930222", "4930222", "+4930*"])
@pytest.mark.parametrize("account", ["4930222", "+4930222", "004930222"])
def test_number_that_is_anothers_account_conflicts(owned: str, account: str) -> None:
    numbers = {"three": ["+4930111"], "four": [owned]}
    for fallbacks in ([], ["four"]):
        (conflict,) = conflicts(numbers, accounts={"three": account}, fallbacks=fallbacks)
        assert (conflict.kind, conflict.trunks) == (
            ConflictKind.NUMBER_IS_ACCOUNT,
            ("four", "three"),
        )
        assert conflict.addresses == ("192.0.2.1:5060",)
        assert "4930222" in str(conflict)


def test_account_and_number_at_two_places_do_not_conflict() -> None:
    numbers = {"three": ["+4930111"], "four": ["+4930222"]}
    at = {"three": [HERE], "four": [ELSEWHERE]}
    assert conflicts(numbers, accounts={"three": "4930222"}, at=at) == []


def test_account_that_is_its_own_number_does_not_conflict() -> None:
    numbers = {"three": ["4930222", "+4930222", "004930222"], "four": ["+4930*", "4930*"]}
    assert conflicts(numbers, accounts={"three": "4930222"}) == []


# Ports.


def test_the_port_tells_trunks_apart_that_were_learned_from_different_ones() -> None:
    at: dict[str, list[Site]] = {"acme": [("192.0.2.1", 5060)], "bell": [("192.0.2.1", 5080)]}
    assert conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at) == []
    assert conflicts({"acme": [], "bell": []}, at=at) == []


def test_the_port_tells_nobody_apart_who_may_come_from_any() -> None:
    at: dict[str, list[Site]] = {"acme": [("2001:db8::1", 5060)], "bell": [("2001:db8::1", None)]}
    (conflict,) = conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at)
    assert conflict.addresses == ("2001:db8::1",)


# Networks.


def test_an_address_is_at_one_place_with_the_networks_that_it_is_in() -> None:
    same = {"acme": ["+44201"], "bell": ["+44201"]}
    for network in ("192.0.2.0/24", "192.0.2.0/31", "192.0.0.0/16"):
        at: dict[str, list[Site]] = {"acme": [HERE], "bell": [(network, None)]}
        (conflict,) = conflicts(same, at=at)
        assert conflict.addresses == (network,)
    for network in ("192.0.2.4/30", "2001:db8::/32"):
        assert conflicts(same, at={"acme": [HERE], "bell": [(network, None)]}) == []


def test_a_network_is_at_one_place_with_a_wider_one() -> None:
    at: dict[str, list[Site]] = {
        "acme": [("2001:db8::/48", None)],
        "bell": [("2001:db8::/32", None)],
    }
    (conflict,) = conflicts({"acme": [], "bell": []}, at=at)
    assert (conflict.trunks, conflict.addresses) == (("acme", "bell"), ("2001:db8::/32",))


def test_two_addresses_in_the_network_of_a_third_are_not_one() -> None:
    at: dict[str, list[Site]] = {
        "acme": [HERE],
        "bell": [ELSEWHERE],
        "cable": [("192.0.2.0/24", None)],
    }
    numbers = {"acme": ["+44201"], "bell": ["+44201"], "cable": ["+44202"]}
    assert conflicts(numbers, at=at) == []


def test_a_registrar_that_is_a_name_is_in_no_network() -> None:
    at: dict[str, list[Site]] = {
        "acme": [("sip.provider.example", 5060)],
        "bell": [("192.0.2.0/24", None)],
    }
    assert conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at) == []


# Trunks without numbers.


def test_two_trunks_without_numbers_at_one_address_conflict() -> None:
    assert briefly(conflicts({"acme": [], "bell": [], "cable": ["+44201"]})) == [
        ("no_number", ("acme", "bell"), ())
    ]


def test_one_trunk_without_numbers_beside_others_conflicts_with_them() -> None:
    """Whoever calls its number names nobody, and two are left."""
    assert briefly(conflicts({"acme": ["+44201"], "bell": []})) == [("no_number", ("bell",), ())]


def test_one_trunk_alone_needs_no_number() -> None:
    assert conflicts({"acme": []}) == []


def test_where_there_is_a_fallback_it_is_decided_who_takes_what_nothing_names() -> None:
    assert conflicts({"acme": [], "bell": [], "cable": ["+44201"]}, fallbacks=["cable"]) == []


def test_trunks_without_numbers_and_with_the_same_user_are_told_apart_by_their_contact_alone() -> (
    None
):
    users = {"acme": "acct", "bell": "acct"}
    assert briefly(conflicts({"acme": [], "bell": []}, users=users)) == [
        ("aor_user", ("acme", "bell"), ("acct",))
    ]
    assert briefly(conflicts({"acme": [], "bell": [], "cable": []}, users=users)) == [
        ("aor_user", ("acme", "bell"), ("acct",)),
        ("no_number", ("acme", "bell", "cable"), ()),
    ]


def test_the_same_user_with_numbers_that_differ_is_no_conflict() -> None:
    users = {"acme": "acct", "bell": "acct"}
    assert conflicts({"acme": ["+44201"], "bell": ["+44202"]}, users=users) == []


# Fallbacks.


def test_two_fallbacks_at_one_address_conflict() -> None:
    numbers = {"acme": ["+44201"], "bell": ["+44202"], "cable": ["+44203"]}
    assert briefly(conflicts(numbers, fallbacks=["acme", "bell"])) == [
        ("fallback", ("acme", "bell"), ())
    ]
    at = {"acme": [HERE], "bell": [ELSEWHERE]}
    assert conflicts(numbers, fallbacks=["acme", "bell"], at=at) == []


# What is said.


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            ConflictKind.NUMBER,
            "trunks acme, bell at 192.0.2.1:5060: the same number +44201; leave it to one of "
            "them, or write fallback = true for the one that is to take its calls",
        ),
        (
            ConflictKind.AOR_USER,
            "trunks acme, bell at 192.0.2.1:5060: the same user +44201, and no numbers; write "
            "the numbers of each; else only calls to the very contact that we registered are told "
            "apart",
        ),
        (
            ConflictKind.NO_NUMBER,
            "trunks acme, bell at 192.0.2.1:5060: no numbers, and others at their "
            "address; write the numbers of each, or fallback = true for one of them; else only "
            "calls to their contact, or their user, are told apart",
        ),
        (
            ConflictKind.FALLBACK,
            "trunks acme, bell at 192.0.2.1:5060: more than one fallback: what nothing tells apart "
            "is refused; leave fallback = true to one of them",
        ),
    ],
)
def test_a_conflict_says_what_is_wrong_and_what_would_separate_the_trunks(
    kind: ConflictKind, said: str
) -> None:
    assert str(Conflict(kind, ("acme", "bell"), ("192.0.2.1:5060",), ("+44201",))) == said


def test_of_many_trunks_a_conflict_says_a_few_and_knows_all() -> None:
    (conflict,) = conflicts({f"t{i}": [] for i in range(5000)})
    assert len(conflict.trunks) == 5000
    assert str(conflict).startswith("trunks t0, t1, t10, t100, t1000 and 4995 more at ")


def test_thousands_of_trunks_at_one_address_are_one_group_and_never_pairs() -> None:
    """What is linear takes ten times as long for ten times as many; pairs take a hundred times."""
    reads = []
    for size in (500, 5000):
        count = 0

        class Counted(str):
            __slots__ = ()

            def __hash__(self) -> int:
                nonlocal count
                count += 1
                return super().__hash__()

            def __eq__(self, other: object) -> bool:
                return super().__eq__(other)

        ids = [Counted(f"t{i}") for i in range(size)]
        own = [(f"+4420{i:05}", id_) for i, id_ in enumerate(ids)]
        shared = [(number, id_) for id_ in ids for number in ("+44201", "44201", "+44202*")]
        named = [NamedTrunk(id_, "acct", i % 2 == 0, i % 3 == 0) for i, id_ in enumerate(ids)]
        found = find(named, own + shared, [(id_, HERE) for id_ in ids])
        assert {conflict.kind for conflict in found} == {ConflictKind.NUMBER, ConflictKind.FALLBACK}
        reads.append(count)
    assert reads[1] < reads[0] * 15


# Trunks of different servers that meet at one address.

OTHER: Site = ("192.0.2.1", None)


def met(
    *trunks: NamedTrunk, at: dict[str, list[Site]] | None = None
) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Return the conflicts of trunks that all have numbers of their own, and are at one ip."""
    admitted = [(t.id, site) for t in trunks for site in (at or {}).get(t.id, [OTHER])]
    ports = {"acme": 5060, "bell": 5070}
    sites = [(id_, (ip, port or ports.get(id_, 5080))) for id_, (ip, port) in admitted]
    return [(c.kind.value, c.trunks, c.addresses) for c in find(trunks, [], sites, admitted)]


def of(id_: str, server: str = "", *, fallback: bool = False, accepts: bool = True) -> NamedTrunk:
    return NamedTrunk(id_, f"user-{id_}", True, fallback, server, accepts)


FOUND = [("other_server", ("acme", "bell"), ("192.0.2.1",))]


def test_two_servers_at_one_address_conflict_with_numbers_too() -> None:
    """Whatever port each was learned from: their calls may come from any."""
    assert met(of("acme", "a.example"), of("bell", "b.example")) == FOUND
    assert met(of("acme"), of("bell")) == FOUND, "nobody knows that it is one server"


def test_trunks_of_one_server_may_share_its_addresses() -> None:
    assert met(of("acme", "a.example"), of("bell", "a.example")) == []


def test_two_servers_with_one_fallback_do_not_conflict() -> None:
    assert met(of("acme", "a.example", fallback=True), of("bell", "b.example")) == []


def test_two_servers_conflict_only_where_a_call_was_given_before() -> None:
    refusing = [of("acme", "a.example", accepts=False), of("bell", "b.example", accepts=False)]
    assert met(*refusing) == []
    assert met(refusing[0], of("bell", "b.example")) == FOUND
    same_user = [refusing[0], replace(refusing[1], aor_user="user-acme")]
    assert met(*same_user) == FOUND


def test_two_servers_at_exact_ports_do_not_conflict() -> None:
    at: dict[str, list[Site]] = {"acme": [("192.0.2.1", 5060)], "bell": [("192.0.2.1", 5070)]}
    assert met(of("acme", "a.example"), of("bell", "b.example"), at=at) == []


def test_a_network_around_another_servers_address_conflicts() -> None:
    at: dict[str, list[Site]] = {"acme": [("192.0.2.0/24", None)]}
    ((kind, ids, addresses),) = met(of("acme", "a.example"), of("bell", "b.example"), at=at)
    assert (kind, ids, addresses) == ("other_server", ("acme", "bell"), ("192.0.2.0/24",))


def test_trunks_without_numbers_are_told_once() -> None:
    named = [NamedTrunk(id_, f"user-{id_}", False, False, id_) for id_ in ("acme", "bell")]
    found = find(named, [], [(t.id, HERE) for t in named], [(t.id, OTHER) for t in named])
    assert briefly(found) == [("no_number", ("acme", "bell"), ())]
