"""A machine between two networks: providers in the one, a PBX in the other.

Only root can make them. Loopback cannot do this: to 127.0.0.0/8 there is one route.
"""

import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.namespace import Namespace
from testkit.sip import Endpoint

PUBLIC, LOCAL = "198.51.100.1", "10.9.0.1"
"""The addresses of the machine between the networks."""

PROVIDER, PROVIDER_2, PBX = "198.51.100.2", "198.51.100.3", "10.9.0.2"
"""The addresses of the others."""


class TwoNetworks:
    """Three namespaces: `edge` has a link to `wan` and one to `lan`. Nothing is routed between."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        try:
            self.edge, self.wan, self.lan = (self._namespace(folder / n) for n in "ewl")
            self._link(self.wan, "wan", PUBLIC, PROVIDER, PROVIDER_2)
            self._link(self.lan, "lan", LOCAL, PBX)
        except BaseException:
            self._stack.close()
            raise

    def endpoint(self, namespace: Namespace, ip: str, port: int) -> Endpoint:
        """Return a UDP socket inside one of the namespaces."""
        return self._stack.enter_context(
            Endpoint(ip, port, bound=namespace.socket("udp", ip, port))
        )

    def _namespace(self, folder: Path) -> Namespace:
        folder.mkdir()
        return self._stack.enter_context(Namespace(folder))

    def _link(self, other: Namespace, name: str, ours: str, *theirs: str) -> None:
        pids = [str(one.pid) for one in (self.edge, other)]
        _run(
            f"ip link add {name} netns {pids[0]} type veth peer name {name} netns {pids[1]}".split()
        )
        for namespace, addresses in ((self.edge, [ours]), (other, theirs)):
            for address in addresses:
                _run(namespace.enter(["ip", "address", "add", f"{address}/24", "dev", name]))
            _run(namespace.enter(["ip", "link", "set", name, "up"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
