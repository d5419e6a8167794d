"""The directory that the edge reads, and what stands in it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.directory import install
from testkit.sip import Address
from whence.agent.config.models import Config, EdgeConfig
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.core.registration.events import Learn
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.sip.transport_address import TransportAddress
from whence.store.directory import Directory
from whence.store.schema import DIALOG_KEY, META

DOMAIN = "edge.example"

Hide = Callable[[Path], None]
"""Does something to the directory's file."""


class Books:
    """The directory that the edge of a world reads, and what stands in it."""

    def __init__(self, folder: Path, edge: EdgeConfig) -> None:
        self.directory = Directory(folder / "directory.db")
        self.settings = Config.model_validate({"edge": edge, "agent": {"state_dir": str(folder)}})
        self.agent_key = self.directory.new_agent_key()
        install(self.directory, self.settings)

    @property
    def dialog_key(self) -> str:
        """The key of the dialogs' cookies."""
        with closing(sqlite3.connect(self.directory.path)) as database:
            return str(database.execute(META, (DIALOG_KEY,)).fetchone()[0])

    def add(self, *entries: TrunkConfig | UserConfig) -> None:
        """Write trunks and users into the file, as it were, and load it again."""
        trunks = [entry for entry in entries if isinstance(entry, TrunkConfig)]
        users = [entry for entry in entries if isinstance(entry, UserConfig)]
        settings = self.settings
        self.settings = settings.model_copy(
            update={"trunk": settings.trunk + trunks, "user": settings.user + users}
        )
        install(self.directory, self.settings)

    def learn(self, trunk_id: str, source: TransportAddress, now: float, expires_at: float) -> None:
        """Write down that a registrar at `source` accepted the trunk's REGISTER."""
        registration = Registration(trunk_id, f"call-{trunk_id}", state=State.REGISTERED)
        socket = self.settings.edge.listen[0]
        self.directory.save(
            AccountKey(trunk_id), registration, [Learn(source, expires_at)], socket, now
        )

    def spoil(self, trunk_id: str) -> None:
        """Write something of which no edge can make sense."""
        with closing(sqlite3.connect(self.directory.path)) as database, database:
            database.execute("UPDATE address SET origin = 'rumour' WHERE trunk_id = ?", (trunk_id,))

    def hide(self, hide: Hide) -> None:
        """Close the directory, and do something to its file."""
        self.directory.close()
        hide(self.directory.path)

    def bring_back(self) -> None:
        """Make the directory anew, in the place of what is there; the agent key is another."""
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
    """Make `[edge]`. One worker has done all with one message before it takes the next.

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
