"""Which handlers of the edge Kamailio calls, as lines in its log."""

import re
from pathlib import Path

from tests.contract.world import World
from whence.agent.kamailio.config import SCRIPT

_TRACED = """
_untraced = mod_init

class Traced:
    def __init__(self, handlers):
        self.handlers = handlers

    def __getattr__(self, name):
        if name.startswith("ksr_"):
            KSR.err(f"called {name}\\n")
        return getattr(self.handlers, name)

    def child_init(self, rank):
        return self.handlers.child_init(rank)

def mod_init():
    return Traced(_untraced())
"""


def parameters(folder: Path) -> str:
    """Write a script that loads the edge and logs its calls; return the lines that load it."""
    import whence

    original = Path(whence.__file__).parent / "kamailio" / SCRIPT
    text = original.read_text("utf-8").replace("Path(__file__)", f'Path("{original}")')
    script = folder / "traced.py"
    script.write_text(text + _TRACED, "utf-8")
    return f'modparam("app_python3", "load", "{script}")'


def called(world: World, since: int) -> list[str]:
    """Return the handlers that were called, in order. `since`: the length of the log before."""
    return re.findall(r"called (\w+)", world.process.log[since:])
