"""Worlds of trunks and calls, and an oracle that says whose each call is.

The oracle is written from the rules in words, over plain dictionaries, and uses nothing of the
program's: where the two differ, one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

from hypothesis import strategies as st

World = list[dict[str, Any]]
Call = dict[str, Any]

NOW = 1_000_000.0

# Few of each, so that trunks collide in all of them.
IPS = ["192.0.2.1", "192.0.2.10", "2001:db8::1"]
SPELT = {
    "192.0.2.1": ["192.0.2.1", "::ffff:192.0.2.1"],
    "192.0.2.10": ["192.0.2.10", "::ffff:c000:20a"],
    "2001:db8::1": ["2001:db8::1", "2001:0DB8:0::0:1"],
}
PORTS = [5060, 5080]
TRANSPORTS = ["udp", "tcp", "tls"]
NUMBERS = ["+442071234567", "+442071234568", "020 7123 4567", "100"]
NUMBERS += ["+442071234567*", "+4420712345*", "+44207*", "0207123*", "20712*"]
CALLED = ["+442071234567", "00442071234567", "442071234567", "02071234567", "2071234567"]
CALLED += ["+44 (20)-7123.4567", "+44(0)2071234567", "0207-1234568", "44.2071234568"]
CALLED += ["+44207123459", "0044 207 99", "+44207", "0207123", "20712", "100", "1000", "+4420"]
COUNTRIES = ["", "44", "49"]
AOR_USERS = ["acct1", "acct2", "ACCT1", "442071234567", "+442071234568", "2071234567", "100"]
HEADERS = ["p-called-party-id", "to", "diversion", "x-called"]
TOKENS = ["t0", "t1", "t2", "t3", "t4", "t5"]

USUAL = [["p-called-party-id", "to"]]
"""In which headers a trunk is looked for that does not say it."""

NETWORKS = ["192.0.2.0/28", "192.0.2.0/24", "192.0.2.8/29", "2001:db8::/33", "2001:db8::/127"]

addresses = st.fixed_dictionaries(
    {
        "ip": st.sampled_from([IPS[0], IPS[0], *IPS, *NETWORKS]),
        "exact": st.booleans(),
        "port": st.sampled_from([*PORTS, None]),
        "transport": st.sampled_from(["udp", "udp", *TRANSPORTS]),
        "expires_at": st.sampled_from([NOW + 1, NOW + 0.001, None, NOW, NOW - 1]),
    }
).map(lambda address: {**address, "exact": address["exact"] and address["port"] is not None})


def _place(address: dict[str, Any]) -> tuple[Any, ...]:
    return address["ip"], address["port"], address["transport"]


worlds: st.SearchStrategy[World] = st.lists(
    st.fixed_dictionaries(
        {
            "enabled": st.sampled_from([True, True, True, False]),
            "aor_user": st.sampled_from(AOR_USERS),
            "unmatched": st.sampled_from(["accept", "accept", "refuse"]),
            "fallback": st.sampled_from([False, False, True]),
            "country": st.sampled_from(COUNTRIES),
            "numbers": st.lists(st.sampled_from(NUMBERS), max_size=2, unique=True),
            "number_headers": st.sampled_from(USUAL)
            | st.lists(st.sampled_from(HEADERS), max_size=3, unique=True),
            "addresses": st.lists(
                addresses,
                min_size=1,
                max_size=3,
                unique_by=_place,
            ),
        }
    ),
    min_size=1,
    max_size=len(TOKENS),
).map(lambda trunks: [{"id": f"trunk{i}", "token": TOKENS[i], **t} for i, t in enumerate(trunks)])

users = st.sampled_from([*TOKENS, *AOR_USERS, *CALLED, "", "nobody"])

calls: st.SearchStrategy[Call] = st.fixed_dictionaries(
    {
        "ip": st.sampled_from(
            [*SPELT[IPS[0]], *(text for spelt in SPELT.values() for text in spelt)]
        ),
        "port": st.sampled_from(PORTS),
        "transport": st.sampled_from(TRANSPORTS),
        "user": users,
        "line": st.sampled_from(["", "", "", *TOKENS, "nobody"]),
        "p_called_party_id": st.sampled_from([None, None, *CALLED, *AOR_USERS, "nobody"]),
        "to": st.sampled_from([None, *CALLED, *AOR_USERS, "nobody"]),
        "diversion": st.sampled_from([None, None, *CALLED, "acct2"]),
        "x_called": st.sampled_from([None, None, *CALLED, "acct2"]),
    }
)


Said = tuple[str, str | None]

AMBIGUOUS: Said = ("refused", "ambiguous")
ELSEWHERE: Said = ("refused", "number_of_another_trunk")

FIELDS = {"p-called-party-id": "p_called_party_id", "x-called": "x_called"}
"""Header → under which name a call has it, where that is another one."""


def oracle(world: World, call: Call, now: float) -> Said:
    """Say ("identified", trunk id), ("refused", reason) or ("unknown", None)."""
    candidates = [t for t in world if t["enabled"] and may_come(t, call, now)]
    absent = [t for t in world if t not in candidates]
    if candidates == []:
        return "unknown", None

    # 1. Token. A disabled trunk has one too.
    tokens = {call["user"], call["line"]} - {""}
    if any(trunk["token"] in tokens for trunk in absent):
        return "refused", "token_from_wrong_source"
    left = [t for t in candidates if t["token"] in tokens] or candidates
    if len(left) == 1 and left[0]["token"] in tokens:
        return "identified", left[0]["id"]

    def names_another(header: str) -> bool:
        """Whether no candidate is named there, but a trunk that is none."""
        word = call[FIELDS.get(header, header)]
        named = [t for t in world if owns_number(t, word) or has_account(t, word)]
        return named != [] and not any(t in candidates for t in named)

    # 2. Request-URI: whatever else is said, it is not overridden.
    named, contradicts = who_is_named(left, call["user"])
    if contradicts:
        return AMBIGUOUS
    if len(named) == 1:
        return "identified", named[0]["id"]
    if names_another("user"):
        return ELSEWHERE
    left = named or left

    # 3. The headers in which each trunk is looked for: the first of each, then the second, …
    for rank in range(len(HEADERS)):
        found: dict[str, World] = {}
        for header in HEADERS:
            named, contradicts = who_is_named(left, call[FIELDS.get(header, header)])
            theirs = [t for t in named if t["number_headers"][rank : rank + 1] == [header]]
            if theirs and contradicts:
                return AMBIGUOUS
            if theirs:
                found[header] = theirs
        if len(found) > 1:
            return AMBIGUOUS  # one header names one trunk, another names another
        for header, theirs in found.items():
            assert header in HEADERS
            if any(present_names_another(t, names_another, rank) for t in theirs):
                return ELSEWHERE
            if len(theirs) == 1:
                return "identified", theirs[0]["id"]
            left = theirs

    # 4. Named elsewhere.
    if names_another("p-called-party-id"):
        return ELSEWHERE

    # 5. to 7. The exact port where it tells apart, the fallback, the only candidate.
    if len(candidates) == 1:
        if present_names_another(left[0], names_another):
            return ELSEWHERE
        if left[0]["unmatched"] == "refuse":
            return "refused", "unmatched"
        return "identified", left[0]["id"]
    by_port = [t for t in left if came_by_port(t, call, now)]
    by_fallback = [t for t in by_port or left if t["fallback"]]
    for chosen in (by_port, by_fallback):
        if len(chosen) == 1:
            if present_names_another(chosen[0], names_another):
                return ELSEWHERE
            return "identified", chosen[0]["id"]
    return AMBIGUOUS


def who_is_named(trunks: World, word: str | None) -> tuple[World, bool]:
    """Say which of the trunks a number or account names, and whether it names two at odds.

    Number and account are looked up at once. A number that is another one's account names both.
    """
    grades = {t["id"]: grade(t, word) for t in trunks}
    best = max(grades.values())
    by_number = [t for t in trunks if best > 0 and grades[t["id"]] == best]
    by_account = [t for t in trunks if has_account(t, word)]
    both = [t for t in trunks if t in by_number or t in by_account]
    at_odds = by_number != [] and by_account != [] and len(both) > 1
    return (both if at_odds else by_number or by_account), at_odds


def present_names_another(
    trunk: dict[str, Any], names_another: Callable[[str], bool], until: int | None = None
) -> bool:
    """Whether one of the trunk's own headers, before that rank, names a trunk that is not there.

    To and Diversion tell of the past: they may.
    """
    headers = set(trunk["number_headers"][:until]) - {"to", "diversion"}
    return any(names_another(header) for header in headers)


def came_by_port(trunk: dict[str, Any], call: Call, now: float) -> bool:
    """Whether it comes from exactly the port that one of the trunk's addresses has."""
    return any(a["port"] == call["port"] and admits(a, call, now) for a in trunk["addresses"])


def owns_number(trunk: dict[str, Any], word: str | None) -> bool:
    """Whether one of the trunk's numbers or prefixes is, or holds, what is called."""
    return grade(trunk, word) > 0


def has_account(trunk: dict[str, Any], word: str | None) -> bool:
    """Whether it is the trunk's account, letter by letter, or the same telephone number."""
    account = trunk["aor_user"]
    return word is not None and (word == account or bare(word) in account_forms(trunk))


def account_forms(trunk: dict[str, Any]) -> set[str]:
    """The forms of an account that is a telephone number. Five digits may have a country."""
    account, country = trunk["aor_user"], trunk["country"]
    if bare(account) is None:
        return set()
    found = forms(account, country) | {account}
    if account.startswith(country) and country == "44":
        found |= forms("+" + account, country)
    if len(account) >= 5 and account[0] not in "+0":
        found |= {"+" + account, "00" + account}
    return found


def may_come(trunk: dict[str, Any], call: Call, now: float) -> bool:
    """Whether one of the trunk's addresses admits the call's source."""
    return any(admits(address, call, now) for address in trunk["addresses"])


def admits(address: dict[str, Any], call: Call, now: float) -> bool:
    """The address rules, one by one."""
    if address["expires_at"] is not None and address["expires_at"] <= now:
        return False
    if not begins_alike(address["ip"], call["ip"]):
        return False
    if address["exact"] and address["port"] != call["port"]:
        return False
    if address["transport"] == "tls":
        return bool(call["transport"] == "tls")
    if address["transport"] == "tcp":
        return call["transport"] in ("tcp", "tls")
    return True


def begins_alike(place: str, ip: str) -> bool:
    """Whether an address or network has all its bits in common with an ip."""
    network = ip_network(place)
    beyond = network.max_prefixlen - network.prefixlen
    return value_of(str(network.network_address)) >> beyond == value_of(ip) >> beyond


def grade(trunk: dict[str, Any], called: str | None) -> int:
    """How well a trunk's numbers fit a called one: 0 not at all, 1000 it is one of them.

    What begins like a prefix is in it, and the better the longer the prefix is.
    """
    called = bare(called)
    if called is None:
        return 0
    grades = [0]
    for form in [form for n in trunk["numbers"] for form in forms(n, trunk["country"])]:
        if form == called:
            grades.append(1000)
        if form[-1] == "*" and called[: len(form) - 1] == form[:-1]:
            grades.append(len(form))
    return max(grades)


def bare(word: str | None) -> str | None:
    """A number without what is written between its digits; None where it is none."""
    for separator in " -.()":
        word = word and word.replace(separator, "")
    return word if word and word.removeprefix("+").isdigit() else None


@cache
def forms(number: str, country: str = "") -> set[str]:
    """The forms in which a trunk's number, or prefix, may come; of countries with a 0 as Britain.

    +44…, 0044…, 44… and +44(0)… are one number; where the trunk is in Britain, 0… and that without
    the 0 are it too. A number that is written so is one of the trunk's own country.
    """
    number = number.replace(" ", "")
    if number.startswith("+44"):
        code, national = "44", number[3:]
    elif country and number.startswith("0"):
        code, national = country, number[1:]
    elif country == "44" and number.startswith("20"):
        code, national = country, number
    elif number.startswith("+"):
        return {number, number[1:], "00" + number[1:]}
    else:
        return {number}
    found = {f"+{code}{national}", code + national, f"00{code}{national}", f"+{code}0{national}"}
    return found | ({"0" + national, national} if code == country else set())


@cache
def value_of(ip: str) -> int:
    """An address as the number that it is, an IPv4 one as IPv6 writes it."""
    value = int(ip_address(ip))
    return value if ":" in ip else value + 0xFFFF_0000_0000


# The same, made up by a plain generator of random numbers: hypothesis shows a fault in its smallest
# form, and this one makes a hundred times as many in the same time.


def some_address(dice: Random) -> dict[str, Any]:
    """Make up an address; it may end while a story is told."""
    port = dice.choice([*PORTS, None])
    return {
        "ip": IPS[0] if dice.random() < 0.5 else dice.choice([*IPS, *NETWORKS]),
        "exact": port is not None and dice.random() < 0.2,
        "port": port,
        "transport": dice.choice(["udp", "udp", "udp", *TRANSPORTS]),
        "expires_at": dice.choice([NOW + 1, NOW + 2, NOW + 5, NOW + 900, NOW + 900, None, NOW]),
    }


def some_trunk(dice: Random, i: int) -> dict[str, Any]:
    """Make up the trunk whose token is the one numbered *i*."""
    addresses = [some_address(dice) for _ in range(dice.randint(0, 3))]
    return {
        "id": f"trunk{i}",
        "token": TOKENS[i],
        "enabled": dice.random() < 0.8,
        "aor_user": dice.choice(AOR_USERS),
        "unmatched": dice.choice(["accept", "accept", "refuse"]),
        "fallback": dice.random() < 0.25,
        "country": dice.choice(COUNTRIES),
        "numbers": dice.sample(NUMBERS, dice.randint(0, 2)),
        "number_headers": USUAL[0] if dice.random() < 0.6 else some_headers(dice),
        "addresses": list({_place(a): a for a in addresses}.values()),
    }


def some_headers(dice: Random) -> list[str]:
    """Make up in which headers a trunk is looked for."""
    return dice.sample(HEADERS, dice.randint(0, 3))


def some_call(dice: Random) -> Call:
    """Make up a call."""
    nobody = ["", *["nobody"] * 4]
    return {
        "ip": dice.choice(SPELT[IPS[0] if dice.random() < 0.8 else dice.choice(IPS)]),
        "port": dice.choice(PORTS),
        "transport": dice.choice(["udp", *TRANSPORTS]),
        "user": dice.choice([dice.choice(TOKENS), *AOR_USERS, *CALLED, *nobody]),
        "line": dice.choice(TOKENS) if dice.random() < 0.15 else "",
        "p_called_party_id": some_word(dice, 0.3),
        "to": some_word(dice, 0.5),
        "diversion": some_word(dice, 0.15),
        "x_called": some_word(dice, 0.15),
    }


def some_word(dice: Random, chance: float) -> str | None:
    """Make up what a header calls; None: it is not there."""
    return dice.choice([*CALLED, *AOR_USERS, "nobody"]) if dice.random() < chance else None
