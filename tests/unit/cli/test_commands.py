"""The command `whence`: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from testkit.network import Network
from testkit.process import beside_python
from tests.unit.cli.api import Api, listed
from tests.unit.cli.command import Terminal, whence

FILE = """
[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1"
user = "acct1"
password = "hunter2"
target = "sip:alice@edge.example"

[[user]]
name = "alice"
password = "topsecret"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "whence.toml"
    file.write_text(f'[agent]\nstate_dir = "{tmp_path}/state"\n' + FILE, encoding="utf-8")
    return file


# check


def test_check_of_a_valid_file_counts_trunks_and_users(file: Path) -> None:
    done = whence("check", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{file}: OK: 1 trunk, 1 user\n"


def test_check_conflict_is_a_warning(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    acme = 'numbers = ["+442071234567"]\n[[user]]'
    bell = FILE[: FILE.index("[[user]]")].replace("acme", "bell").replace("acct1", "acct2")
    both = text.replace("[[user]]", acme) + bell + 'numbers = ["0044 20 7123 4567"]\n'
    file.write_text(both, encoding="utf-8")
    done = whence("check", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{file}: OK: 2 trunks, 1 user",
        f"{file}: warning: trunks acme, bell at 192.0.2.1:5060: the same number +442071234567; "
        "write it for one of them only, or write fallback = true for the one that is to get its "
        "calls",
    ]


def test_check_target_without_a_socket_is_a_warning(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    target = text.replace("sip:alice@edge.example", "sip:pbx@192.0.2.9;transport=tcp")
    file.write_text(target, encoding="utf-8")
    done = whence("check", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{file}: OK: 1 trunk, 1 user",
        f'{file}: warning: trunk "acme": target: is reached over tcp, on which the edge does not '
        'listen; add "tcp:ip:port" to edge listen, or the edge refuses its calls',
    ]


def test_check_faulty_file_ends_with_2_and_names_each(file: Path) -> None:
    file.write_text('[edge]\nworkers = 0\ndomian = "x"\n', encoding="utf-8")
    done = whence("check", "-c", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "whence.toml: edge: workers: is too small; write at least 1",
        'whence.toml: edge: domian: unknown key; did you mean "domain"?',
    ]


@pytest.mark.parametrize("command", ["check", "run", "agent", "edge-config"])
def test_command_without_its_file_ends_with_2(tmp_path: Path, command: str) -> None:
    done = whence(command, "-c", tmp_path / "nowhere.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{tmp_path}/nowhere.toml: cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    "words",
    [
        ["chekc"],
        ["check"],
        ["check", "--what"],
        ["explain"],
        ["explain", "--source", "udp:192.0.2.1:5060"],
        ["explain", "--call", "a", "--to", "sip:a@b"],
        ["explain", "--from", "alice"],
        ["explain", "--from", "alice", "--to", "112", "--call", "a"],
        ["explain", "--from", "alice", "--to", "112", "--source", "udp:192.0.2.1:5060"],
        ["calls", "--limit", "0"],
        ["allow", "192.0.2.1", "--trunk", "acme"],
        ["allow", "192.0.2.1", "--trunk", "acme", "--for", "long"],
    ],
)
def test_command_line_that_is_wrong_ends_with_2(words: list[str]) -> None:
    done = whence(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_version_is_that_of_the_package() -> None:
    done = whence("--version")
    assert (done.returncode, done.stdout) == (0, f"whence {metadata.version('whence')}\n")


def test_check_names_the_new_name_of_an_old_key(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    file.write_text("[agent]\ncalls = 5\n", encoding="utf-8")
    done = whence("check", "-c", str(file))
    assert done.returncode == 2
    assert done.stderr == "whence.toml: agent: calls: is now call_history_size\n"


COMMANDS = (
    *("check", "init", "import", "run", "agent", "edge-config", "drop-in"),
    *("trunks", "trunk", "addresses", "conflicts", "users", "calls", "unknown", "alarms"),
    *("explain", "register", "unregister", "pause", "resume", "allow", "revoke", "reload"),
)


def test_help_names_every_command() -> None:
    done = whence("--help")
    assert done.returncode == 0
    named = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("│ ")]
    assert [name for name in COMMANDS if name not in named] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(command: str) -> None:
    done = whence(command, "--help")
    assert done.returncode == 0
    assert f"Example: whence {command}" in done.stdout


@pytest.mark.parametrize("words", [["trunks"], ["run", "-c", "x"], ["drop-in", "x"], ["--help"]])
def test_sigint_during_the_imports_prints_nothing(tmp_path: Path, words: list[str]) -> None:
    """A library that never finishes its import stands for a slow start."""
    for library in ("typer", "pydantic"):
        (tmp_path / f"{library}.py").write_text(
            "import os, time\nos.write(1, b'importing')\ntime.sleep(600)\n", encoding="utf-8"
        )
    started = subprocess.Popen(
        [beside_python("whence"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with started:
        assert started.stdout is not None and started.stderr is not None
        assert started.stdout.read(9) == b"importing"
        started.send_signal(signal.SIGINT)
        assert started.stderr.read() == b""
    assert started.returncode == -signal.SIGINT


def test_sigint_during_an_import_of_a_query_prints_nothing(tmp_path: Path) -> None:
    (tmp_path / "httpx.py").write_text(
        "import os, time\nos.write(1, b'importing')\ntime.sleep(600)\n", encoding="utf-8"
    )
    with Terminal("trunks", PYTHONPATH=str(tmp_path)) as terminal:
        terminal.wait_for(lambda screen: "importing" in screen)
        terminal.press("\x03")
        assert terminal.end() != 0
        assert terminal.screen.replace("^C", "") == "importing"


def test_sigint_before_the_answer_prints_nothing(api: Api) -> None:
    """An API that never answers stands for a slow one."""
    api.answers["/v1/trunks"] = (200, listed())
    api.may_answer.clear()
    with Terminal("trunks", "--api", api.url) as terminal:
        terminal.wait_for(lambda _: api.paths)
        terminal.press("\x03")
        assert terminal.end() != 0
        assert terminal.screen.replace("^C", "") == ""
    api.may_answer.set()


# edge-config


def test_edge_config_prints_what_kamailio_accepts(file: Path, tmp_path: Path) -> None:
    done = whence("edge-config", "-c", file)
    assert (done.returncode, done.stderr) == (0, "")
    config = tmp_path / "kamailio.cfg"
    config.write_text(done.stdout, encoding="utf-8")
    kamailio = shutil.which("kamailio", path=f"{os.environ['PATH']}:/usr/sbin")
    assert kamailio is not None
    checked = subprocess.run(
        [kamailio, "-c", "-f", config], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "ERROR" not in checked.stderr and "WARNING" not in checked.stderr


# The commands that query the API.

QUERIES = [
    ["trunks"],
    ["addresses"],
    ["users"],
    ["calls"],
    ["unknown"],
    ["alarms"],
    ["explain", "--source", "udp:192.0.2.1:5060", "--ruri", "sip:a@b"],
]
PATHS = {"unknown": "unknown-sources"}
"""Command → path, where the names differ."""


@pytest.mark.parametrize("words", QUERIES, ids=lambda words: words[0])
def test_query_without_an_agent_says_what_to_do(words: list[str]) -> None:
    with Network() as network:
        api = f"http://{network.ip('unused')}:8088"
        done = whence(*words, "--api", api)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"whence: no agent answers at {api} (")
    assert line.endswith("; start it with: whence run -c FILE, or name its API with --api URL")


@pytest.mark.parametrize("api", ["nonsense", "http://[", "ftp://127.0.0.1", "http://127.0.0.1:0"])
def test_query_of_a_wrong_url_is_one_sentence(api: str) -> None:
    done = whence("trunks", "--api", api)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"whence: no agent answers at {api} (")


@pytest.mark.parametrize("answer", ["<html>\x1b[31m", '"text"'])
@pytest.mark.parametrize("status", [404, 422, 500])
def test_error_of_another_server_is_one_line(api: Api, status: int, answer: str) -> None:
    api.answers["/v1/calls/x"] = (status, answer)
    api.raw = True
    done = whence("explain", "--call", "x", "--api", api.url)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"answered {status}: " in line
    assert line.isprintable()


def test_page_of_another_server_is_not_the_api(api: Api) -> None:
    api.answers["/v1/trunks"], api.raw = (200, "<html>hello</html>"), True
    done = whence("trunks", "--api", api.url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"whence: the server at {api.url} is not Whence's API; ")


TRUNK = {
    "id": "acme",
    "state": "registered",
    "since": "1970-01-12T13:46:40Z",
    "suspended": False,
    "keepalive": None,
    "failures": 0,
    "last_status": 200,
    "last_answer": "200 OK",
    "registrar": "udp:192.0.2.1:5060",
    "expires_at": 4_000_000_000,
    "next_at": None,
    "reason": "granted",
    "message": "granted [bold]3600[/bold] s",
}


def test_json_is_the_answer_of_the_api(api: Api) -> None:
    answers: dict[str, Any] = {
        "/v1/trunks": listed(TRUNK),
        "/v1/addresses": listed({"trunk": "acme", "ip": "192.0.2.1"}),
        "/v1/users": listed({"name": "ålice"}),
        "/v1/calls": listed({"call_id": "a"}),
        "/v1/unknown-sources": listed({"source": "udp:192.0.2.1:5060"}),
        "/v1/alarms": listed({"id": 1}),
        "/v1/explain": {"decision": "unknown"},
    }
    api.answers = {path: (200, answer) for path, answer in answers.items()}
    for words in QUERIES:
        done = whence(*words, "--json", "--api", api.url)
        assert (done.returncode, done.stderr) == (0, "")
        answer = answers[f"/v1/{PATHS.get(words[0], words[0])}"]
        assert json.loads(done.stdout) == answer.get("items", answer)


def test_list_has_the_items_of_all_pages(api: Api) -> None:
    api.answers["/v1/trunks"] = (200, listed(TRUNK, following="a&b"))
    api.answers["/v1/trunks?limit=1000&cursor=a%26b"] = (200, listed({**TRUNK, "id": "bell"}))
    done = whence("trunks", "--json", "--api", api.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [trunk["id"] for trunk in json.loads(done.stdout)] == ["acme", "bell"]


def test_api_of_the_environment_is_used_without_a_proxy(api: Api) -> None:
    api.answers["/v1/trunks"] = (200, listed())
    done = whence("trunks", WHENCE_API=api.url, HTTP_PROXY="http://192.0.2.1:1", NO_PROXY="")
    assert (done.returncode, done.stdout) == (0, "no trunk is configured\n")


def test_trunks_table_has_a_line_for_each_trunk(api: Api) -> None:
    api.answers["/v1/trunks"] = (200, listed(TRUNK, {**TRUNK, "id": "bell", "registrar": None}))
    lines = whence("trunks", "--api", api.url).stdout.splitlines()
    acme, bell = (next(line for line in lines if id_ in line) for id_ in ("acme", "bell"))
    assert "udp:192.0.2.1:5060" in acme and "granted [bold]3600[/bold] s" in acme
    assert "registered" in bell and "udp" not in bell


@pytest.mark.parametrize("state", ["unregistered", "paused"])
def test_trunks_table_marks_a_suspended_trunk(api: Api, state: str) -> None:
    suspended = {**TRUNK, "id": "bell", "state": state, "suspended": True}
    api.answers["/v1/trunks"] = (200, listed(TRUNK, suspended))
    lines = whence("trunks", "--api", api.url).stdout.splitlines()
    acme, bell = (next(line for line in lines if id_ in line) for id_ in ("acme", "bell"))
    assert f"{state}, suspended" in bell
    assert "suspended" not in acme


def test_users_table_has_users_without_a_phone(api: Api) -> None:
    contact = {"contact": "sip:alice@192.0.2.50", "expires_at": 4_000_000_000}
    api.answers["/v1/users"] = (
        200,
        listed(
            {"name": "alice", "domain": "edge.example", "contacts": [contact, contact]},
            {"name": "bob", "domain": "edge.example", "contacts": []},
        ),
    )
    shown = whence("users", "--api", api.url).stdout
    assert shown.count("alice@edge.example") == 2
    assert "bob@edge.example" in shown and "not registered" in shown


def test_explain_sends_its_options_and_shows_each_step(api: Api) -> None:
    api.answers["/v1/explain"] = (
        200,
        {
            "decision": "refused",
            "trunk": None,
            "reason": "ambiguous",
            "message": "no rule distinguishes them",
            "candidates": ["acme", "bell"],
            "steps": [
                {
                    "rule": "address",
                    "message": "udp:192.0.2.1:5060",
                    "left": ["acme", "bell"],
                    "fitting": ["learned 192.0.2.1 over udp, port 5060", ""],
                },
                {"rule": "token", "message": "a", "left": [], "fitting": []},
            ],
        },
    )
    words = ["explain", "--source", "udp:192.0.2.1:5060", "--ruri", "sip:a@b", "--to", "sip:c@d"]
    words += ["--header", "Diversion: <sip:g@h>"]
    done = whence(*words, "--p-called-party-id", "sip:e@f", "--api", api.url)
    assert done.returncode == 0
    assert api.questions == [
        {
            "source": "udp:192.0.2.1:5060",
            "ruri": "sip:a@b",
            "to": "sip:c@d",
            "p_called_party_id": "sip:e@f",
            "headers": ["Diversion: <sip:g@h>"],
        }
    ]
    first, second, *table = done.stdout.splitlines()
    assert (first, second) == (
        "refused: no rule distinguishes them",
        "candidates: acme, bell",
    )
    assert any("acme (learned 192.0.2.1 over udp, port 5060), bell" in line for line in table)
    assert any("token" in line and "no trunk" in line for line in table)


def test_explain_from_a_user_shows_each_step(api: Api) -> None:
    answer = {
        "decision": "trunks",
        "message": "the edge tries acme",
        "steps": ['trunk "acme" is ready', "try 1: …"],
    }
    api.answers["/v1/explain/call-out"] = (200, answer)
    words = ["explain", "--from", "alice", "--to", "0301234567", "--header", "Privacy: id"]
    done = whence(*words, "--api", api.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert api.questions == [
        {"from": "alice", "to": "0301234567", "headers": ["Privacy: id"]},
    ]
    first, *steps, last = done.stdout.splitlines()
    assert first == "trunks: the edge tries acme"
    assert steps == answer["steps"]
    assert "only Kamailio counts" in last
    done = whence(*words, "--json", "--api", api.url)
    assert json.loads(done.stdout) == answer


CALL = {
    "at": 1_700_000_000.0,
    "call_id": "a/b@x",
    "method": "INVITE",
    "source": "udp:192.0.2.1:5060",
    "ruri": "sip:+4420@edge.example",
    "to": None,
    "p_called_party_id": "sip:c@d",
    "headers": ["diversion: <sip:e@f>"],
    "decision": "refused",
    "trunk": None,
    "rule": None,
    "reason": "ambiguous",
    "message": "no rule distinguishes them",
    "named": ["acme", "bell"],
    "from_cache": False,
    "direction": "in",
    "caller": "sip:+33123456789@provider.example",
    "called": "sip:+4420@edge.example",
    "user": None,
    "target": None,
    "emergency": False,
    "state": "failed",
    "status": 403,
    "outcome": "rejected",
    "failure": None,
    "answered_at": None,
    "answered_by": None,
    "ended_at": None,
    "duration_s": None,
    "hung_up_by": None,
    "tried": [],
}
OVER = {
    **CALL,
    "call_id": "over",
    "decision": "identified",
    "trunk": "acme",
    "message": "number of trunk acme",
    "named": ["acme"],
    "target": "sip:alice@edge.example",
    "state": "ended",
    "status": 200,
    "outcome": "answered",
    "answered_at": 1_700_000_005.0,
    "answered_by": "udp:198.51.100.7:5060",
    "ended_at": 1_700_000_065.0,
    "duration_s": 60.0,
    "hung_up_by": "callee",
}
FAILED_OUT = {
    **CALL,
    "call_id": "out",
    "direction": "out",
    "decision": "identified",
    "user": "alice",
    "called": "+442079460000",
    "trunk": "bolt",
    "message": "",
    "named": ["acme", "bolt"],
    "status": 486,
    "outcome": "busy",
    "tried": [
        {"trunk": "acme", "status": 503, "reason": "server_failed"},
        {"trunk": "bolt", "status": 486, "reason": None},
    ],
}


def test_explain_call_shows_the_decision_then_and_now(api: Api) -> None:
    step = {
        "rule": "number",
        "message": "4420 in Request-URI",
        "left": ["acme"],
        "fitting": ["its 44*"],
    }
    now = {
        "decision": "identified",
        "trunk": "acme",
        "reason": "number",
        "message": "number of trunk acme",
        "candidates": [],
        "steps": [step],
    }
    then = {
        **now,
        "decision": "refused",
        "trunk": None,
        "reason": "ambiguous",
        "message": "no rule distinguishes them",
        "steps": [{**step, "left": ["acme", "bell"], "fitting": ["its 44*", "its 44*"]}],
    }
    calls = [{**CALL, "then": None, "now": None}, {**CALL, "then": then, "now": now}]
    api.answers["/v1/calls/a%2Fb%40x%2E"] = (200, listed(*calls))
    done = whence("explain", "--call", "a/b@x.", "--api", api.url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].endswith("ago): INVITE from udp:192.0.2.1:5060")
    assert lines[1:7] == [
        "Request-URI: sip:+4420@edge.example",
        "P-Called-Party-ID: sip:c@d",
        "diversion: <sip:e@f>",
        "it was refused: no rule distinguishes them",
        "trunks: acme, bell",
        "its URIs were too long to store: its decision now is unknown",
    ]
    assert "now it would be identified as trunk acme: number of trunk acme" in lines
    steps = [line.split(maxsplit=4)[-1].strip() for line in lines if "4420 in Request-URI" in line]
    assert steps == ["acme (its 44*), bell (its 44*)", "acme (its 44*)"]


def test_calls_are_a_table(api: Api) -> None:
    api.answers["/v1/calls"] = (200, listed(CALL))
    shown = whence("calls", "--api", api.url).stdout
    (row,) = (line for line in shown.splitlines() if "a/b@x" in line)
    for value in ("udp:192.0.2.1:5060", "refused", "no rule distinguishes them", "+33123456789"):
        assert value in row


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ({}, ["acme", "answered", "1 min 0 s", "callee hung up"]),
        ({"state": "answered", "ended_at": None, "duration_s": None}, ["in progress"]),
        ({"state": "ringing", "status": None, "outcome": None}, ["ringing"]),
        ({"state": "failed", "status": 486, "outcome": "busy"}, ["486 busy"]),
        ({"state": "failed", "status": 480, "outcome": "no_answer"}, ["480 no answer"]),
        ({"state": "lost", "outcome": "lost"}, ["end not reported"]),
        ({"state": None, "status": None, "outcome": None}, ["identified"]),
        (FAILED_OUT, ["out", "bolt", "486 busy", "acme: 503 (server failed); bolt: 486"]),
    ],
)
def test_calls_show_how_each_ended(api: Api, change: dict[str, object], values: list[str]) -> None:
    api.answers["/v1/calls"] = (200, listed({**OVER, **change, "call_id": "over"}))
    shown = whence("calls", "--api", api.url).stdout
    (row,) = (line for line in shown.splitlines() if "over" in line)
    assert [value for value in values if value not in row] == []


def test_calls_send_their_filters_to_the_api(api: Api) -> None:
    query = "limit=20&trunk=acme&user=alice&number=%2B4420&failed=true&active=true&since="
    api.answers["/v1/calls"] = (200, listed(OVER))
    done = whence(
        *("calls", "--api", api.url, "--trunk", "acme", "--user", "alice"),
        *("--number", "+4420", "--failed", "--active", "--since", "1h"),
    )
    assert done.returncode == 0, done.stderr
    assert any(path.startswith(f"/v1/calls?{query}2") for path in api.paths)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (OVER, ["target: sip:alice@edge.example", "the callee hung up after 1 min 0 s"]),
        (
            FAILED_OUT,
            [
                "user alice called +442079460000",
                "trunks to try: acme, bolt",
                "trunk acme answered 503: server failed",
                "trunk bolt answered 486",
                "it failed: 486 busy",
            ],
        ),
    ],
)
def test_explain_call_shows_its_end(api: Api, call: dict[str, object], expected: list[str]) -> None:
    api.answers["/v1/calls/x"] = (200, listed({**call, "then": None, "now": None}))
    lines = whence("explain", "--call", "x", "--api", api.url).stdout.splitlines()
    assert [line for line in expected if line not in lines] == []


def test_unknown_sources_are_a_table(api: Api) -> None:
    unknown_source = {
        "source": "udp:192.0.2.7:5060",
        "requests": 7,
        "since": 1_700_000_000.0,
        "last_at": 1_700_000_100.0,
        "request_uris": ["sip:1@x", "sip:2@x"],
        "reasons": ["flood", "unknown_address"],
        "message": "flood, no address admits the source",
    }
    api.answers["/v1/unknown-sources"] = (200, listed(unknown_source))
    shown = whence("unknown", "--api", api.url).stdout
    (row,) = (line for line in shown.splitlines() if "192.0.2.7" in line)
    assert "7" in row and "sip:1@x, sip:2@x" in row and "flood, no address admits" in row


def test_alarms_are_a_table(api: Api) -> None:
    expiry = {
        "id": 1_700_000_000_123,
        "kind": "registration_expired",
        "trunk": "acme",
        "message": "the grant ended without a refresh",
        "left_out": 3,
        "lasting": False,
        "status": "firing",
        "raised_at": 1_700_000_000.0,
        "cleared_at": None,
        "cleared_message": None,
    }
    api.answers["/v1/alarms"] = (200, listed(expiry))
    shown = whence("alarms", "--since", "5", "--api", api.url).stdout
    (row,) = (line for line in shown.splitlines() if "registration_expired" in line)
    for value in ("1700000000123", "acme", "ended without a refresh", "3"):
        assert value in row


def test_allow_sends_its_time_in_seconds(api: Api) -> None:
    answer = {"trunk": "acme", "ip": "192.0.2.7", "transport": "udp", "expires_at": 4_000_000_000}
    api.answers["/v1/unknown-sources/allow"] = (200, answer)
    words = ["allow", "udp:192.0.2.7:5060", "--trunk", "acme", "--for", "1h"]
    done = whence(*words, "--api", api.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("192.0.2.7 is allowed as trunk acme, over udp or a stronger")
    (question,) = api.questions
    expected = {"source": "udp:192.0.2.7:5060", "trunk": "acme", "for_s": 3600, "note": ""}
    assert question == expected


ALLOW = ["allow", "192.0.2.7", "--trunk", "acme", "--for", "1h"]
REVOKE = ["revoke", "192.0.2.7", "--trunk", "acme"]
ELSEWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize("words", [ALLOW, REVOKE], ids=lambda words: words[0])
def test_allow_and_revoke_print_the_answer_as_json(api: Api, words: list[str]) -> None:
    answer = {"trunk": "acme", "ip": "192.0.2.7", "transport": "udp", "expires_at": 4_000_000_000}
    api.answers[f"/v1/unknown-sources/{words[0]}"] = (200, answer)
    done = whence(*words, "--api", api.url, "--json", WHENCE_API=ELSEWHERE)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == answer
    assert len(api.questions) == 1


@pytest.mark.parametrize("words", [ALLOW, REVOKE], ids=lambda words: words[0])
def test_allow_and_revoke_use_the_named_api(api: Api, words: list[str]) -> None:
    answer = {"trunk": "acme", "ip": "192.0.2.7", "transport": "udp", "expires_at": 4_000_000_000}
    api.answers[f"/v1/unknown-sources/{words[0]}"] = (200, answer)
    assert whence(*words, "--api", api.url, WHENCE_API=ELSEWHERE).returncode == 0
    assert whence(*words, WHENCE_API=api.url).returncode == 0
    assert len(api.questions) == 2


def test_explain_of_a_wrong_source_is_one_sentence(api: Api) -> None:
    api.answers["/v1/explain"] = (422, {"detail": 'source: "x" is not a source'})
    done = whence("explain", "--source", "x", "--ruri", "sip:a@b", "--api", api.url)
    assert (done.returncode, done.stderr) == (1, 'whence: source: "x" is not a source\n')


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500, 503])
def test_error_of_the_api_is_the_sentence(api: Api, status: int) -> None:
    api.answers["/v1/users"] = (status, {"detail": "the location table \x1b[31m cannot be read"})
    done = whence("users", "--api", api.url)
    assert done.returncode == 1
    assert done.stderr == "whence: the location table \\x1b[31m cannot be read\n"


@pytest.mark.parametrize("detail", [None, "", [], [{}], {"a": 1}, 7])
def test_error_without_a_sentence_is_shown_unchanged(api: Api, detail: object) -> None:
    api.answers["/v1/users"] = (503, {"detail": detail})
    done = whence("users", "--api", api.url)
    assert done.returncode == 1
    body = json.dumps({"detail": detail})
    assert done.stderr == f"whence: {api.url}/v1/users answered 503: {body}\n"


# One trunk.


def test_trunk_shows_its_history(api: Api) -> None:
    event = {"at": 1_000_000, "what": "waiting", "status": 403, "reason": "rejected"}
    event["message"] = "403 No [bold]"
    api.answers["/v1/trunks/acme"] = (200, {**TRUNK, "failures": 3, "events": [event]})
    done = whence("trunk", "acme", "--api", api.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "failures in a row: 3" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "waiting" in line]
    assert "403" in line and "403 No [bold]" in line


def test_trunk_that_is_unknown_is_one_sentence(api: Api) -> None:
    api.answers["/v1/trunks/x"] = (404, {"detail": "no trunk x is configured"})
    done = whence("trunk", "x", "--api", api.url)
    assert (done.returncode, done.stderr) == (1, "whence: no trunk x is configured\n")


# Orders.


@pytest.mark.parametrize(
    ("order", "result"),
    [
        ("register", "the agent registers it now"),
        ("unregister", "the agent unregisters it, and suspends it until whence resume acme"),
        ("pause", "the agent sends no more REGISTERs for it until whence resume acme"),
        ("resume", "the agent registers it again"),
    ],
)
def test_order_says_what_follows(api: Api, order: str, result: str) -> None:
    answer = {**TRUNK, "state": "paused", "suspended": True}
    api.answers[f"/v1/trunks/acme/{order}"] = (200, answer)
    done = whence(order, "acme", "--api", api.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"acme: {result}; follow it with: whence trunk acme\n"
    done = whence(order, "acme", "--json", "--api", api.url)
    assert json.loads(done.stdout) == answer


@pytest.mark.parametrize(
    ("status", "message"), [(404, "no trunk acme is configured"), (409, "acme is disabled")]
)
def test_order_that_fails_is_one_sentence(api: Api, status: int, message: str) -> None:
    api.answers["/v1/trunks/acme/pause"] = (status, {"detail": message})
    done = whence("pause", "acme", "--api", api.url)
    assert (done.returncode, done.stderr) == (1, f"whence: {message}\n")


def test_reload_prints_the_changes(api: Api) -> None:
    answer: dict[str, object] = {"added": ["a", "b"], "removed": [], "changed": ["c"]}
    answer |= {"users_changed": [], "routing_changed": True}
    answer |= {"registration_changed": True, "needs_restart": True}
    api.answers["/v1/reload"] = (200, answer)
    assert whence("reload", "--api", api.url).stdout.splitlines() == [
        "added: a, b; changed: c; routes changed; registration changed",
        "edge, agent or registration response_timeout changed, or users may call numbers only now: "
        "restart Whence to apply it; if another program runs Kamailio, first write its "
        "configuration again with whence edge-config",
    ]


def test_reload_of_a_faulty_file_names_its_faults(api: Api) -> None:
    api.answers["/v1/reload"] = (422, {"detail": "whence.toml: edge: no"})
    done = whence("reload", "--api", api.url)
    assert (done.returncode, done.stderr) == (1, "whence: whence.toml: edge: no\n")


@pytest.mark.parametrize("table", ["trunk", "user"])
def test_check_of_one_bracket_names_the_right_form(tmp_path: Path, table: str) -> None:
    file = tmp_path / "whence.toml"
    file.write_text(f"[{table}]\nx = 1\n[[{table}]]\nx = 2\n", encoding="utf-8")
    done = whence("check", "-c", file)
    assert done.returncode == 2
    assert done.stderr.endswith(f"; write [[{table}]] instead of [{table}]\n")
