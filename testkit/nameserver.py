"""A real DNS server, dnsmasq, and its records as lines of its configuration."""

import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.process import Process
from testkit.wait import eventually

DNS_PORT = 5300  # not 5353, which multicast DNS may use
DOMAIN = "example"
"""The only domain of the server. A name below it without a record does not exist."""


def address(name: str, *ips: str, ttl_s: int = 300) -> str:
    """Return A and AAAA records."""
    return "\n".join(f"host-record={name},{ip},{ttl_s}" for ip in ips)


def srv(
    service: str, target: str, port: int = 5060, *, priority: int = 10, weight: int = 10
) -> str:
    """Return an SRV record. *service*: `_sip._udp.NAME`; the target "." means: no server."""
    if target == ".":
        return f"srv-host={service}"
    return f"srv-host={service},{target},{port},{priority},{weight}"


def naptr(
    name: str, service: str, replacement: str, *, order: int = 10, preference: int = 10
) -> str:
    """Return a NAPTR record: a service, such as `SIP+D2U`, and the name of its SRV records."""
    return f"naptr-record={name},{order},{preference},s,{service},,{replacement}"


def cname(name: str, target: str) -> str:
    return f"cname={name},{target}"


def forwarded(domain: str, to: tuple[str, int]) -> str:
    """Return the line by which another server answers for this domain."""
    return f"server=/{domain}/{to[0]}#{to[1]}"


def refused(domain: str) -> str:
    """Return the line that answers REFUSED for this domain: a failure without a wait."""
    return f"server=/{domain}/#"


class NameServer:
    """A DNS server for `.example`; for other names it answers REFUSED."""

    def __init__(
        self,
        ip: str,
        directory: Path,
        records: Iterable[str] = (),
        *,
        name: str = "nameserver",
        port: int = DNS_PORT,
        ttl_s: int = 300,
    ) -> None:
        """Start it. *ttl_s*: TTL of all records but addresses, which have their own."""
        self.name = name
        self.address = (ip, port)
        self._directory = directory
        self._ttl_s = ttl_s
        self.records = list(records)
        self.process = self._start()

    @property
    def place(self) -> str:
        """`ip:port`, as whence.toml names it."""
        return f"{self.address[0]}:{self.address[1]}"

    def asked(self, name: str | None = None) -> list[tuple[str, str]]:
        """Return (type, name) of each query, in order, also of before a restart."""
        found = re.findall(r"query\[(\w+)\] (\S+) from", self.process.log)
        return [(kind, one) for kind, one in found if name in (None, one)]

    def change(self, *records: str) -> None:
        """Restart it with these records and no others."""
        self.records = list(records)
        self.stop()
        self.start()

    def stop(self) -> None:
        """End it with SIGTERM."""
        self.process.stop()

    def kill(self) -> None:
        self.process.kill()

    def start(self) -> None:
        """Start it again after `stop` or `kill`."""
        assert not self.process.running, f"{self.name} runs"
        self.process = self._start()

    def _start(self) -> Process:
        config = self._directory / f"{self.name}.conf"
        ip, port = self.address
        lines = [
            "no-resolv",
            "no-hosts",
            "no-daemon",  # a change of user would lose the signal at its parent's death
            "bind-interfaces",
            f"listen-address={ip}",
            f"port={port}",
            "dns-forward-max=1000",
            "log-queries",
            "log-facility=-",
            f"local=/{DOMAIN}/",
            f"local-ttl={self._ttl_s}",
            *self.records,
        ]
        config.write_text("\n".join(lines) + "\n", "utf-8")
        log_file = self._directory / f"{self.name}.log"
        starts = _starts(log_file)
        argv: list[str | Path] = ["dnsmasq", f"--conf-file={config}"]
        process = Process(self.name, argv, log_file, stop_within_s=2)

        def listens() -> bool:
            if not process.running:
                raise ChildProcessError(f"{process.name} ended; its log:\n{process.log}")
            return _starts(log_file) > starts

        try:
            eventually(listens, what=f"{self.name} listens")
        except BaseException:
            process.kill()
            raise
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.stop()


def _starts(log_file: Path) -> int:
    """Return how often its log has the line of a start, which comes after its sockets are bound."""
    return log_file.read_text("utf-8").count(": started, version") if log_file.exists() else 0
