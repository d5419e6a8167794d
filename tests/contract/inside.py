"""The agent's side of the inside socket, as the contract has it: sealed requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testkit.sip import Address, Endpoint, Headers, Message, request
from whence.ipc import headers as stamp

if TYPE_CHECKING:
    from tests.contract.world import World


def options(world: World, agent: Endpoint, call_id: str) -> Message:
    """Make the request by which the agent asks whether Kamailio and the edge live."""
    seal = stamp.request_seal(world.books.inside_key, "OPTIONS", call_id, "1", "", "")
    uri = f"sip:{world.inside[0]}:{world.inside[1]}"
    return request("OPTIONS", uri, agent.address, call_id=call_id, headers=[(stamp.KEY, seal)])


def register(
    world: World,
    agent: Endpoint,
    next_hop: Address,
    call_id: str,
    headers: Headers = (),
) -> Message:
    """Make a REGISTER that the edge is to send to `next_hop` from its own socket."""
    hop, socket = f"sip:{next_hop[0]}:{next_hop[1]}", f"udp:{world.edge[0]}:{world.edge[1]}"
    seal = stamp.request_seal(world.books.inside_key, "REGISTER", call_id, "1", hop, socket)
    inside = [(stamp.NEXT_HOP, hop), (stamp.SOCKET, socket), (stamp.KEY, seal)]
    return request(
        "REGISTER",
        "sip:provider.example",
        agent.address,
        from_uri="sip:acct1@provider.example",
        to_uri="sip:acct1@provider.example",
        call_id=call_id,
        contact=f"<sip:token@{world.edge[0]}:{world.edge[1]}>",
        headers=[*inside, *headers],
    )


def keep_alive(world: World, agent: Endpoint, next_hop: Address, call_id: str) -> Message:
    """Make an OPTIONS that the edge is to send to `next_hop` from its own socket."""
    hop, socket = f"sip:{next_hop[0]}:{next_hop[1]}", f"udp:{world.edge[0]}:{world.edge[1]}"
    seal = stamp.request_seal(world.books.inside_key, "OPTIONS", call_id, "1", hop, socket)
    inside = [(stamp.NEXT_HOP, hop), (stamp.SOCKET, socket), (stamp.KEY, seal)]
    uri = "sip:provider.example"
    return request("OPTIONS", uri, agent.address, call_id=call_id, headers=inside)
