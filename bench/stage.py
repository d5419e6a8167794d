"""The caller, the numbers and the phones that all contestants share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.network import SIP_PORT, Network, udp_bound
from testkit.process import Process
from testkit.sip import Address
from testkit.wait import eventually

ANSWERS_AT_ONCE = Path(__file__).parent / "phone.xml"


@dataclass(frozen=True, slots=True)
class Stage:
    """A network, and trunks spread evenly over the addresses of some providers.

    All calls come from the first provider's address. They go to its trunks' numbers in turn.
    """

    network: Network
    directory: Path
    trunks: int
    providers: int

    @property
    def caller_ip(self) -> str:
        """The source ip of all calls."""
        return self.provider_ip(0)

    def provider_ip(self, provider: int) -> str:
        """Return the address of a provider, counted from 0."""
        return self.network.ip(f"provider {provider}")

    def provider_of(self, trunk: int) -> int:
        """Return the provider of a trunk, both counted from 0."""
        return trunk % self.providers

    def number(self, trunk: int) -> str:
        """Return the telephone number of a trunk, counted from 0."""
        return f"+4420{trunk:08d}"

    def called(self, edge: Address) -> list[str]:
        """Return the Request-URIs of the calls, as a provider writes them."""
        trunks = range(0, self.trunks, self.providers)
        return [f"sip:{self.number(trunk)}@{edge[0]}:{edge[1]}" for trunk in trunks]


@contextmanager
def phone(ip: str, directory: Path) -> Iterator[None]:
    """Run a phone at this address that answers each call; it must be registered before."""
    argv = ["sipp", "-sf", str(ANSWERS_AT_ONCE), "-i", ip, "-p", str(SIP_PORT), "-nostdin"]
    with Process("phone", argv, directory / "phone.log"):
        eventually(lambda: udp_bound(ip, SIP_PORT), what="the phone's socket")
        yield
