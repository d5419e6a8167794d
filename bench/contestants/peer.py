"""Another program as a contestant: a script of bench/peers starts it (bench/peers.md)."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from pathlib import Path

from bench.contestants.base import Contestant, Stage
from bench.contestants.native import RATE, account
from bench.registrar import DOMAIN, password
from testkit.network import SIP_PORT
from testkit.process import Process

SCRIPTS = Path(__file__).parent.parent / "peers"


class Peer(Contestant):
    """A peer with the trunks of the layout, registered at the registrar, all its phone's."""

    key = "peer"
    title = "peer"
    registers = True

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(stage, name)
        self.title = name
        self.script = SCRIPTS / f"{name}.sh"
        if not self.script.exists():
            known = ", ".join(sorted(path.stem for path in SCRIPTS.glob("*.sh")))
            raise FileNotFoundError(f"bench/peers has no {name}.sh; it has {known}")

    def launch(self, stack: ExitStack) -> Process:
        layout, registrar = self.stage.layout, self.stage.at()
        users = [account(self, number) for number in range(layout.trunks)]
        accounts = self.home / "accounts.csv"
        with accounts.open("w", encoding="ascii", newline="") as file:
            numbered = ((user, password(user), layout.number(n)) for n, user in enumerate(users))
            csv.writer(file, lineterminator="\n").writerows(numbered)
        env = {
            "HOME_DIR": str(self.home),
            "ACCOUNTS": str(accounts),
            "EDGE_IP": self.edge[0],
            "PHONE_IP": self.phone_ip,
            "REGISTRAR_IP": registrar.address[0],
            "PROVIDER_IPS": " ".join(sorted({str(layout.ip(n)) for n in range(layout.trunks)})),
            "DOMAIN": DOMAIN,
            "EXPIRES_S": str(registrar.expires_s),
            "RATE": str(RATE),
            "WORKERS": str(self.stage.workers),
            "PORT": str(SIP_PORT),
        }
        log = self.home / f"{self.name}.log"
        return stack.enter_context(Process(self.name, ["sh", self.script], log, env=env))

    def admit(self) -> None:
        """Do nothing: its script names its trunks and its phone."""
