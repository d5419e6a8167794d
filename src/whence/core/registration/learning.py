"""The sources that may be learned: one rule for the agent and the drop-in.

An attacker who sees a REGISTER on the wire can answer it from an own address, without spoofing. So
the source of a reply is learned only if it is one of these:
- the ip that this request was sent to;
- an ip that DNS names for the registrar, or for the outbound proxy;
- an address in the trunk's `networks`, with the port and transport written there;
- any address, if the reply proves that its sender knows the password (`rspauth`, RFC 7616 3.5);
- any address, if the operator sets `learn_from = "any"`.

Ips are compared as values. The port is compared only where a network names one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from whence.core.identification.address import Address
from whence.core.sip.transport_address import IP, TransportAddress


class Ground(StrEnum):
    """Why an address may be learned. The directory stores it with each learned address."""

    ASKED = "asked"
    DNS = "dns"
    NETWORKS = "networks"
    RSPAUTH = "rspauth"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class ExpectedSources:
    """The sources that may be learned, besides the ip that was asked."""

    named: frozenset[IP] = frozenset()
    """The addresses in DNS of the registrar and the outbound proxy."""
    networks: tuple[Address, ...] = ()
    """The trunk's `networks`."""
    any_source: bool = False
    """Whether `learn_from` is "any"."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A source may be learned. `until`: no longer than this instant; None: no such limit.

    `exact`: only the port of the reply, since the network names that port.
    """

    ground: Ground
    until: float | None = None
    exact: bool = False


ASKED_ONLY = ExpectedSources()
"""Only the ip that was asked may be learned."""


def permit(
    source: TransportAddress,
    asked: Collection[IP],
    expected: ExpectedSources,
    now: float,
    *,
    proven: bool = False,
) -> Permit | None:
    """Return why the address `source` may be learned, or None if it may not.

    `asked`: the ips that the request was sent to. `proven`: the reply carries a valid `rspauth`.
    """
    if source.ip in asked:
        return Permit(Ground.ASKED)
    if source.ip in expected.named:
        return Permit(Ground.DNS)
    if expected.any_source:
        return Permit(Ground.ANY)
    if proven:
        return Permit(Ground.RSPAUTH)
    fitting = [network for network in expected.networks if network.admits(source, now)]
    if not fitting:
        return None
    widest = max(
        fitting, key=lambda n: (not n.exact, inf if n.expires_at is None else n.expires_at)
    )
    return Permit(Ground.NETWORKS, widest.expires_at, widest.exact)
