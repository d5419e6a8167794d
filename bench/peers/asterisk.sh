#!/bin/sh
# Asterisk with PJSIP: it registers all accounts, identifies the provider by its address, and finds
# the called trunk in the dialplan. `make bench PEERS=asterisk` runs this script (../peers.md).
# Arguments come in the environment: ../contestants/peer.py names them.
set -eu
etc="$HOME_DIR/etc"
mkdir -p "$etc" "$HOME_DIR/db" "$HOME_DIR/run" "$HOME_DIR/log" "$HOME_DIR/spool"

cat >"$etc/asterisk.conf" <<END
[directories]
astetcdir => $etc
astdbdir => $HOME_DIR/db
astrundir => $HOME_DIR/run
astlogdir => $HOME_DIR/log
astspooldir => $HOME_DIR/spool
END

cat >"$etc/modules.conf" <<END
[modules]
autoload=no
load=res_timing_timerfd.so
load=res_sorcery_config.so
load=res_sorcery_memory.so
load=res_sorcery_astdb.so
load=res_pjproject.so
load=res_pjsip.so
load=res_pjsip_session.so
load=res_pjsip_pubsub.so
load=res_pjsip_sdp_rtp.so
load=res_pjsip_caller_id.so
load=res_pjsip_endpoint_identifier_ip.so
load=res_pjsip_outbound_authenticator_digest.so
load=res_pjsip_outbound_registration.so
load=res_rtp_asterisk.so
load=chan_pjsip.so
load=bridge_simple.so
load=bridge_native_rtp.so
load=codec_ulaw.so
load=app_dial.so
load=pbx_config.so
END

cat >"$etc/logger.conf" <<END
[logfiles]
console => error
END

cat >"$etc/rtp.conf" <<END
[general]
rtpstart=30000
rtpend=40000
END

cat >"$etc/pjsip.conf" <<END
[edge]
type=transport
protocol=udp
bind=$EDGE_IP:$PORT

[phone]
type=endpoint
transport=edge
aors=phone
context=none
disallow=all
allow=ulaw
direct_media=no
media_address=$EDGE_IP
bind_rtp_to_media_address=yes

[phone]
type=aor
contact=sip:alice@$PHONE_IP:$PORT

[provider]
type=endpoint
transport=edge
context=inbound
disallow=all
allow=ulaw
direct_media=no
media_address=$EDGE_IP
bind_rtp_to_media_address=yes
identify_by=ip

[provider]
type=identify
endpoint=provider
match=$(echo "$PROVIDER_IPS" | tr ' ' ',')
END

printf '[none]\n\n[inbound]\n' >"$etc/extensions.conf"

while IFS=, read -r user password number; do
	cat >>"$etc/pjsip.conf" <<END

[$user]
type=auth
auth_type=userpass
username=$user
password=$password

[$user]
type=registration
transport=edge
outbound_auth=$user
server_uri=sip:$REGISTRAR_IP:$PORT
client_uri=sip:$user@$REGISTRAR_IP
contact_user=$user
expiration=$EXPIRES_S
END
	echo "exten => $number,1,Dial(PJSIP/phone,30)" >>"$etc/extensions.conf"
done <"$ACCOUNTS"

exec asterisk -f -C "$etc/asterisk.conf"
