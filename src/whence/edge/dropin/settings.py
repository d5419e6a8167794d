"""The settings of the drop-in, which the include file passes to the handlers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DropInSettings:
    """The content of the define WHENCE_DROP_IN, which is JSON."""

    directory: Path
    grace_s: float
    """How long an address outlives its registration, for calls in flight."""

    @classmethod
    def parse(cls, text: str) -> DropInSettings:
        """Read the define.

        Raises: KeyError, ValueError: `whence drop-in` has not written it.
        """
        values = json.loads(text)
        return cls(Path(values["directory"]), values["grace_s"])
