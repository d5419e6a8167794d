"""The configuration of a Kamailio that an operator runs already."""

from __future__ import annotations

from pathlib import Path

DEBIANS = Path("/etc/kamailio/kamailio.cfg")
UAC = """loadmodule "uac.so"
modparam("uac", "reg_db_url", "sqlite:///etc/kamailio/hunter2.sqlite")
modparam("uac", "reg_contact_addr", "192.0.2.9:5060")
"""
