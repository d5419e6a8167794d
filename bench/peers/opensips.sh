#!/bin/sh
# OpenSIPS 3.x with uac_registrant: it registers all accounts, admits calls from the provider's
# address, and sends them to its phone. Not run here (../peers.md).
# Arguments come in the environment: ../contestants/peer.py names them.
set -eu
tables=${OPENSIPS_TABLES:-/usr/share/opensips/dbtext/opensips}
modules=${OPENSIPS_MODULES:-/usr/lib/$(uname -m)-linux-gnu/opensips/modules}
mkdir -p "$HOME_DIR/db"
cp "$tables/version" "$HOME_DIR/db/version"

# The columns are those of the installed version: its first line names them.
awk -F, -v ip="$EDGE_IP" -v port="$PORT" -v registrar="$REGISTRAR_IP" -v expires="$EXPIRES_S" '
	NR == FNR { print; n = split($0, column, " "); next }
	{
		value["id"] = FNR
		value["registrar"] = "sip\\:" registrar "\\:" port
		value["aor"] = "sip\\:" $1 "@" registrar
		value["username"] = $1
		value["password"] = $2
		value["binding_URI"] = "sip\\:" $1 "@" ip "\\:" port
		value["expiry"] = expires
		value["forced_socket"] = "udp\\:" ip "\\:" port
		value["state"] = 0
		row = ""
		for (i = 1; i <= n; i++) {
			name = column[i]
			sub(/\(.*/, "", name)
			row = row (i > 1 ? ":" : "") value[name]
		}
		print row
	}' "$tables/registrant" "$ACCOUNTS" >"$HOME_DIR/db/registrant"

cat >"$HOME_DIR/opensips.cfg" <<END
log_level=1
stderror_enabled=yes
syslog_enabled=no
udp_workers=$WORKERS
auto_aliases=no
socket=udp:$EDGE_IP:$PORT
mpath="$modules/"
loadmodule "proto_udp.so"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "sipmsgops.so"
loadmodule "db_text.so"
loadmodule "auth.so"
loadmodule "uac_auth.so"
loadmodule "uac_registrant.so"
modparam("rr", "append_fromtag", 0)
modparam("uac_registrant", "db_url", "text://$HOME_DIR/db")
# One bucket is looked at each second: the accounts begin over eight seconds.
modparam("uac_registrant", "hash_size", 3)
modparam("uac_registrant", "timer_interval", 8)

route {
	if (!mf_process_maxfwd_header(10)) {
		send_reply(483, "Too Many Hops");
		exit;
	}
	if (has_totag()) {
		if (is_method("ACK") && t_check_trans()) {
			t_relay();
			exit;
		}
		if (!loose_route()) {
			send_reply(404, "Not here");
			exit;
		}
		t_relay();
		exit;
	}
	t_check_trans();
	if (\$si != "$REGISTRAR_IP" || !is_method("INVITE")) {
		send_reply(403, "Forbidden");
		exit;
	}
	record_route();
	\$ru = "sip:alice@$PHONE_IP:$PORT";
	t_relay();
}
END

exec opensips -F -f "$HOME_DIR/opensips.cfg" -m 256 -M 16
