"""Worlds of trunks and calls, and an oracle that says whose each call is.

The oracle is written from the rules as they stand in the design, over plain dictionaries, and uses
nothing of the program's: where the two differ, one of them is wrong.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
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
NUMBERS = ["+44201", "+44202", "0201", "+44201*", "+4420*", "020*"]
CALLED = ["+44201", "0044201", "44201", "+44 (20)-1", "+44202", "44.202", "0201", "02-01", "201"]
CALLED += ["+442017", "0044 2017", "+4420", "02029"]
AOR_USERS = ["acct1", "acct2", "44201"]
TOKENS = ["t0", "t1", "t2", "t3"]

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
    enabled = [trunk for trunk in world if trunk["enabled"]]
    candidates = [trunk for trunk in enabled if may_come(trunk, call, now)]
    if candidates == []:
        return "unknown", None

    tokens = {call["user"], call["line"]} - {""}
    for trunk in enabled:
        if trunk["token"] in tokens and trunk not in candidates:
            return "refused", "token from a wrong source"

    def by_token(trunk: dict[str, Any]) -> bool:
        return trunk["token"] in tokens

    def by_number(header: str) -> Any:
        # Who owns the number itself; if nobody does, who owns the longest range that it is in.
        grades = {t["id"]: grade(t["numbers"], call[header]) for t in candidates}
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


def grade(ours: list[str], called: str | None) -> int:
    """How well a trunk's numbers fit a called one: 0 not at all, 1000 it is one of them.

    +44…, 0044… and 44… are one where ours has a plus; what begins like a range is in it.
    """
    if called is None:
        return 0
    for separator in " -.()":
        called = called.replace(separator, "")
    if not called.removeprefix("+").isdigit():
        return 0
    grades = [0]
    for form in [form for number in ours for form in forms(number)]:
        if form == called:
            grades.append(1000)
        if form[-1] == "*" and called[: len(form) - 1] == form[:-1]:
            grades.append(len(form))
    return max(grades)


def forms(number: str) -> set[str]:
    """The forms in which a number, or range, with a plus may come; another comes as it is."""
    digits = number.removeprefix("+")
    return {number, digits, "00" + digits} if number.startswith("+") else {number}


def value_of(ip: str) -> int:
    """An address as the number that it is, an IPv4 one as IPv6 writes it."""
    value = int(ip_address(ip))
    return value if ":" in ip else value + 0xFFFF_0000_0000
