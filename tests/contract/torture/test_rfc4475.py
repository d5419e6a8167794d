"""The torture messages of RFC 4475, each from a trunk and from a stranger, over UDP and TCP.

Nothing that they say gets anybody in, a worker down or a name resolved, and they are answered as the
RFC says. After each of them a normal call passes.
"""

import re
from itertools import count

import pytest

from tests.contract.torture.arena import Arena, Became
from tests.contract.torture.messages import MESSAGES, RELAYED, SILENCE, Kind, Torture
from tests.rig.parsers import fields, strict

EACH_ONE = pytest.mark.parametrize("torture", MESSAGES, ids=lambda torture: torture.name)

_BRANCH = re.compile(rb"(branch\s*=\s*z9hG4bK[^\s;,]+)")
_CALL_ID = re.compile(rb"(?im)^((?:call-id|i)\s*:\s*[^\r\n]+)")
_again = count(1)


def once_more(data: bytes) -> bytes:
    """Make it another transaction: sent twice as it is, the second would be a retransmission."""
    mark = b"-%d" % next(_again)
    return _CALL_ID.sub(rb"\1" + mark, _BRANCH.sub(rb"\1" + mark, data))


def outcomes(became: Became) -> list[int]:
    """Put into the words of the table what became of a message."""
    relayed = [RELAYED] * len(became.arrived)
    own = became.statuses
    if relayed and 200 in own:
        own.remove(200)  # the target's
    return [*relayed, *own] or [SILENCE]


@EACH_ONE
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_torture_from_a_trunk_has_its_outcome(
    arena: Arena, torture: Torture, transport: str
) -> None:
    due = torture.outcomes(of_a_trunk=True, over_tcp=transport == "tcp")
    if transport == "udp":
        became = arena.by_udp(arena.provider, torture.data)
    else:
        became = arena.by_tcp(
            arena.provider,
            once_more(torture.data),
            framed=torture.is_framed,
            awaited=SILENCE not in due,
        )
    happened = outcomes(became)
    arena.stays_sound(1, arena.provider.ip, arena.phone.address[0])
    assert set(happened) <= due, happened
    if transport == "udp":
        assert len(happened) == 1, happened


@EACH_ONE
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_torture_from_a_stranger_is_refused(
    arena: Arena, torture: Torture, transport: str
) -> None:
    due = torture.outcomes(of_a_trunk=False, over_tcp=transport == "tcp")
    if transport == "udp":
        became = arena.by_udp(arena.stranger, torture.data)
    else:
        became = arena.by_tcp(
            arena.stranger,
            once_more(torture.data),
            framed=torture.is_framed,
            awaited=SILENCE not in due,
        )
    happened = outcomes(became)
    arena.stays_sound(1, arena.stranger.ip)
    assert became.arrived == []
    assert set(happened) <= due, happened
