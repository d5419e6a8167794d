"""Which trunks conflict, and what an operator reads of it."""

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
    """Return the conflicts of trunks with these numbers.

    By default each trunk is HERE, with its own user.
    """
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


def test_different_numbers_at_one_address_do_not_conflict() -> None:
    assert conflicts({"acme": ["+44201"], "bell": ["+44202"], "cable": ["+44203*"]}) == []


def test_same_number_at_one_address_conflicts() -> None:
    (conflict,) = conflicts({"acme": ["+44201", "+44202"], "bell": ["+44201"]})
    assert conflict == Conflict(
        ConflictKind.NUMBER, ("acme", "bell"), ("192.0.2.1:5060",), ("+44201",)
    )


def test_shared_spelling_of_two_numbers_conflicts() -> None:
    """Numbers of two countries may share a national spelling."""
    assert briefly(conflicts({"acme": ["+44201", "201"], "bell": ["+1201", "201"]})) == [
        ("number", ("acme", "bell"), ("201",))
    ]


def test_conflict_shows_a_number_once_for_all_spellings() -> None:
    london = ["+442071234567", "442071234567", "00442071234567", "02071234567", "+4402071234567"]
    budapest = ["+3612345678", "3612345678", "+360612345678"]
    (conflict,) = conflicts({"acme": london + budapest, "bell": london + budapest})
    assert conflict.shared == ("+3612345678", "+442071234567")


def test_prefixes_of_different_length_do_not_conflict() -> None:
    assert conflicts({"acme": ["+44201*"], "bell": ["+442017*"], "cable": ["+4420177"]}) == []
    assert briefly(conflicts({"acme": ["+44201*"], "bell": ["+44201*"]})) == [
        ("number", ("acme", "bell"), ("+44201*",))
    ]


def test_same_number_at_two_addresses_does_not_conflict() -> None:
    at = {"acme": [HERE], "bell": [ELSEWHERE]}
    assert conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at) == []


def test_trunk_without_an_address_does_not_conflict() -> None:
    at: dict[str, list[Site]] = {"acme": [HERE], "bell": []}
    assert conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at) == []
    assert conflicts({"acme": [], "bell": []}, at=at) == []


def test_same_number_with_one_fallback_does_not_conflict() -> None:
    shared = {"acme": ["+44201"], "bell": ["+44201"], "cable": ["+44202"]}
    assert conflicts(shared, fallbacks=["acme"]) == []
    # A fallback without the number gets none of its calls.
    assert briefly(conflicts(shared, fallbacks=["cable"])) == [
        ("number", ("acme", "bell"), ("+44201",))
    ]


def test_conflict_at_several_addresses_is_one() -> None:
    both = [HERE, ELSEWHERE]
    at = {"acme": both, "bell": both}
    (conflict,) = conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at)
    assert conflict.addresses == ("192.0.2.1:5060", "192.0.2.2:5060")


# A number that is the account of another trunk.


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


def test_trunks_with_different_ports_do_not_conflict() -> None:
    at: dict[str, list[Site]] = {"acme": [("192.0.2.1", 5060)], "bell": [("192.0.2.1", 5080)]}
    assert conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at) == []
    assert conflicts({"acme": [], "bell": []}, at=at) == []


def test_trunks_conflict_if_one_may_use_any_port() -> None:
    at: dict[str, list[Site]] = {"acme": [("2001:db8::1", 5060)], "bell": [("2001:db8::1", None)]}
    (conflict,) = conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at)
    assert conflict.addresses == ("2001:db8::1",)


# Networks.


def test_address_conflicts_with_the_networks_that_hold_it() -> None:
    same = {"acme": ["+44201"], "bell": ["+44201"]}
    for network in ("192.0.2.0/24", "192.0.2.0/31", "192.0.0.0/16"):
        at: dict[str, list[Site]] = {"acme": [HERE], "bell": [(network, None)]}
        (conflict,) = conflicts(same, at=at)
        assert conflict.addresses == (network,)
    for network in ("192.0.2.4/30", "2001:db8::/32"):
        assert conflicts(same, at={"acme": [HERE], "bell": [(network, None)]}) == []


def test_network_conflicts_with_a_wider_one() -> None:
    at: dict[str, list[Site]] = {
        "acme": [("2001:db8::/48", None)],
        "bell": [("2001:db8::/32", None)],
    }
    (conflict,) = conflicts({"acme": [], "bell": []}, at=at)
    assert (conflict.trunks, conflict.addresses) == (("acme", "bell"), ("2001:db8::/32",))


def test_addresses_in_the_network_of_a_third_do_not_conflict() -> None:
    at: dict[str, list[Site]] = {
        "acme": [HERE],
        "bell": [ELSEWHERE],
        "cable": [("192.0.2.0/24", None)],
    }
    numbers = {"acme": ["+44201"], "bell": ["+44201"], "cable": ["+44202"]}
    assert conflicts(numbers, at=at) == []


def test_registrar_name_is_in_no_network() -> None:
    at: dict[str, list[Site]] = {
        "acme": [("sip.provider.example", 5060)],
        "bell": [("192.0.2.0/24", None)],
    }
    assert conflicts({"acme": ["+44201"], "bell": ["+44201"]}, at=at) == []


# Trunks without numbers.


def test_trunks_without_numbers_at_one_address_conflict() -> None:
    assert briefly(conflicts({"acme": [], "bell": [], "cable": ["+44201"]})) == [
        ("no_number", ("acme", "bell"), ())
    ]


def test_trunk_without_numbers_beside_others_conflicts() -> None:
    """A call to its number names no trunk, so that two candidates are left."""
    assert briefly(conflicts({"acme": ["+44201"], "bell": []})) == [("no_number", ("bell",), ())]


def test_trunk_alone_without_numbers_does_not_conflict() -> None:
    assert conflicts({"acme": []}) == []


def test_trunks_without_numbers_and_a_fallback_do_not_conflict() -> None:
    assert conflicts({"acme": [], "bell": [], "cable": ["+44201"]}, fallbacks=["cable"]) == []


def test_trunks_without_numbers_and_with_one_user_conflict() -> None:
    users = {"acme": "acct", "bell": "acct"}
    assert briefly(conflicts({"acme": [], "bell": []}, users=users)) == [
        ("aor_user", ("acme", "bell"), ("acct",))
    ]
    assert briefly(conflicts({"acme": [], "bell": [], "cable": []}, users=users)) == [
        ("aor_user", ("acme", "bell"), ("acct",)),
        ("no_number", ("acme", "bell", "cable"), ()),
    ]


def test_same_user_with_different_numbers_does_not_conflict() -> None:
    users = {"acme": "acct", "bell": "acct"}
    assert conflicts({"acme": ["+44201"], "bell": ["+44202"]}, users=users) == []


# Fallbacks.


def test_fallbacks_at_one_address_conflict() -> None:
    numbers = {"acme": ["+44201"], "bell": ["+44202"], "cable": ["+44203"]}
    assert briefly(conflicts(numbers, fallbacks=["acme", "bell"])) == [
        ("fallback", ("acme", "bell"), ())
    ]
    at = {"acme": [HERE], "bell": [ELSEWHERE]}
    assert conflicts(numbers, fallbacks=["acme", "bell"], at=at) == []


# Texts.


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            ConflictKind.NUMBER,
            "trunks acme, bell at 192.0.2.1:5060: the same number +44201; write it for one "
            "of them only, or write fallback = true for the one that is to get its calls",
        ),
        (
            ConflictKind.AOR_USER,
            "trunks acme, bell at 192.0.2.1:5060: the same user +44201, and no numbers; write "
            "the numbers of each; else only calls to the very contact that we registered are "
            "identified",
        ),
        (
            ConflictKind.NO_NUMBER,
            "trunks acme, bell at 192.0.2.1:5060: no numbers, and others at their "
            "address; write the numbers of each, or fallback = true for one of them; else only "
            "calls to their contact, or their user, are identified",
        ),
        (
            ConflictKind.FALLBACK,
            "trunks acme, bell at 192.0.2.1:5060: more than one fallback: calls that name no trunk "
            "are refused; write fallback = true for one of them only",
        ),
    ],
)
def test_conflict_text_names_fault_and_remedy(kind: ConflictKind, text: str) -> None:
    assert str(Conflict(kind, ("acme", "bell"), ("192.0.2.1:5060",), ("+44201",))) == text


def test_conflict_text_of_many_trunks_names_a_few() -> None:
    (conflict,) = conflicts({f"t{i}": [] for i in range(5000)})
    assert len(conflict.trunks) == 5000
    assert str(conflict).startswith("trunks t0, t1, t10, t100, t1000 and 4995 more at ")


def test_find_is_linear_in_the_trunks_of_one_address() -> None:
    """Linear work grows tenfold for ten times as many trunks; work on pairs a hundredfold."""
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
    """Return the conflicts of trunks with different numbers at one ip."""
    admitted = [(t.id, site) for t in trunks for site in (at or {}).get(t.id, [OTHER])]
    ports = {"acme": 5060, "bell": 5070}
    sites = [(id_, (ip, port or ports.get(id_, 5080))) for id_, (ip, port) in admitted]
    return [(c.kind.value, c.trunks, c.addresses) for c in find(trunks, [], sites, admitted)]


def of(
    id_: str, server: str | None = "", *, fallback: bool = False, accepts: bool = True
) -> NamedTrunk:
    return NamedTrunk(id_, f"user-{id_}", True, fallback, server, accepts)


FOUND = [("other_server", ("acme", "bell"), ("192.0.2.1",))]


def test_servers_at_one_address_conflict_despite_numbers() -> None:
    """The learned ports do not matter, because calls may come from any port."""
    assert met(of("acme", "a.example"), of("bell", "b.example")) == FOUND
    assert met(of("acme"), of("bell")) == FOUND, "an empty server is a server of its own"


def test_trunks_of_one_server_do_not_conflict() -> None:
    assert met(of("acme", "a.example"), of("bell", "a.example")) == []


def test_server_not_known_yet_does_not_conflict() -> None:
    assert met(of("acme", "a.example"), of("bell", None)) == []
    assert met(of("acme", None), of("bell", None)) == []


def test_servers_with_one_fallback_do_not_conflict() -> None:
    assert met(of("acme", "a.example", fallback=True), of("bell", "b.example")) == []


def test_servers_conflict_only_if_one_accepted_the_call() -> None:
    refusing = [of("acme", "a.example", accepts=False), of("bell", "b.example", accepts=False)]
    assert met(*refusing) == []
    assert met(refusing[0], of("bell", "b.example")) == FOUND
    same_user = [refusing[0], replace(refusing[1], aor_user="user-acme")]
    assert met(*same_user) == FOUND


def test_servers_at_exact_ports_do_not_conflict() -> None:
    at: dict[str, list[Site]] = {"acme": [("192.0.2.1", 5060)], "bell": [("192.0.2.1", 5070)]}
    assert met(of("acme", "a.example"), of("bell", "b.example"), at=at) == []


def test_network_around_another_servers_address_conflicts() -> None:
    at: dict[str, list[Site]] = {"acme": [("192.0.2.0/24", None)]}
    ((kind, ids, addresses),) = met(of("acme", "a.example"), of("bell", "b.example"), at=at)
    assert (kind, ids, addresses) == ("other_server", ("acme", "bell"), ("192.0.2.0/24",))


def test_trunks_without_numbers_are_reported_once() -> None:
    named = [NamedTrunk(id_, f"user-{id_}", False, False, id_) for id_ in ("acme", "bell")]
    found = find(named, [], [(t.id, HERE) for t in named], [(t.id, OTHER) for t in named])
    assert briefly(found) == [("no_number", ("acme", "bell"), ())]
