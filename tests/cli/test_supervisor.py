"""What `whence run` says of processes that it cannot start."""

import signal
from pathlib import Path

import pytest

from whence.agent.faults import ProblemError
from whence.cli.supervisor import Child


@pytest.mark.parametrize(
    ("mode", "why"), [(None, "No such file or directory"), (0o600, "Permission denied")]
)
def test_what_cannot_be_started_is_told_in_a_sentence(
    tmp_path: Path, mode: int | None, why: str
) -> None:
    program = tmp_path / "whence"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    with pytest.raises(ProblemError, match=f"agent cannot be started: {program}: {why}; "):
        Child("agent", [str(program)], signal.SIGKILL).start()
