"""docs/configure.md is current, and describes each key of both settings files."""

from __future__ import annotations

import pytest

from tools import generate_configure
from tools.generate_configure import PAGE, ROOTS, TABLES, descriptions, page, tables
from whence.agent.config.models import MonitoringConfig
from whence.agent.config.toml import Table

MODELS = sorted(set(tables(*ROOTS)), key=lambda model: model.__name__)


@pytest.mark.parametrize("model", MODELS)
def test_key_of_each_table_has_a_description(model: type[Table]) -> None:
    assert set(model.model_fields) - set(descriptions(model)) == set()


def test_page_has_each_table() -> None:
    assert set(MODELS) - set(ROOTS) <= set(TABLES.values())
    template = generate_configure.TEMPLATE.read_text(encoding="utf-8")
    shown = {name for name in TABLES if f'keys("{name}")' in template}
    assert {TABLES[name] for name in shown} >= set(TABLES.values()) - {MonitoringConfig}


def test_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: make generate"
