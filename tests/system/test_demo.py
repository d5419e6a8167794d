"""The demo as a whole. It prints each sentence after the assertion that proves it."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from testkit.process import Process, beside_python
from testkit.wait import PATIENCE_S, eventually

SENTENCES = (
    "whence run started Kamailio and the agent",
    "all trunks registered",
    "whence learned an address for each trunk",
    "the phones of alice and bob registered",
    "the provider called +442071234567. alice's phone rang and answered",
    "the provider called +442071234568 from the same address. bob's phone answered",
    "alice called +442079460000. trunk first-line asked for a password",
    "trunk first-line answered 503 to alice's next call. trunk second-line got it",
    "an unknown source called alice's number. it got a 403",
    "the unknown source forged a 200 OK to a REGISTER",
    "kill -9 ended whence run, kamailio and the agent",
    "all trunks were removed from the file",
)


def test_demo_prints_each_step_in_order(tmp_path: Path) -> None:
    out, errors = tmp_path / "out", tmp_path / "errors"
    with Process("demo", [sys.executable, "-m", "demo"], errors, out_file=out) as demo:
        status = demo.wait(60)
        assert demo.descendants() == []
    output = out.read_text("utf-8")
    assert status == 0, demo.log + output
    assert demo.log == ""
    at = [output.lower().find(f"{n:2}. {s}".lower()) for n, s in enumerate(SENTENCES, start=1)]
    assert -1 not in at, output
    assert at == sorted(at)
    assert "All steps succeeded" in output.splitlines()[-1]


def test_demo_with_keep_runs_until_a_signal(tmp_path: Path) -> None:
    out, errors = tmp_path / "out", tmp_path / "errors"
    argv = [sys.executable, "-m", "demo", "--keep"]
    with Process("demo", argv, errors, out_file=out, stop_within_s=PATIENCE_S) as demo:
        eventually(lambda: "Ctrl-C ends the demo." in out.read_text("utf-8"))
        assert demo.running
        (words,) = re.findall(r"^  \S+/whence (trunks --api \S+)$", out.read_text("utf-8"), re.M)
        command = [beside_python("whence"), *words.split()]
        asked = subprocess.run(command, capture_output=True, text=True, check=True)
        assert asked.stdout.count(" registered ") == 4
        demo.signal(signal.SIGINT)
        assert demo.wait(20) == 0
        assert demo.descendants() == []
    assert demo.log == ""
