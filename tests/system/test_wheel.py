"""The wheel: an installed Whence has all files it needs, Kamailio's part too."""

import getpass
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_wheel_has_the_templates_and_the_script(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("whence-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    file = tmp_path / "whence.toml"
    file.write_text(f'[agent]\nstate_dir = "{tmp_path}/state"\n', "utf-8")
    made = subprocess.run(
        [sys.executable, "-m", "whence", "edge-config", "-c", file],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r'modparam\("app_python3", "load", "([^"]+)"\)', made.stdout)
    assert found
    script = Path(found[1])
    assert script.is_relative_to(site)
    assert script.read_bytes() == (ROOT / "kamailio" / "whence_kemi.py").read_bytes()
    # Kamailio's Python finds the package by the folder of the script.
    assert (script.parents[2] / "whence" / "edge" / "inbound.py").is_file()
    assert drop_in_of(site, tmp_path) == str(script)


def drop_in_of(site: Path, folder: Path) -> str:
    """Let the installed Whence make a drop-in; return the script that its include names."""
    cfg = folder / "kamailio.cfg"
    modules = "".join(f'loadmodule "{name}.so"\n' for name in ("tm", "sl", "pv", "uac"))
    cfg.write_text(modules + 'modparam("uac", "reg_db_url", "x")\nrequest_route { exit; }\n')
    subprocess.run(
        [
            *(sys.executable, "-m", "whence", "drop-in", folder / "drop-in"),
            *("--kamailio-cfg", cfg, "--user", getpass.getuser()),
        ],
        cwd=folder,
        env={"PYTHONPATH": str(site), "PATH": ""},
        check=True,
        capture_output=True,
    )
    assert (folder / "drop-in" / "drop-in.toml").is_file()
    include = (folder / "drop-in" / "whence.cfg").read_text()
    found = re.search(r'modparam\("app_python3", "load", "([^"]+)"\)', include)
    assert found
    return found[1]
