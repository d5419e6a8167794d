"""Requests of the agent with their MACs, made independently of the agent's code."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from testkit.sip import Address, Endpoint, Headers, Message
from testkit.sip import request as make_request
from whence.ipc import headers as ipc_headers

if TYPE_CHECKING:
    from tests.contract.world import World


def options(world: World, agent: Endpoint, call_id: str) -> Message:
    """Make the OPTIONS by which the agent checks that Kamailio and the edge run."""
    mac = ipc_headers.request_mac(world.books.agent_key, "OPTIONS", call_id, "1", "", "")
    uri = f"sip:{world.agent_socket[0]}:{world.agent_socket[1]}"
    return request("OPTIONS", uri, agent.address, call_id=call_id, headers=[(ipc_headers.MAC, mac)])


def register(
    world: World,
    agent: Endpoint,
    next_hop: Address,
    call_id: str,
    headers: Headers = (),
) -> Message:
    """Make a REGISTER that the edge must send to `next_hop` from its own socket."""
    hop, socket = f"sip:{next_hop[0]}:{next_hop[1]}", f"udp:{world.edge[0]}:{world.edge[1]}"
    mac = ipc_headers.request_mac(world.books.agent_key, "REGISTER", call_id, "1", hop, socket)
    lines = [
        (ipc_headers.NEXT_HOP, hop),
        (ipc_headers.SOCKET, socket),
        (ipc_headers.MAC, mac),
    ]
    return request(
        "REGISTER",
        "sip:provider.example",
        agent.address,
        from_uri="sip:acct1@provider.example",
        to_uri="sip:acct1@provider.example",
        call_id=call_id,
        contact=f"<sip:token@{world.edge[0]}:{world.edge[1]}>",
        headers=[*lines, *headers],
    )


def keep_alive(world: World, agent: Endpoint, next_hop: Address, call_id: str) -> Message:
    """Make an OPTIONS that the edge must send to `next_hop` from its own socket."""
    hop, socket = f"sip:{next_hop[0]}:{next_hop[1]}", f"udp:{world.edge[0]}:{world.edge[1]}"
    mac = ipc_headers.request_mac(world.books.agent_key, "OPTIONS", call_id, "1", hop, socket)
    lines = [
        (ipc_headers.NEXT_HOP, hop),
        (ipc_headers.SOCKET, socket),
        (ipc_headers.MAC, mac),
    ]
    uri = "sip:provider.example"
    return request("OPTIONS", uri, agent.address, call_id=call_id, headers=lines)


def request(*parts: Any, **more: Any) -> Message:
    """Make a request as the agent writes it: its Via asks for no rport."""
    made = make_request(*parts, **more)
    (name, via), *others = made.headers
    return replace(made, headers=((name, via.replace(";rport", "")), *others))
