"""Units, package and image agree with each other, and with what they run."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PACKAGING = ROOT / "packaging"
UNITS = sorted((PACKAGING / "systemd").glob("*.service"))
SCRIPTS = [ROOT / "tools/deb", PACKAGING / "install-deb", *(PACKAGING / "debian").glob("p*")]
DOCKERFILE = PACKAGING / "docker/Dockerfile"
EXPOSURE_TENTHS = 20
"""The most exposure that `systemd-analyze security` may report, in tenths."""


def values(unit: Path, key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", unit.read_text("utf-8"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_is_hardened(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
    done = subprocess.run(
        [*command, f"--threshold={EXPOSURE_TENTHS}", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_has_no_unknown_line(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    # The program is installed only with the package.
    lines = [line for line in done.stderr.splitlines() if "/usr/bin/whence is not exec" not in line]
    assert [line for line in lines if unit.name in line] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_ends_at_a_faulty_file_and_reports_a_failed_reload(unit: Path) -> None:
    assert values(unit, "RestartPreventExitStatus") == ["2"]
    assert values(unit, "Restart") == ["on-failure"]
    (reload,) = values(unit, "ExecReload")
    assert reload.startswith("/usr/bin/whence reload")  # a signal reports no failure


def test_unit_waits_longer_than_a_stop_takes() -> None:
    from whence.cli.service import supervisor

    (stop_s,) = values(PACKAGING / "systemd/whence.service", "TimeoutStopSec")
    assert int(stop_s) > supervisor.AGENT_STOP_S + supervisor.KAMAILIO_STOP_S


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_has_no_syntax_error(script: Path) -> None:
    shell = script.read_text("utf-8").splitlines()[0].split("/")[-1].split()[-1]
    subprocess.run([shell, "-n", script], check=True)
    assert script.stat().st_mode & 0o111


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text("utf-8")).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line]


def test_image_is_made_of_the_package() -> None:
    runs = [argument for name, argument in instructions() if name == "RUN"]
    assert any("/src/tools/deb" in run for run in runs)
    assert any("/tmp/install-deb /tmp/whence.deb" in run for run in runs)
    for _, source in (one for one in instructions() if one[0] == "COPY"):
        if not source.startswith("--from"):
            assert (ROOT / source.split()[0]).exists()
    for run in runs:
        subprocess.run(["sh", "-n", "-c", run], check=True)


def test_image_runs_as_the_user_of_the_package() -> None:
    assert [one for one in instructions() if one[0] in ("USER", "ENTRYPOINT", "CMD")] == [
        ("USER", "whence"),
        ("ENTRYPOINT", '["whence"]'),
        ("CMD", '["run", "-c", "/etc/whence/whence.toml"]'),
    ]
    (unit,) = values(PACKAGING / "systemd/whence.service", "ExecStart")
    assert shlex.split(unit)[1:] == ["run", "-c", "/etc/whence/whence.toml"]


def test_container_has_no_right_that_it_does_not_need() -> None:
    composed: Any = yaml.safe_load((PACKAGING / "docker/compose.yaml").read_text("utf-8"))
    service = composed["services"]["whence"]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert (PACKAGING / "docker" / service["build"]["context"]).resolve() == ROOT
    assert not {"privileged", "cap_add", "user"} & service.keys()


def test_container_leaves_passwords_of_the_clone_out() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {".git", ".venv", ".make", "build"} <= set(ignored)


def test_package_depends_on_the_debian_packages_that_run_whence() -> None:
    tool = (ROOT / "tools/deb").read_text("utf-8")
    program = re.search(r"awk '([^']+)' tools/debian-packages", tool)
    assert program
    shown = subprocess.run(
        ["awk", program[1], ROOT / "tools/debian-packages"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert shown == (
        "kamailio, kamailio-python3-modules, kamailio-sqlite-modules, kamailio-tls-modules, "
    )
