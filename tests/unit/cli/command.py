"""Run the command `whence` as an operator does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from testkit.process import beside_python


def whence(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [beside_python("whence"), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )
