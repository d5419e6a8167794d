"""The directory that the edge reads, and its content."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.directory import install
from testkit.sip import Address
from testkit.wait import eventually
from whence.agent.config.models import Config, EdgeConfig
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.core.registration.events import Learn
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.sip.transport_address import TransportAddress
from whence.store.directory import Directory
from whence.store.learning import RegistrationStep
from whence.store.schema import DIALOG_KEY, META

DOMAIN = "edge.example"

EMERGENCY = {"emergency_numbers": ["112"], "emergency_trunks": ["emergency"]}
"""The keys of `[outbound]` in a world with calls out."""

Hide = Callable[[Path], None]
"""Does something to the directory's file."""


class Books:
    """The directory of a world's edge, and its content."""

    def __init__(
        self,
        folder: Path,
        edge: EdgeConfig,
        phones: object = None,
        media: object = None,
        *,
        calls_out: bool = False,
    ) -> None:
        """*phones*, *media*: keys of these tables. `calls_out`: whether users may call numbers."""
        self.directory = Directory(folder / "directory.db")
        self.settings = Config.model_validate(
            {
                "edge": edge,
                "phones": phones or {},
                "media": media or {},
                "agent": {"state_dir": str(folder)},
                "outbound": EMERGENCY if calls_out else {},
            }
        )
        self.agent_key = self.directory.new_agent_key()
        install(self.directory, self.settings)

    @property
    def dialog_key(self) -> str:
        """Return the key of the dialogs' cookies."""
        with closing(sqlite3.connect(self.directory.path)) as database:
            return str(database.execute(META, (DIALOG_KEY,)).fetchone()[0])

    def add(self, *entries: TrunkConfig | UserConfig) -> None:
        """Add trunks and users, as a reload of the settings file does."""
        trunks = [entry for entry in entries if isinstance(entry, TrunkConfig)]
        users = [entry for entry in entries if isinstance(entry, UserConfig)]
        settings = self.settings
        self.settings = settings.model_copy(
            update={"trunk": settings.trunk + trunks, "user": settings.user + users}
        )
        install(self.directory, self.settings)
        self.settle()

    def settle(self) -> None:
        """Return when Kamailio decides all calls by the last change, as an order's answer does."""
        eventually(self.directory.is_settled, what="the look-out's acknowledgement")

    def remove(self, trunk_id: str) -> None:
        """Remove a trunk, as a reload of the settings file does."""
        self._replace([trunk for trunk in self.settings.trunk if trunk.id != trunk_id])

    def remove_user(self, name: str) -> None:
        """Remove a user, as a reload of the settings file does."""
        users = [user for user in self.settings.user if user.name != name]
        self.settings = self.settings.model_copy(update={"user": users})
        install(self.directory, self.settings)
        self.settle()

    def change(self, trunk_id: str, **values: object) -> None:
        """Change keys of a trunk, as a reload of the settings file does."""
        self._replace(
            [
                TrunkConfig.model_construct(**{**dict(trunk), **values})
                if trunk.id == trunk_id
                else trunk
                for trunk in self.settings.trunk
            ]
        )

    def _replace(self, trunks: list[TrunkConfig]) -> None:
        self.settings = self.settings.model_copy(update={"trunk": trunks})
        install(self.directory, self.settings)

    def learn(self, trunk_id: str, source: TransportAddress, now: float, expires_at: float) -> None:
        """Store that a registrar at `source` accepted the trunk's REGISTER."""
        registration = Registration(trunk_id, f"call-{trunk_id}", state=State.REGISTERED)
        socket = self.settings.edge.listen[0]
        self.directory.save(
            AccountKey(trunk_id), registration, [Learn(source, expires_at)], socket, now
        )
        self.settle()

    def register(self, trunk_id: str, home: TransportAddress, contact: str, until: float) -> None:
        """Store that the trunk is registered at `home` with this Contact."""
        registration = Registration(
            trunk_id,
            f"call-{trunk_id}",
            state=State.REGISTERED,
            expires_at=until,
            learned_until=until,
            home=home,
        )
        sockets = self.settings.edge.listen
        socket = next(one for one in sockets if one.transport is home.transport)
        step = RegistrationStep(
            AccountKey(trunk_id),
            registration,
            [Learn(home, until)],
            str(socket),
            time.time(),
            contact=contact,
        )
        self.directory.save_steps([step])
        self.settle()

    def spoil(self, trunk_id: str) -> None:
        """Write a value that no edge can use."""
        with closing(sqlite3.connect(self.directory.path)) as database, database:
            database.execute("UPDATE address SET origin = 'rumour' WHERE trunk_id = ?", (trunk_id,))

    def hide(self, hide: Hide) -> None:
        """Close the directory, and change its file."""
        self.directory.close()
        hide(self.directory.path)

    def bring_back(self) -> None:
        """Replace the directory by a new one, with a new agent key."""
        path = self.directory.path
        made = path.with_suffix(".new")
        with closing(Directory(made)) as directory:
            self.agent_key = directory.new_agent_key()
            install(directory, self.settings)
        made.replace(path)
        self.directory = Directory(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.directory.close()


def edge_settings(
    edge: Address, agent_socket: Address, workers: int = 1, **more: object
) -> EdgeConfig:
    """Make `[edge]`. A single worker finishes one message before it takes the next.

    *more* are further keys of it.
    """
    return EdgeConfig.model_validate(
        {
            "listen": [f"udp:{edge[0]}:{edge[1]}"],
            "agent_socket": f"udp:{agent_socket[0]}:{agent_socket[1]}",
            "domain": DOMAIN,
            "workers": workers,
            **more,
        }
    )
