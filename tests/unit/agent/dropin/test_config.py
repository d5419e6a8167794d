"""The file drop-in.toml: it may be empty, and all its faults are named at once."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from whence.agent.config.models import MonitoringConfig
from whence.agent.dropin.config import DropInConfig, load
from whence.errors import ConfigError


def read(folder: Path, text: str) -> DropInConfig:
    file = folder / "drop-in.toml"
    file.write_text(text, encoding="utf-8")
    return load(file)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read(folder, text)
    return refused.value.faults


def test_load_of_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "") == DropInConfig()


def test_example_has_each_key_with_its_default(tmp_path: Path) -> None:
    text = (files("whence") / "kamailio" / "drop-in.toml").read_text()
    assert read(tmp_path, text) == DropInConfig()
    for key in (*DropInConfig.model_fields, *MonitoringConfig.model_fields):
        assert f"\n{key} = " in text or f"[{key}]" in text
    uncommented = text.replace("# acme", "acme").replace("# bell", "bell")
    assert read(tmp_path, uncommented).numbers.keys() == {"acme", "bell"}


def test_spellings_are_all_forms_of_a_number(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        'country = "44"\n[numbers]\nacme = ["+442071234567", "+4420712399*"]\n"b.1" = []\n',
    )
    acme = settings.spellings()["acme"]
    assert {"+442071234567", "02071234567", "00442071234567", "+4420712399*"} <= acme
    assert settings.spellings()["b.1"] == frozenset()


def test_load_names_all_faults_with_their_place(tmp_path: Path) -> None:
    named = faults(
        tmp_path,
        """
countri = "44"
[numbers]
acme = ["+44 20 7123 4567", "abc", 5]
bell = "+442071234567"
"a b" = ["+442071234567"]
twice = ["+442071234567", "+442071234567"]
[agent]
api_listen = "0.0.0.0:8088"
stat = "/x"
calls = 5
strangers_alarm = 5
webhook = "https://user:hunter2@example.com/secret"
""",
    )
    assert named == [
        'drop-in.toml: numbers: acme[1]: "abc" is not a number; write "+442071234567"',
        "drop-in.toml: numbers: acme[2]: is not a text; write it in quotes",
        'drop-in.toml: numbers: bell: is not a list; write ["+442071234567"]',
        "drop-in.toml: numbers: a b: is no l_uuid: up to 64 characters that the user of a SIP URI "
        "may have; write it as in uac's table",
        'drop-in.toml: numbers: twice: "+442071234567" occurs 2 times; write it once',
        'drop-in.toml: agent: api_listen: "0.0.0.0:8088" can be reached from outside, so the API '
        "needs TLS; write api_certificate and api_key, or api_behind_proxy = true if only a proxy "
        'reaches it, or a loopback address, "127.0.0.1:8088"',
        "drop-in.toml: agent: webhook: has a user, password or fragment; remove it, and write "
        "the path of a file with a token as webhook_token_file",
        "drop-in.toml: agent: stat: unknown key; known are api_token_required, "
        "api_certificate, api_key, api_behind_proxy, api_hosts, api_listen, call_history_size, "
        "call_log_file, unknown_sources_size, unknown_requests_per_minute_alarm, "
        "unreachable_alarm_after, webhook, webhook_format, webhook_token_file, log_format, "
        "mail_to, mail_from, sendmail",
        "drop-in.toml: agent: calls: is now call_history_size",
        "drop-in.toml: agent: strangers_alarm: is now unknown_requests_per_minute_alarm",
        'drop-in.toml: countri: unknown key; did you mean "country"?',
    ]


@pytest.mark.parametrize("text", ["numbers = 5", "agent = 5", "[numbers", "country = 44"])
def test_load_of_a_wrong_type_has_one_fault(tmp_path: Path, text: str) -> None:
    assert len(faults(tmp_path, text)) == 1


def test_doubts_name_probable_mistakes(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        'country = "44"\n[numbers]\nacme = ["+442071234567"]\nbell = ["020 7123 4567"]\n'
        'acmee = ["+441614960000"]\n',
    )
    shared = (
        "drop-in.toml: numbers: acme, bell: the same number +442071234567, so its calls are "
        "refused; write it for one of them only"
    )
    assert list(settings.doubts([])) == [shared]
    assert list(settings.doubts(["acme", "bell"])) == [
        "drop-in.toml: numbers: acmee: no account of this l_uuid has registered yet; those that "
        "have are acme, bell",
        shared,
    ]


def test_learn_from_is_for_all_or_for_single_accounts(tmp_path: Path) -> None:
    for text, acme, bell in (
        ("", False, False),
        ('learn_from = "any"', True, True),
        ('learn_from = {acme = "any"}', True, False),
        ('[learn_from]\nacme = "any"', True, False),
    ):
        permits = read(tmp_path, text).permits(0.0)
        assert (permits.expected("acme").any_source, permits.expected("bell").any_source) == (
            acme,
            bell,
        )


def test_networks_are_pinned_until_they_expire(tmp_path: Path) -> None:
    text = """[networks]
acme = ["198.51.100.0/24", {network = "192.0.2.7", port = 5060, transport = "tls"}]
bell = [{network = "192.0.2.8", expires_at = "2000-01-01T00:00:00Z"}]
"""
    permits = read(tmp_path, text).permits(1e9)
    assert [(str(a.ip), a.port, a.exact) for a in permits.networks["acme"]] == [
        ("198.51.100.0/24", None, False),
        ("192.0.2.7", 5060, True),
    ]
    assert permits.networks["bell"] == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('learn_from = "all"', 'learn_from: "all" is not known; write "asked" or "any"'),
        ('learn_from = {acme = "no"}', 'learn_from: "no" is not known; write "asked" or "any"'),
        ("learn_from = 1", 'learn_from: "1" is not known; write "asked" or "any"'),
        ('[networks]\nacme = "192.0.2.0/24"', 'write ["192.0.2.0/24"]'),
        ('[networks]\nacme = ["192.0.2.1/24"]', 'write "192.0.2.0/24"'),
        ('[networks]\nacme = ["192.0.2.7", "192.0.2.7"]', "occurs 2 times"),
    ],
)
def test_load_names_faults_of_learn_from_and_networks(
    tmp_path: Path, text: str, message: str
) -> None:
    (fault,) = faults(tmp_path, text)
    assert message in fault
