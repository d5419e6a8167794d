"""The drop-in: the recipe's routing, with the three lines of Whence instead of its two halves."""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.contest import Contestant
from bench.contestants.native import DEBIAN_MEMORY, HERE, TLSF, USER
from bench.contestants.whence import account, provider
from bench.stage import Stage, phone
from testkit.drop_in import Record, registrations, uac_tables
from testkit.network import SIP_PORT, udp_bound
from testkit.process import Process
from testkit.sip import Endpoint
from testkit.sipp import Caller
from testkit.wait import eventually

KEY = "drop_in"
TITLE = "drop-in with tlsf"
REGISTERED_WITHIN_S = 120
REGISTRARS_PORT = SIP_PORT + 20
"""The registrars of the contestant `whence` have the same addresses, with the port of SIP."""


@contextmanager
def drop_in(stage: Stage, more: Sequence[str] = ()) -> Iterator[Contestant]:
    """Run an existing Kamailio whose uac accounts are the trunks of the stage, all alice's.

    It has the allocator of `recipe_tlsf`.
    """
    home = stage.directory / KEY
    home.mkdir()
    with ExitStack() as stack:
        providers = [
            stack.enter_context(provider(stage, n, home, REGISTRARS_PORT))
            for n in range(stage.providers)
        ]
        edge = (stage.network.ip(KEY), SIP_PORT)
        records = [
            Record(_trunk(n), USER, account(n), providers[stage.provider_of(n)])
            for n in range(stage.trunks)
        ]
        database = home / "uac.sqlite"
        uac_tables(database, edge[0], records)
        folder = home / "whence"
        config = home / "kamailio.cfg"
        config.write_text(_config(database, edge[0], folder / "whence.cfg"))
        _whence(folder, config)
        numbers = [f'"{_trunk(n)}" = ["{stage.number(n)}"]' for n in range(stage.trunks)]
        (folder / "drop-in.toml").write_text("\n".join(["[numbers]", *numbers, ""]))
        _whence(folder, config)
        argv = [
            *("kamailio", "-DD", "-f", str(config), "-Y", str(home), *DEBIAN_MEMORY, *TLSF, *more),
            *("-A", f"LISTEN=udp:{edge[0]}:{edge[1]}"),
        ]
        process = stack.enter_context(Process(KEY, argv, home / "kamailio.log"))
        eventually(lambda: udp_bound(*edge), 60, "the drop-in listens")
        directory = folder / "state" / "directory.db"

        def registered() -> bool:
            if not process.running:
                raise ChildProcessError(f"{TITLE} ended; its log:\n{process.log}")
            return list(registrations(directory).values()).count("registered") == stage.trunks

        eventually(registered, REGISTERED_WITHIN_S, "all accounts registered")
        phone_ip = stage.network.ip(f"phone of {KEY}")
        with Endpoint(phone_ip, SIP_PORT) as ours:
            answer = ours.register(edge, USER, "", edge[0])
            assert answer.status == 200, f"{TITLE} did not register a phone:\n{answer}"
        stack.enter_context(phone(phone_ip, home))
        caller = stack.enter_context(Caller(stage.caller_ip, edge, home, port=SIP_PORT + 1))
        yield Contestant(KEY, TITLE, process, edge, partial(caller.load, stage.called(edge)))


def _trunk(number: int) -> str:
    return f"trunk-{number}"


def _config(database: Path, ip: str, include: Path) -> str:
    """Return the recipe's file with Whence instead of the recipe's two halves."""
    text = (HERE / "recipe.cfg").read_text()
    text = _replaced(
        text, 'loadmodule "htable.so"\n', 'loadmodule "db_sqlite.so"\nloadmodule "uac.so"\n'
    )
    own = f"""modparam("uac", "restore_mode", "none")
modparam("uac", "reg_db_url", "sqlite:///{database}")
modparam("uac", "reg_contact_addr", "{ip}:{SIP_PORT}")
modparam("uac", "reg_timer_interval", 1)
modparam("uac", "reg_retry_interval", 5)
include_file "{include}"
"""
    text = _replaced(
        text, 'modparam("htable", "htable", "trunks=>size=12;autoexpire=86400;")\n', own
    )
    old = """	if (uri != myself || $sht(trunks=>$si) == $null) {
		sl_send_reply("403", "Forbidden");
		exit;
	}
	$rU = $sht(trunks=>$si);
"""
    new = """	if (!route(WHENCE)) {
		sl_send_reply("403", "Forbidden");
		exit;
	}
"""
    text = _replaced(text, old, new)
    return text[: text.index("# The recipe's half that learns.")]


def _replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def _whence(folder: Path, config: Path) -> None:
    whence = Path(sys.executable).with_name("whence")
    argv = [str(whence), "drop-in", str(folder), "--kamailio-cfg", str(config)]
    argv += ["--user", getpass.getuser()]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
