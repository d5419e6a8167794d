"""Worlds of trunks and calls, and an oracle that decides to which trunk each call belongs.

The oracle implements the documented rules over plain dictionaries, without the program's code. A
difference between the two is a fault in one of them.
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
"""The default of `number_headers`."""

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


def _key(address: dict[str, Any]) -> tuple[Any, ...]:
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
                unique_by=_key,
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


Result = tuple[str, str | None]

AMBIGUOUS: Result = ("refused", "ambiguous")
ELSEWHERE: Result = ("refused", "number_of_another_trunk")

FIELDS = {"p-called-party-id": "p_called_party_id", "x-called": "x_called"}
"""Header → its name in a call, where that differs."""


def oracle(world: World, call: Call, now: float) -> Result:
    """Return ("identified", trunk id), ("refused", reason) or ("unknown", None)."""
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
        """Return whether a header names a trunk that is no candidate, and no candidate."""
        word = call[FIELDS.get(header, header)]
        named = [t for t in world if owns_number(t, word) or has_account(t, word)]
        return named != [] and not any(t in candidates for t in named)

    # 2. Request-URI: no header overrides it.
    named, contradicts = who_is_named(left, call["user"])
    if contradicts:
        return AMBIGUOUS
    if len(named) == 1:
        return "identified", named[0]["id"]
    if names_another("user"):
        return ELSEWHERE
    left = named or left

    # 3. The number headers of each trunk: the first of each trunk, then the second, …
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

    # 5. to 7. The exact port if it leaves one trunk, the fallback, the only candidate.
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
    """Return the trunks that a number or account names, and whether the two contradict.

    Both are looked up. A number of one trunk that is the account of another names both.
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
    """Return whether an own header of the trunk, before that rank, names another trunk.

    To and Diversion may: they have earlier targets of the call.
    """
    headers = set(trunk["number_headers"][:until]) - {"to", "diversion"}
    return any(names_another(header) for header in headers)


def came_by_port(trunk: dict[str, Any], call: Call, now: float) -> bool:
    """Return whether the source port is that of one of the trunk's addresses."""
    return any(a["port"] == call["port"] and admits(a, call, now) for a in trunk["addresses"])


def owns_number(trunk: dict[str, Any], word: str | None) -> bool:
    """Return whether a number or prefix of the trunk fits the called number."""
    return grade(trunk, word) > 0


def has_account(trunk: dict[str, Any], word: str | None) -> bool:
    """Return whether the word is the trunk's account, or the same telephone number."""
    account = trunk["aor_user"]
    return word is not None and (word == account or bare(word) in account_forms(trunk))


def account_forms(trunk: dict[str, Any]) -> set[str]:
    """Return the forms of a numeric account. From five digits on it may have a country code."""
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
    """Return whether an address of the trunk admits the call's source."""
    return any(admits(address, call, now) for address in trunk["addresses"])


def admits(address: dict[str, Any], call: Call, now: float) -> bool:
    """Return whether an address admits the call's source, by each rule."""
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
    """Return whether an address or network contains an ip."""
    network = ip_network(place)
    beyond = network.max_prefixlen - network.prefixlen
    return value_of(str(network.network_address)) >> beyond == value_of(ip) >> beyond


def grade(trunk: dict[str, Any], called: str | None) -> int:
    """Return how well a trunk's numbers fit a called one: 0 not at all, 1000 exactly.

    For a prefix it is the length of the prefix.
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
    """Return a number without its separators; None if it is no number."""
    for separator in " -.()":
        word = word and word.replace(separator, "")
    return word if word and word.removeprefix("+").isdigit() else None


@cache
def forms(number: str, country: str = "") -> set[str]:
    """Return the forms of a trunk's number or prefix, for countries with the national prefix 0.

    +44…, 0044…, 44… and +44(0)… are one number. For a trunk with the country code 44, 0… and the
    same without the 0 are that number, too.
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
    """Return an address as an integer; IPv4 as its mapped IPv6 address."""
    value = int(ip_address(ip))
    return value if ":" in ip else value + 0xFFFF_0000_0000


# The same worlds from a plain random generator. Hypothesis shrinks a failing case. This generator
# makes a hundred times as many cases in the same time.


def some_address(dice: Random) -> dict[str, Any]:
    """Return a random address; it may end during a test."""
    port = dice.choice([*PORTS, None])
    return {
        "ip": IPS[0] if dice.random() < 0.5 else dice.choice([*IPS, *NETWORKS]),
        "exact": port is not None and dice.random() < 0.2,
        "port": port,
        "transport": dice.choice(["udp", "udp", "udp", *TRANSPORTS]),
        "expires_at": dice.choice([NOW + 1, NOW + 2, NOW + 5, NOW + 900, NOW + 900, None, NOW]),
    }


def some_trunk(dice: Random, i: int) -> dict[str, Any]:
    """Return a random trunk with the token of index *i*."""
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
        "addresses": list({_key(a): a for a in addresses}.values()),
    }


def some_headers(dice: Random) -> list[str]:
    """Return random number headers."""
    return dice.sample(HEADERS, dice.randint(0, 3))


def some_call(dice: Random) -> Call:
    """Return a random call."""
    no_trunk = ["", *["nobody"] * 4]
    return {
        "ip": dice.choice(SPELT[IPS[0] if dice.random() < 0.8 else dice.choice(IPS)]),
        "port": dice.choice(PORTS),
        "transport": dice.choice(["udp", *TRANSPORTS]),
        "user": dice.choice([dice.choice(TOKENS), *AOR_USERS, *CALLED, *no_trunk]),
        "line": dice.choice(TOKENS) if dice.random() < 0.15 else "",
        "p_called_party_id": some_word(dice, 0.3),
        "to": some_word(dice, 0.5),
        "diversion": some_word(dice, 0.15),
        "x_called": some_word(dice, 0.15),
    }


def some_word(dice: Random, chance: float) -> str | None:
    """Return a random called number or account; None: the header is missing."""
    return dice.choice([*CALLED, *AOR_USERS, "nobody"]) if dice.random() < chance else None
