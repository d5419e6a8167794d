"""The alert rules in packaging/prometheus: promtool accepts and tests them."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "packaging" / "prometheus"


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid() -> None:
    promtool("check", "rules", "rules.yml")


def test_rules_fire_for_their_series_only() -> None:
    promtool("test", "rules", "rules_test.yml")


def test_rules_have_two_tests_each() -> None:
    """One with series for which it fires, and one for which it does not."""
    rules = re.findall(r"- alert: (\w+)", (FOLDER / "rules.yml").read_text("utf-8"))
    tested = re.findall(r"- name: (\w+) ", (FOLDER / "rules_test.yml").read_text("utf-8"))
    assert Counter(tested) == dict.fromkeys(rules, 2)
