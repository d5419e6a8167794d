"""The difference of the system clock and a steady clock, to correct instants after a step.

Instants in the directory are of the system clock. When an operator or NTP sets it, they are wrong
by the step. The steady clock (CLOCK_BOOTTIME) counts suspend, and cannot be set. Slow corrections
(slewing) change both clocks, and are no steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

STEP_S = 2.0
"""The smallest difference that counts as a step."""

BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"
"""It has another content after each start of the machine, when the steady clock starts anew."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """System clock minus steady clock, in one boot of the machine."""

    boot_id: str
    seconds: float

    @classmethod
    def parse(cls, text: str) -> ClockOffset | None:
        """Parse a stored offset; None for any other text."""
        boot_id, _, number = text.partition(" ")
        if not boot_id:
            return None
        try:
            seconds = float(number)
        except ValueError:
            return None
        return cls(boot_id, seconds) if isfinite(seconds) else None

    def __str__(self) -> str:
        return f"{self.boot_id} {self.seconds!r}"

    def step_since(self, before: ClockOffset | None) -> float:
        """Return the step of the system clock since `before`; 0 without one, or in another boot."""
        if before is None or before.boot_id != self.boot_id:
            return 0.0
        step_s = self.seconds - before.seconds
        return step_s if abs(step_s) >= STEP_S else 0.0
