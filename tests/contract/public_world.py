"""A world whose machines have public addresses, in a network namespace.

A party may lead requests to another address, but never to a loopback one. So worlds on loopback
cannot show it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from testkit.namespace import PUBLIC, Namespace
from testkit.network import Network
from tests.contract.world import World


class PublicNetwork(Network):
    """A block of PUBLIC. Nothing outside the namespace has it, so it needs no claim."""

    def __init__(self, block: IPv4Network) -> None:
        self.block = block
        self._free = block.hosts()
        self._addresses: dict[str, IPv4Address] = {}
        self._ports: list[socket.socket] = []

    def close(self) -> None:
        """Release the ports."""
        while self._ports:
            self._ports.pop().close()


class PublicWorld(World):
    """A world with a block of PUBLIC for itself, and one for each scene."""

    def __init__(self, folder: Path, namespace: Namespace, **options: object) -> None:
        self._blocks = PUBLIC.subnets(new_prefix=24)
        next(self._blocks)  # the first address of PUBLIC is that of the namespace itself
        super().__init__(folder, namespace=namespace, **options)  # type: ignore[arg-type]

    def network(self) -> Network:
        return self._stack.enter_context(PublicNetwork(next(self._blocks)))

    def agent_ip(self) -> str:
        return "127.0.0.1"


@contextmanager
def public_world(folder: Path, **options: object) -> Iterator[PublicWorld]:
    """Start a world in a namespace of its own."""
    with Namespace(folder) as namespace, PublicWorld(folder, namespace, **options) as world:
        yield world
