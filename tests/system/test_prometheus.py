"""A Prometheus scrapes a running Whence: each query of the board and of the rules works."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from testkit.process import Process
from testkit.rig import Rig
from testkit.wait import PATIENCE_S, eventually
from testkit.whence import Whence
from tests.system.scene import ACCOUNTS, alices_trunk, uri

PACKAGING = Path(__file__).parents[2] / "packaging"
BOARD = PACKAGING / "grafana" / "whence.json"
RULES = PACKAGING / "prometheus" / "rules.yml"

WITHOUT_DATA = frozenset({"whence_certificate_expiry_timestamp_seconds", "whence_webhook_waiting"})
"""Metrics that this node does not have: it has neither TLS nor a webhook."""


class Prometheus:
    """A Prometheus that scrapes one node."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False)

    def query(self, expression: str) -> list[Any]:
        answer = self._client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        return list(answer.json()["data"]["result"])

    def samples(self, metric: str) -> list[Any]:
        return self.query(f"last_over_time({metric}[5m])")

    def rules(self) -> list[Any]:
        (group,) = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return list(group["rules"])

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def node(shared_rig: Rig) -> Whence:
    rig = shared_rig
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider)], users=["alice"])
    whence.wait_registered()
    rig.phone("alice", whence)
    rig.caller(whence, at=provider).call(uri(whence), expect=200)
    eventually(
        lambda: [call["state"] for call in whence.get("/v1/calls")] == ["ended"],
        what="the end of the call",
    )
    return whence


@pytest.fixture(scope="module")
def prometheus(
    shared_rig: Rig, node: Whence, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is not installed; run: make setup-dev"
    target = urlsplit(node.api).netloc
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n"
        f"rule_files: [{RULES}]\n"
        f"scrape_configs: [{{job_name: whence, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    with shared_rig.endpoint("prometheus") as free:
        place = f"{free.address[0]}:9090"
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={place}",
    ]
    with Process("prometheus", command, folder / "log"):
        prometheus = Prometheus(f"http://{place}")
        eventually(lambda: prometheus.query("whence_build_info"), what="the first scrape")
        yield prometheus
        prometheus.close()


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"whence_\w+", text))


def base(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


def exported(node: Whence) -> set[str]:
    """Return the names of all metrics that a node can have, as the agent names them."""
    found = re.findall(r"^# TYPE (whence_\w+) ", node.metrics(), re.MULTILINE)
    return set(found) | WITHOUT_DATA | {"whence_webhook_delivered_total"}


def test_board_queries_have_results(prometheus: Prometheus, node: Whence) -> None:
    board = json.loads(BOARD.read_text("utf-8"))
    targets = [target for panel in board["panels"] for target in panel.get("targets", ())]
    assert targets
    empty = set()
    for target in targets:
        expression = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
        assert "$" not in expression
        prometheus.query(expression)
        for metric in metrics_in(expression):
            if not prometheus.samples(metric):
                empty.add(metric)
    assert empty == set()
    variable = board["templating"]["list"][1]["query"]["query"]
    assert metrics_in(variable) <= exported(node)


def test_rules_use_metrics_of_the_agent(prometheus: Prometheus, node: Whence) -> None:
    def evaluated() -> list[Any]:
        rules = prometheus.rules()
        return rules if all(rule["health"] != "unknown" for rule in rules) else []

    rules = eventually(evaluated, what="the evaluation of the rules")
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
    named = {base(name) for rule in rules for name in metrics_in(rule["query"])}
    assert named - exported(node) == set()
