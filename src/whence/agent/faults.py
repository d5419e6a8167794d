"""What an operator can mend: it ends the program with a sentence, and never with a traceback."""

from __future__ import annotations


class ProblemError(Exception):
    """Why it cannot start, or go on, and what to do, in one sentence."""


class FaultyFileError(Exception):
    """All that is wrong with a file, one sentence each."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = [one_line(fault) for fault in faults]
        super().__init__("\n".join(self.faults))


def one_line(text: str) -> str:
    """Show control characters, line ends among them, as what they are."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
