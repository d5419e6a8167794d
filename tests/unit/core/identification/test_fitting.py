"""What of each trunk matched in a step, as a text for people."""

from __future__ import annotations

import pytest

from tests.unit.core.identification.evidence import at
from tests.unit.core.identification.world import NOW
from whence.core.identification.address import Address, Origin
from whence.core.identification.decision import Compared, Rule, Step
from whence.core.identification.explain import fitting
from whence.core.identification.request import Evidence
from whence.core.identification.trunk import Trunk
from whence.core.sip.transport_address import TransportAddress

SOURCE = TransportAddress.parse("udp:192.0.2.1:5060")


def text(
    rule: Rule, *addresses: Address, compared: Compared = Compared.SOURCE, value: str = ""
) -> str:
    """Return the text about the part of trunk acme that matched."""
    acme = Trunk("acme", "t0ken", "acct1", "sip:a@b", addresses)
    evidence = Evidence((acme,), {"t0ken": "acme"}, {("+44201234", "acme"): "+4420*"})
    (matched,) = fitting(Step(rule, compared, ("acme",), (value,)), SOURCE, evidence, NOW)
    return matched


HERE = at("192.0.2.1", expires_at=None)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([HERE], "learned 192.0.2.1 over udp, port 5060"),
        (
            [HERE._replace(expires_at=NOW + 90)],
            "learned 192.0.2.1 over udp, port 5060, 1 min 30 s more",
        ),
        ([HERE._replace(exact=True)], "learned 192.0.2.1 over udp, port 5060 (exact)"),
        (
            [at("192.0.2.0/24", port=None, expires_at=None)._replace(origin=Origin.PINNED)],
            "pinned 192.0.2.0/24 over udp, any port",
        ),
        (
            [at("192.0.2.1", transport="tls"), HERE._replace(port=7)],
            "learned 192.0.2.1 over udp, port 7",
        ),
    ],
)
def test_fitting_address_is_the_one_that_admits(addresses: list[Address], expected: str) -> None:
    assert text(Rule.ADDRESS, *addresses) == expected


@pytest.mark.parametrize(
    ("rule", "compared", "value", "expected"),
    [
        (Rule.TOKEN, Compared.TOKENS, "t0ken", "its token"),
        (Rule.NUMBER, Compared.NUMBER, "+44201234", "its +4420*"),
        (Rule.NUMBER, Compared.NAMED_ELSEWHERE, "+44201234", "its +4420*"),
        (Rule.NUMBER, Compared.NUMBER, "+44209", "its account"),
        (Rule.AOR_USER, Compared.AOR_USER, "acct1", "its account acct1"),
        (Rule.FALLBACK, Compared.FALLBACK, "", "it is a fallback"),
        (Rule.ONLY_CANDIDATE, Compared.CANDIDATES_LEFT, "", ""),
    ],
)
def test_fitting_word_is_the_trunks_own(
    rule: Rule, compared: Compared, value: str, expected: str
) -> None:
    assert text(rule, HERE, compared=compared, value=value) == expected


def test_fitting_port_is_of_the_address_learned_from_it() -> None:
    matched = text(Rule.PORT, HERE._replace(port=7), HERE, compared=Compared.PORT, value="5060")
    assert matched == "learned 192.0.2.1 over udp, port 5060"


def test_fitting_token_of_a_trunk_elsewhere_is_reported() -> None:
    step = Step(Rule.TOKEN, Compared.TOKEN_ELSEWHERE, ("elsewhere",), ("t0ken",))
    assert fitting(step, SOURCE, Evidence((), {}, {}), NOW) == ("its token",)
