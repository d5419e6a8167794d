"""Worlds of trunks and calls, and an oracle that says whose each call is.

The oracle is written from the rules in words, over plain dictionaries, and uses nothing of the
program's: where the two differ, one of them is wrong.
"""

from __future__ import annotations

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
AOR_USERS = ["acct1", "acct2", "442071234567"]
TOKENS = ["t0", "t1", "t2", "t3", "t4", "t5"]

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
        "p_called_party_id": st.sampled_from([None, None, *CALLED, "nobody"]),
        "to": st.sampled_from([None, *CALLED, "nobody"]),
    }
)


def oracle(world: World, call: Call, now: float) -> tuple[str, str | None]:
    """Say ("identified", trunk id), ("refused", reason) or ("unknown", None)."""
    candidates = [t for t in world if t["enabled"] and may_come(t, call, now)]
    if candidates == []:
        return "unknown", None

    tokens = {call["user"], call["line"]} - {""}
    for trunk in world:  # a disabled one has a token too
        if trunk["token"] in tokens and trunk not in candidates:
            return "refused", "token from a wrong source"

    def by_token(trunk: dict[str, Any]) -> bool:
        return trunk["token"] in tokens

    def by_number(header: str) -> Any:
        # Who owns the number itself; if nobody does, who owns the longest range that it is in.
        grades = {t["id"]: grade(t, call[header]) for t in candidates}
        best = max(grades.values())
        return lambda trunk: best > 0 and grades[trunk["id"]] == best

    def by_aor_user(trunk: dict[str, Any]) -> bool:
        return bool(trunk["aor_user"] == call["user"])

    def by_port(trunk: dict[str, Any]) -> bool:
        return any(a["port"] == call["port"] and admits(a, call, now) for a in trunk["addresses"])

    headers = ["user", "p_called_party_id", "to"]
    rules: list[Any] = [by_token, *headers, by_aor_user, by_port]
    for rule in rules:
        if rule is by_port and len(candidates) == 1:
            break  # "where it tells the candidates apart"
        fits = by_number(rule) if rule in headers else rule
        fitting = [trunk for trunk in candidates if fits(trunk)]
        if len(fitting) == 1:
            return "identified", fitting[0]["id"]
        if len(fitting) > 1:
            candidates = fitting
    if len(candidates) == 1:
        if candidates[0]["unmatched"] == "refuse":
            return "refused", "unmatched"
        return "identified", candidates[0]["id"]
    fallbacks = [trunk for trunk in candidates if trunk["fallback"]]
    if len(fallbacks) == 1:
        return "identified", fallbacks[0]["id"]
    return "refused", "ambiguous"


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

    What begins like a range is in it, and the better the longer the range is.
    """
    if called is None:
        return 0
    for separator in " -.()":
        called = called.replace(separator, "")
    if not called.removeprefix("+").isdigit():
        return 0
    grades = [0]
    for form in [form for n in trunk["numbers"] for form in forms(n, trunk["country"])]:
        if form == called:
            grades.append(1000)
        if form[-1] == "*" and called[: len(form) - 1] == form[:-1]:
            grades.append(len(form))
    return max(grades)


@cache
def forms(number: str, country: str = "") -> set[str]:
    """The forms in which a trunk's number, or range, may come; of countries with a 0 as Britain.

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
        "addresses": list({_place(a): a for a in addresses}.values()),
    }


def some_call(dice: Random) -> Call:
    """Make up a call."""
    nobody = ["", *["nobody"] * 4]
    return {
        "ip": dice.choice(SPELT[IPS[0] if dice.random() < 0.8 else dice.choice(IPS)]),
        "port": dice.choice(PORTS),
        "transport": dice.choice(["udp", *TRANSPORTS]),
        "user": dice.choice([dice.choice(TOKENS), *AOR_USERS, *CALLED, *nobody]),
        "line": dice.choice(TOKENS) if dice.random() < 0.15 else "",
        "p_called_party_id": dice.choice([*CALLED, "nobody"]) if dice.random() < 0.3 else None,
        "to": dice.choice(CALLED) if dice.random() < 0.4 else dice.choice([None, "nobody"]),
    }
