"""Trunks, numbers and users that most system tests share: one provider, two users."""

from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.sip import Address, Endpoint, Message, request
from testkit.whence import Table, Whence, trunk

ALICES_NUMBER = "+442071234567"
BOBS_NUMBER = "+442071234568"
UNASSIGNED_NUMBER = "+442071230000"

ACCOUNTS = {"acct1": "secret of acct1", "acct2": "secret of acct2"}

ALICE = "sip:alice@edge.example"
BOB = "sip:bob@edge.example"


def alices_trunk(provider: Provider, **more: object) -> Table:
    """Return the trunk whose target is alice."""
    return trunk("alices-trunk", provider, "acct1", ALICE, [ALICES_NUMBER], **more)


def bobs_trunk(provider: Provider, **more: object) -> Table:
    """Return the trunk whose target is bob."""
    return trunk("bobs-trunk", provider, "acct2", BOB, [BOBS_NUMBER], **more)


def place(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def uri(whence: Whence, user: str = ALICES_NUMBER) -> str:
    """Return the URI that a provider calls: a user or number at the edge's socket."""
    return f"sip:{user}@{place(whence.address)}"


def source(provider: Provider) -> str:
    """Return the source of a provider's calls, as `whence explain` takes it."""
    return f"udp:{provider.ip}:{SIP_PORT}"


def decided(whence: Whence, provider: Provider, number: str = ALICES_NUMBER) -> str:
    """Return what `whence explain` decides about a provider's call to this number."""
    return str(whence.explain(source(provider), uri(whence, number))["decision"])


def try_to_call(caller: Endpoint, whence: Whence, number: str = ALICES_NUMBER) -> int:
    """Make a call that the edge refuses, and return its final status."""
    invite = request("INVITE", uri(whence, number), caller.address)
    return caller.ask(invite, whence.address).status


def names(message: Message) -> list[str]:
    """Return the names of a message's headers, in their order."""
    return [name for name, _ in message.headers]
