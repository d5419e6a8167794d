"""The protocols in `whence.edge.ksr` match the calls and types of the installed Kamailio."""

import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest
from jinja2 import Environment, FileSystemLoader

from testkit.network import SIP_PORT, Network
from testkit.provider import start_kamailio
from testkit.wait import eventually
from whence.agent.kamailio import config as edge_config
from whence.agent.kamailio.start import TLS_FILE
from whence.edge import ksr

HANDLERS = """
class Handlers:
    def child_init(self, rank):
        return 0

    def ksr_request_route(self, message):
        return 1


def mod_init():
    return Handlers()
"""

CONFIG = """#!KAMAILIO
listen=udp:{ip}:{port}
children=1
disable_tcp=yes
log_stderror=yes
debug=1
auto_aliases=no
loadmodule "ctl.so"
{modules}
loadmodule "uac.so"
modparam("uac", "restore_mode", "none")
modparam("ctl", "binrpc", "unix:{ctl}")
modparam("usrloc", "preload", "location")
cfgengine "python"
modparam("app_python3", "load", "{script}")
"""

Signature = tuple[tuple[str, ...], str]
"""(parameter types, return type), as `app_python.api_list` writes them."""


def the_modules() -> str:
    """Return the lines that load the modules of the edge's configuration, and uac of a drop-in."""
    folder = Path(edge_config.__file__).parents[2] / "kamailio"
    modules = Environment(loader=FileSystemLoader(folder)).get_template("cfg/modules.cfg.j2")
    text = modules.render(tcp=True, known_answers=True, tls=folder / TLS_FILE)
    return "\n".join(re.findall('^loadmodule "[^"]*"', text, re.MULTILINE))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Signature]]:
    """Return the calls, as `tm.t_relay`, and their signatures in the installed Kamailio."""
    folder = tmp_path_factory.mktemp("api")
    script, config, ctl = folder / "handlers.py", folder / "kamailio.cfg", folder / "ctl"
    script.write_text(HANDLERS)
    with Network() as network:
        config.write_text(
            CONFIG.format(
                ip=network.ip("api"), port=SIP_PORT, modules=the_modules(), ctl=ctl, script=script
            )
        )
        with start_kamailio("api", config, folder):
            listed = eventually(lambda: api_list(ctl), what="app_python.api_list")
    yield listed


def api_list(ctl: Path) -> dict[str, Signature]:
    """Read the calls of a Kamailio. Fails until Kamailio answers."""
    command = ["kamcmd", "-s", f"unix:{ctl}", "app_python.api_list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    entry = r"ret: (\S+)\s+module: ?(\S*)\s+name: (\S+)\s+params: ([^\n]*)"
    found = {}
    for returned, module, name, parameters in re.findall(entry, listing):
        listed = tuple(parameters.split(", ")) if parameters.strip() != "none" else ()
        found[f"{module}.{name}".lstrip(".")] = (listed, returned)
    return found


def calls() -> dict[str, Signature]:
    """Return the calls in the protocols, and their signatures in Kamailio's form."""
    found: dict[str, Signature] = {}
    for name, member in inspect.getmembers(ksr.Ksr):
        if isinstance(member, property):
            part = get_type_hints(member.fget)["return"]
            found |= {f"{name}.{n}": s for n, s in methods(part)}
    return found | dict(methods(ksr.Ksr))


def methods(protocol: type) -> Iterator[tuple[str, Signature]]:
    for name, method in inspect.getmembers(protocol, inspect.isfunction):
        if not name.startswith("_"):
            hints = get_type_hints(method)
            returned = _KAMAILIO.get(hints.pop("return"), "xval")
            yield name, (tuple(_KAMAILIO[hint] for hint in hints.values()), returned)


_KAMAILIO = {str: "str", int: "int", bool: "bool", type(None): "none"}


def agree(ours: Signature, theirs: Signature) -> bool:
    """Return whether two signatures agree. Kamailio's `any` agrees with each type."""
    return ours[0] == theirs[0] and (ours[1] == theirs[1] or theirs[1] == "xval")


@pytest.mark.parametrize("name", sorted(calls()))
def test_ksr_protocols_match_the_calls_of_kamailio(api: dict[str, Signature], name: str) -> None:
    assert name in api
    assert agree(calls()[name], api[name]), f"{calls()[name]}, and Kamailio has {api[name]}"


def test_agree_of_another_signature_is_false() -> None:
    assert len(calls()) > 25
    assert calls()["tm.t_relay"] == ((), "int")
    assert not agree((("str",), "int"), (("int",), "int"))
    assert not agree((("str",), "int"), (("str",), "bool"))
