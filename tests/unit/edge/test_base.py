"""The handlers that kamailio.cfg calls: each is there, and each wears its decorator."""

import re
from pathlib import Path

from whence.agent.kamailio import config
from whence.edge.inbound import EdgeHandlers

TEMPLATE = Path(config.__file__).parents[2] / "kamailio" / config.TEMPLATE
CALLED = sorted(set(re.findall(r'python_exec\("(\w+)"', TEMPLATE.read_text("utf-8"))))


def test_kamailio_cfg_calls_the_handlers_that_there_are() -> None:
    assert sorted(name for name in dir(EdgeHandlers) if name.startswith("ksr_")) == CALLED


def test_every_handler_survives_its_bugs() -> None:
    """One that raises would leave its caller without an answer."""
    for name in CALLED:
        assert getattr(EdgeHandlers, name).__wrapped__, f"{name} wears no decorator"
