"""Passwords, hashes and keys: in no log, API answer, command output, command line or file.

Only the directory has keys and users' hashes. Only the agent's user can read it.
"""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Table, Whence
from tests.system.scene import ACCOUNTS, alices_trunk, bobs_trunk, try_to_call, uri
from whence.store.credentials_key import FILE as KEY_FILE

TRUNK_PASSWORD = "the0secret1of2acct1"
USER_PASSWORD = "the3secret4of5alice"
WRONG_PASSWORD = "not6the7secret8of9acct2"
HOOK_TOKEN = "the1token2of3the4webhook"
HOOK_PATH = "the5hidden6path7of8it"


@pytest.fixture(scope="module")
def whence(shared_rig: Rig) -> Whence:
    """Run a node through registration, refusal, a call, crashes and reloads of invalid files."""
    rig = shared_rig
    provider = rig.provider(accounts={**ACCOUNTS, "acct1": TRUNK_PASSWORD})
    filed = rig.directory / "acct1.password"
    filed.write_text(TRUNK_PASSWORD, "utf-8")
    from_file = {**alices_trunk(provider), "id": "from-file", "numbers": []}
    from_file |= {"password_file": filed.name}
    del from_file["password"]
    trunks = [
        alices_trunk(provider),
        bobs_trunk(provider, password=WRONG_PASSWORD),
        from_file,
    ]
    alice: Table = {"name": "alice", "password": USER_PASSWORD, "trunks": ["alices-trunk"]}
    users: list[str | Table] = [alice, "bob"]
    (rig.directory / "hook.token").write_text(HOOK_TOKEN, "utf-8")
    # Nothing listens there, so each delivery fails.
    hook = f"http://{rig.ip('hook')}:9/{HOOK_PATH}"
    agent = {
        "webhook": hook,
        "webhook_token_file": "hook.token",
        "unknown_requests_per_minute_alarm": 1,
    }
    whence = rig.whence(trunks=trunks, users=users, agent=agent, edge={"country": "44"})
    whence.wait_registered("alices-trunk", "from-file")
    whence.wait_state("bobs-trunk", "auth_failed")
    rig.phone("alice", whence)
    rig.unknown_source().register(whence.address, "alice", WRONG_PASSWORD, whence.domain)
    rig.caller(whence, at=provider).call(uri(whence), expect=200)
    whence.crash_kamailio()
    whence.kill_agent()
    whence.wait_healthy()
    text = whence.file.read_text("utf-8")
    for fault in ('\n[[trunk]]\nid = "x"\npassword = "%s"\n', '\npassword = "%s"\n', '\n"%s'):
        whence.file.write_text(text + fault % TRUNK_PASSWORD, "utf-8")
        reload_and_read(whence, "not reloaded")
        assert TRUNK_PASSWORD not in whence.cli("check", "-c", str(whence.file)).stderr
    whence.file.write_text(text, "utf-8")
    reload_and_read(whence, "agent: INFO reloaded")
    unknown_source = rig.unknown_source()
    for _ in range(3):
        assert try_to_call(unknown_source, whence) == 403
    eventually(lambda: "webhook" in whence.log, what="a failed delivery")
    return whence


def reload_and_read(whence: Whence, awaited: str) -> None:
    """Reload, and wait for this text in the log."""
    logged = len(whence.log)
    whence.reload()
    eventually(lambda: awaited in whence.log[logged:], what=f'"{awaited}" in the log')


@pytest.fixture(scope="module")
def secrets(whence: Whence) -> dict[str, str]:
    """Return name → secret."""
    with closing(sqlite3.connect(f"file:{whence.state}/directory.db?mode=ro", uri=True)) as db:
        keys = dict(db.execute("SELECT key, value FROM meta WHERE key LIKE '%key'").fetchall())
    assert keys.keys() == {"agent_key", "dialog_key", "fingerprint_key"}
    return {
        **keys,
        "trunk's password": TRUNK_PASSWORD,
        "wrong password": WRONG_PASSWORD,
        "user's password": USER_PASSWORD,
        "trunk's HA1": md5(f"acct1:provider.example:{TRUNK_PASSWORD}"),
        "user's HA1": md5(f"alice:edge.example:{USER_PASSWORD}"),
        "user's HA1 (SHA-256)": sha256(f"alice:edge.example:{USER_PASSWORD}"),
        "credentials key": (whence.state / KEY_FILE).read_text("ascii"),
        "bob's password": whence.password("bob"),
        "webhook's token": HOOK_TOKEN,
        "webhook's path": HOOK_PATH,
    }


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def found_in(secrets: dict[str, str], *texts: str) -> list[str]:
    """Return the names of the secrets that occur in a text."""
    return [name for name, secret in secrets.items() if any(secret in text for text in texts)]


def test_secret_in_the_directory_is_found(whence: Whence, secrets: dict[str, str]) -> None:
    with closing(sqlite3.connect(f"file:{whence.state}/directory.db?mode=ro", uri=True)) as db:
        rows = "".join(map(str, db.execute("SELECT md5, sha256 FROM user").fetchall()))
        (stored,) = db.execute("SELECT count(*) FROM outbound_trunk").fetchone()
    assert found_in(secrets, rows) == ["user's HA1", "user's HA1 (SHA-256)"]
    assert stored == 3, "the trunks have credentials there"


def test_log_has_no_secret(whence: Whence, secrets: dict[str, str]) -> None:
    assert "auth_failed: wrong credentials" in whence.log
    assert found_in(secrets, whence.log) == []


def test_api_answers_have_no_secret(
    whence: Whence, secrets: dict[str, str], shared_rig: Rig
) -> None:
    paths = ["/v1/trunks", "/v1/addresses", "/v1/users", "/healthz", "/openapi.json", "/docs"]
    paths += ["/v1/calls", "/v1/unknown-sources", "/v1/alarms", "/metrics", "/redoc", "/nothing"]
    question = {"source": f"udp:{shared_rig.ip('provider')}:5060", "ruri": uri(whence)}
    with httpx.Client(base_url=whence.api, trust_env=False) as client:
        answers = [client.get(path) for path in paths]
        answers += [client.post("/v1/explain", json=question), client.post("/v1/explain")]
        call_out = {"from": "alice", "to": "+442079460000"}
        answers.append(client.post("/v1/explain/call-out", json=call_out))
        wrong = {"source": TRUNK_PASSWORD, "ruri": ""}
        answers.append(client.post("/v1/explain", json={**question, **wrong}))
    assert [answer.status_code for answer in answers] == [200] * 11 + [404, 200, 422, 200, 422]
    # The last answer repeats its question, which has the secret.
    assert found_in(secrets, *[answer.text for answer in answers[:-1]]) == []


def test_command_output_has_no_secret(
    whence: Whence, secrets: dict[str, str], shared_rig: Rig
) -> None:
    asked = ["--source", f"udp:{shared_rig.ip('provider')}:5060", "--ruri", uri(whence)]
    commands = [
        *(["trunks", *more] for more in ([], ["--json"])),
        *(["addresses", *more] for more in ([], ["--json"])),
        *(["users", *more] for more in ([], ["--json"])),
        *(["calls", *more] for more in ([], ["--json"])),
        *(["unknown", *more] for more in ([], ["--json"])),
        *(["alarms", *more] for more in ([], ["--json"])),
        *(["explain", *asked, *more] for more in ([], ["--json"])),
        *(["explain", "--from", "alice", "--to", "112", *more] for more in ([], ["--json"])),
        ["check", "-c", str(whence.file)],
        ["edge-config", "-c", str(whence.file)],
    ]
    result = [whence.cli(*command) for command in commands]
    assert [one.returncode for one in result] == [0] * len(commands)
    assert found_in(secrets, *[one.stdout + one.stderr for one in result]) == []


def test_command_line_and_environment_have_no_secret(
    whence: Whence, secrets: dict[str, str]
) -> None:
    """Any user may read a command line, and the same user an environment."""
    assert whence.process
    pids = [whence.process.pid, *whence.process.descendants()]
    assert len(pids) > 5
    shown = [
        Path(f"/proc/{pid}/{file}").read_text("utf-8", "replace")
        for pid in pids
        for file in ("cmdline", "environ")
    ]
    assert found_in(secrets, *shown) == []


def test_file_other_than_the_directory_has_no_secret(
    whence: Whence, secrets: dict[str, str]
) -> None:
    files = [
        path
        for path in whence.state.rglob("*")
        if path.is_file() and not path.name.startswith(("directory.db", KEY_FILE))
    ]
    assert {"kamailio.cfg", "location.db"} <= {path.name for path in files}
    assert found_in(secrets, *[path.read_text("latin-1") for path in files]) == []


def test_directory_has_no_password_of_a_trunk(whence: Whence, secrets: dict[str, str]) -> None:
    """They are encrypted for the edge, and the key is in a file of its own."""
    kept = [path.read_text("latin-1") for path in whence.state.glob("directory.db*")]
    passwords = {name: one for name, one in secrets.items() if "password" in name}
    hidden = {name: secrets[name] for name in ("trunk's HA1", "credentials key")}
    assert found_in({**passwords, **hidden}, *kept) == []


def test_sip_traffic_has_no_secret(
    whence: Whence, secrets: dict[str, str], shared_rig: Rig
) -> None:
    """The messages of the phones and callers, and the credentials of each REGISTER."""
    traces = [path.read_text("latin-1") for path in shared_rig.directory.glob("*.messages")]
    registers = (shared_rig.directory / "provider.log").read_text("latin-1")
    assert traces
    assert "authorization=Digest" in registers
    assert found_in(secrets, *traces, registers) == []
