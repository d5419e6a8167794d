"""The handlers that kamailio.cfg calls: each exists, and each has its decorator."""

import re
from pathlib import Path
from typing import cast

import pytest

from whence.agent.kamailio import config
from whence.core.dialogs.record import OwnSockets
from whence.edge.handlers import EdgeHandlers
from whence.edge.ksr import Ksr
from whence.edge.settings import EdgeSettings

FOLDER = Path(config.__file__).parents[2] / "kamailio"
TEMPLATES = [FOLDER / config.TEMPLATE, *sorted(FOLDER.glob("cfg/*.cfg.j2"))]
CALLED = sorted(
    {
        name
        for template in TEMPLATES
        for name in re.findall(r'python_exec\("(\w+)"', template.read_text("utf-8"))
    }
)


class NoKamailio:
    """No handler is called here."""


@pytest.fixture
def handlers(tmp_path: Path) -> EdgeHandlers:
    settings = EdgeSettings(tmp_path / "directory.db", "edge.example", 1000, OwnSockets.of([]))
    return EdgeHandlers(cast(Ksr, NoKamailio()), settings)


def test_kamailio_cfg_calls_all_handlers_and_no_other(handlers: EdgeHandlers) -> None:
    assert sorted(name for name in dir(handlers) if name.startswith("ksr_")) == CALLED


def test_handlers_have_a_decorator(handlers: EdgeHandlers) -> None:
    """A handler that raises would leave its caller without an answer."""
    for name in CALLED:
        handler = getattr(handlers, name)
        assert handler.__name__ == name
        assert handler.__wrapped__, f"{name} has no decorator"
