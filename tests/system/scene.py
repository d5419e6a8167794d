"""The people and places that most stories share: one provider, a number for each of two users."""

from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.sip import Address, Endpoint, Message, request
from testkit.whence import Table, Whence, trunk

ALICES_NUMBER = "+442071234567"
BOBS_NUMBER = "+442071234568"
NOBODYS_NUMBER = "+442071230000"

ACCOUNTS = {"acct1": "secret of acct1", "acct2": "secret of acct2"}

ALICE = "sip:alice@edge.example"
BOB = "sip:bob@edge.example"


def alices_trunk(provider: Provider, **more: object) -> Table:
    """Return the trunk whose calls go to alice."""
    return trunk("alices-trunk", provider, "acct1", ALICE, [ALICES_NUMBER], **more)


def bobs_trunk(provider: Provider, **more: object) -> Table:
    """Return the trunk whose calls go to bob."""
    return trunk("bobs-trunk", provider, "acct2", BOB, [BOBS_NUMBER], **more)


def place(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def uri(whence: Whence, user: str = ALICES_NUMBER) -> str:
    """Return the URI that a provider calls: a user, or number, at the edge's own socket."""
    return f"sip:{user}@{place(whence.address)}"


def source(provider: Provider) -> str:
    """Return where a provider's calls come from, as `whence explain` is asked."""
    return f"udp:{provider.ip}:{SIP_PORT}"


def decided(whence: Whence, provider: Provider, number: str = ALICES_NUMBER) -> str:
    """Return what the edge would decide on a provider's call to this number."""
    return str(whence.explain(source(provider), uri(whence, number))["decision"])


def try_to_call(who: Endpoint, whence: Whence, number: str = ALICES_NUMBER) -> int:
    """Call, and return the final status. Who is let in reaches a phone: this is for the others."""
    return who.ask(request("INVITE", uri(whence, number), who.address), whence.address).status


def names(message: Message) -> list[str]:
    """Return the names of a message's headers."""
    return [name for name, _ in message.headers]
