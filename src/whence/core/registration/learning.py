"""From whom an address is learned: the rule of both the agent and the drop-in.

Whoever sees a REGISTER on the wire can answer it from an address of his own, without spoofing. So
a reply teaches its source only if that is whom we asked:
- the ip that this very request went to;
- an ip that DNS names for the registrar, or for the outbound proxy;
- an address in the trunk's `networks`, with the port and transport written there;
- any address, if the reply proves that its sender knows the password (`rspauth`, RFC 7616 3.5);
- any address, if the operator says so (`learn_from = "any"`).

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
    """Why an address may be learned. The directory keeps it beside each learned address."""

    ASKED = "asked"
    DNS = "dns"
    NETWORKS = "networks"
    RSPAUTH = "rspauth"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class ExpectedSources:
    """From where, besides the ip that was asked, a reply may teach an address."""

    named: frozenset[IP] = frozenset()
    """What DNS names for the registrar and the outbound proxy."""
    networks: tuple[Address, ...] = ()
    """The trunk's `networks`."""
    anyone: bool = False
    """Whether the operator wrote `learn_from = "any"`."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A source may be learned. `until`: no longer than this instant; None where nothing limits it.

    `exact`: only the port that answered, since the network names that port.
    """

    ground: Ground
    until: float | None = None
    exact: bool = False


NOBODY_ELSE = ExpectedSources()


def permit(
    source: TransportAddress,
    asked: Collection[IP],
    expected: ExpectedSources,
    now: float,
    *,
    proven: bool = False,
) -> Permit | None:
    """Return why the address `source` may be learned, or None if it may not.

    `asked`: the ips that the request went to. `proven`: the reply carries a valid `rspauth`.
    """
    if source.ip in asked:
        return Permit(Ground.ASKED)
    if source.ip in expected.named:
        return Permit(Ground.DNS)
    if expected.anyone:
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
