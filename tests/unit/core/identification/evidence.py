"""Makes addresses, trunks, requests and their evidence, with defaults."""

from __future__ import annotations

from typing import Literal

from tests.unit.core.identification.world import (
    NOW,
    forms,
)
from whence.core.identification import number_headers as called
from whence.core.identification.address import Address, Origin
from whence.core.identification.request import Evidence, Request
from whence.core.identification.trunk import NUMBER_HEADERS, Trunk
from whence.core.sip.phone_number import account_spellings, closeness, owns
from whence.core.sip.transport_address import (
    Transport,
    TransportAddress,
    canonical_network,
)
from whence.core.sip.uri import Uri

PROVIDER, ELSEWHERE = "192.0.2.1", "192.0.2.2"


def at(
    ip: str = PROVIDER,
    port: int | None = 5060,
    transport: str = "udp",
    expires_at: float | None = NOW + 60,
    exact: bool = False,
) -> Address:
    return Address(
        canonical_network(ip),
        port,
        Transport(transport),
        Origin.LEARNED,
        "udp:198.51.100.1:5060",
        NOW - 60,
        expires_at,
        exact,
    )


def trunk(
    id_: str,
    *addresses: Address,
    unmatched: Literal["accept", "refuse"] = "accept",
    fallback: bool = False,
    user: str = "",
    headers: tuple[str, ...] = NUMBER_HEADERS,
) -> Trunk:
    """Return a trunk with the token `token-ID` and by default the AoR user `user-ID`."""
    return Trunk(
        id_,
        f"token-{id_}",
        user or f"user-{id_}",
        "sip:alice@edge.example",
        addresses or (at(),),
        unmatched,
        fallback,
        headers,
    )


CALLED = ("+44201", "0044201", "44201", "+44202", "0044202", "+44203", "+4420177", "+44201778")


def evidence(*trunks: Trunk, numbers: dict[str, list[str]] | None = None) -> Evidence:
    """Return the evidence for calls to CALLED. `numbers`: trunk id → its numbers."""
    owned = {id_: [f for one in them for f in forms(one)] for id_, them in (numbers or {}).items()}
    owning = {
        (number, id_): [form for form in them if owns(form, number)]
        for id_, them in owned.items()
        for number in CALLED
    }
    accounts: dict[str, tuple[str, ...]] = {}
    for one in trunks:
        for form in account_spellings(one.aor_user):
            accounts[form] = (*accounts.get(form, ()), one.id)
    return Evidence(
        trunks=tuple(one for one in trunks if one.id != "disabled"),
        token_owners={t.token: t.id for t in trunks},
        number_owners={named: max(by, key=closeness) for named, by in owning.items() if by},
        account_owners=accounts,
        pilots={
            (number, id_)
            for (number, id_), by in owning.items()
            if f"{number}*" in by or (number in by and len(by) > 1)
        },
    )


def uri(text: str) -> Uri:
    parsed = Uri.parse(text)
    assert parsed is not None
    return parsed


def call(
    ruri: str = "sip:nobody@edge.example",
    source: str = f"udp:{PROVIDER}:40000",
    to: str | None = None,
    p_called_party_id: str | None = None,
    **others: str,
) -> Request:
    """Return a request. `others`: further headers, with _ for -."""
    lines = [(name.replace("_", "-"), value) for name, value in others.items()]
    return Request(
        TransportAddress.parse(source),
        uri(ruri),
        uri(to) if to else None,
        uri(p_called_party_id) if p_called_party_id else None,
        called.read(called.text_of(lines)),
    )
