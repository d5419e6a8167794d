"""The demo, as a whole: each of its sentences stands after the assertion that it happened."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from testkit.process import Process, beside_python
from testkit.wait import PATIENCE_S, eventually

SENTENCES = (
    "whence run started Kamailio and the agent",
    "both trunks registered",
    "learned for each of them",
    "the phones of alice and bob registered",
    "the provider called +442071234567, alice's phone rang and answered",
    "the provider called +442071234568 from the same address, and bob's phone answered",
    "an unknown source called alice's number: 403",
    "the unknown source forged a 200 OK to a REGISTER",
    "kill -9 ended everything; after a new start the provider's next call reached bob",
    "both trunks were taken out of the file",
)


def test_the_demo_tells_its_whole_story(tmp_path: Path) -> None:
    out, errors = tmp_path / "out", tmp_path / "errors"
    with Process("demo", [sys.executable, "-m", "demo"], errors, out_file=out) as demo:
        status = demo.wait(60)
        assert demo.descendants() == []
    said = out.read_text("utf-8")
    assert status == 0, demo.log + said
    assert demo.log == ""
    at = [said.lower().find(f"{n:2}. {s}".lower()) for n, s in enumerate(SENTENCES, start=1)]
    assert -1 not in at, said
    assert at == sorted(at)
    assert "All of it happened" in said.splitlines()[-1]


def test_a_demo_that_is_kept_goes_on_until_it_is_ended(tmp_path: Path) -> None:
    out, errors = tmp_path / "out", tmp_path / "errors"
    argv = [sys.executable, "-m", "demo", "--keep"]
    with Process("demo", argv, errors, out_file=out, stop_within_s=PATIENCE_S) as demo:
        eventually(lambda: "Ctrl-C ends everything." in out.read_text("utf-8"))
        assert demo.running
        (words,) = re.findall(r"^  \S+/whence (trunks --api \S+)$", out.read_text("utf-8"), re.M)
        command = [beside_python("whence"), *words.split()]
        asked = subprocess.run(command, capture_output=True, text=True, check=True)
        assert asked.stdout.count(" registered ") == 2
        demo.signal(signal.SIGINT)
        assert demo.wait(20) == 0
        assert demo.descendants() == []
    assert demo.log == ""
