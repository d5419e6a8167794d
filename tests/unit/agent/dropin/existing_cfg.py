"""A kamailio.cfg of an operator, and parts of it."""

from __future__ import annotations

from pathlib import Path

from whence.agent.dropin.kamailio_cfg.model import Cfg
from whence.agent.dropin.kamailio_cfg.parser import read

INCLUDE = Path("/etc/kamailio/whence/whence.cfg")
SECRET = "hunter2"

MODULES = "".join(f'loadmodule "{name}.so"\n' for name in ("tm", "sl", "pv", "uac"))
VALID = f"""{MODULES}modparam("uac", "reg_db_url", "mysql://kamailio:{SECRET}@localhost/kamailio")
modparam("uac", "reg_contact_addr", "192.0.2.9:5060")
modparam("uac", "reg_retry_interval", 60)
modparam("uac", "reg_timer_interval", 20)
modparam("uac", "reg_keep_callid", 1)
modparam("uac", "restore_mode", "none")
"""
ROUTES = """
request_route {
	if (has_totag()) {
		route(WITHINDLG);
	}
	route(AUTH);
	route(LOCATION);
}
route[WITHINDLG] { loose_route(); exit; }
route[AUTH] { if (!auth_check("$fd", "subscriber", "1")) { auth_challenge("$fd", "0"); exit; } }
route[LOCATION] { lookup("location"); t_relay(); exit; }
"""
RECIPE = """onreply_route {
	if ($rs == 200 && $rm == "REGISTER") {
		$sht(trunks=>$si) = $(ct{nameaddr.uri}{uri.user});
	}
}
"""


def cfg_of(folder: Path, text: str) -> Cfg:
    file = folder / "kamailio.cfg"
    file.write_text(text)
    return read(file, leave_out=INCLUDE)
