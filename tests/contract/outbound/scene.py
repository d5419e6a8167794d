"""The trunks, their strict servers, and the phones of one test of users' calls."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from testkit.calling_phone import Phone
from testkit.digest import Realm
from testkit.network import SIP_PORT
from testkit.strict_uas import StrictUas
from tests.contract.books import DOMAIN
from tests.contract.scene import HOUR_S, PASSWORD, Scene
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.core.sip.transport_address import TransportAddress

NUMBER = "+442079460000"
"""What users call."""


@dataclass
class OutTrunk:
    """A trunk, and the strict server at its registrar."""

    id: str
    server: StrictUas
    target: str
    """The user who gets its calls."""
    token: str


class OutScene(Scene):
    """One test's trunks, users and phones."""

    @property
    def faults(self) -> list[str]:
        """What strict servers and phones of this test found."""
        return [fault for peer in self._peers for fault in peer.faults]

    @property
    def _peers(self) -> list[StrictUas | Phone]:
        if not hasattr(self, "_made_peers"):
            self._made_peers: list[StrictUas | Phone] = []
        return self._made_peers

    def server(
        self, machine: str, realms: Collection[Realm] = (), port: int = SIP_PORT
    ) -> StrictUas:
        """Return a strict server on the machine of this name."""
        made = StrictUas(self.ip(machine), port, realms=realms, edge=self.edge)
        self._peers.append(self._stack.enter_context(made))
        return made

    def out_trunk(
        self,
        realms: Collection[Realm] = (),
        *,
        id_: str = "",
        outbound: dict[str, object] | None = None,
        until_s: float = HOUR_S,
        target: str = "nobody",
        **more: object,
    ) -> OutTrunk:
        """Return a trunk that is registered at a strict server of its own."""
        id_ = id_ or self.name("trunk")
        server = self.server(id_, realms)
        trunk = {
            "id": id_,
            "registrar": f"sip:{server.address[0]}",
            "user": "acct1",
            "password": PASSWORD,
            "target": f"sip:{target}@{DOMAIN}",
            "outbound": outbound or {},
            **more,
        }
        self.world.books.add(TrunkConfig.model_validate(trunk))
        self.register(id_, server, until_s)
        return OutTrunk(id_, server, target, self.world.books.directory.tokens()[id_])

    def register(
        self, id_: str, server: StrictUas, until_s: float = HOUR_S, transport: str = "udp"
    ) -> None:
        """Let the trunk be registered at this server."""
        token = self.world.books.directory.tokens()[id_]
        contact = f"sip:{token}@{self.edge[0]}:{self.edge[1]}"
        home = TransportAddress.parse(f"{transport}:{server.address[0]}:{server.address[1]}")
        until = time.time() + until_s
        self.world.books.register(id_, home, contact, until)

    def caller(self, trunks: Sequence[OutTrunk], **keys: object) -> Phone:
        """Return the registered phone of a new user with these trunks."""
        name = self.name("user")
        user = {
            "name": name,
            "password": PASSWORD,
            "trunks": [trunk.id for trunk in trunks],
            **keys,
        }
        self.world.books.add(UserConfig.model_validate(user))
        return self.phone_of(name)

    def phone_of(self, name: str, machine: str = "phones") -> Phone:
        """Return a registered phone of a user."""
        phone = Phone(self.endpoint(machine), self.edge, name, PASSWORD, DOMAIN)
        assert phone.at.register(self.edge, name, PASSWORD, DOMAIN).status == 200
        self._peers.append(phone)
        return phone
