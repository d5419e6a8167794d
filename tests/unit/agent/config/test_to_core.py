"""The conversion of the settings file into values of the core keeps every key."""

from pathlib import Path

from tests.unit.store.provisioning import ACME, settings
from whence.agent.config.to_core import node_settings, registration_settings, sibling_settings
from whence.core.registration.model import AccountKey
from whence.core.sip.transport_address import TransportAddress, canonical_ip

NOW = 1_000_000.0

FULL = (
    ACME
    + """
proxy = "sip:192.0.2.7:5070"
domain = "provider.example"
expires = 120
contact = "line"
rewrites_contact = true
keepalive = 30
learn_from = "any"
match_port = true
networks = [
    "198.51.100.0/24",
    {network = "203.0.113.9", expires_at = "2001-01-01T00:00:00Z"},
]
number_headers = ["X-DID"]
number_format = "e164"
follow_dns = false
"""
)


def test_trunk_settings_have_all_keys_of_the_trunk(tmp_path: Path) -> None:
    config = settings(tmp_path, '[edge]\ncountry = "44"\n' + FULL)
    (trunk,) = node_settings(config).trunks
    assert trunk.account_key == AccountKey("sip:acct1@provider.example", "sip:192.0.2.7:5070")
    assert (trunk.id, trunk.user, trunk.target) == ("acme", "acct1", "sip:pbx@192.0.2.9")
    assert [uri.host for uri in trunk.servers] == ["192.0.2.7", "192.0.2.1"]
    assert trunk.server.port == 5070
    assert trunk.credentials == config.trunk[0].credentials()
    assert (trunk.expires_s, trunk.contact, trunk.rewrites_contact) == (120, "line", True)
    assert (trunk.keepalive_s, trunk.learn_from, trunk.match_port) == (30, "any", True)
    assert (trunk.numbers, trunk.country_code) == (("+44 20 1",), "44")
    assert (trunk.number_headers, trunk.number_format) == (("x-did",), "e164")
    assert (trunk.follow_dns, trunk.enabled) == (False, True)


def test_pinned_omits_expired_networks(tmp_path: Path) -> None:
    (trunk,) = node_settings(settings(tmp_path, FULL)).trunks
    (before, after) = trunk.pinned(NOW), trunk.pinned(NOW * 1000)
    assert [str(address.ip) for address in before] == ["198.51.100.0/24", "203.0.113.9"]
    assert [str(address.ip) for address in after] == ["198.51.100.0/24"]
    assert {address.learned_at for address in before} == {NOW}


def test_user_settings_have_the_ha1_of_the_domain(tmp_path: Path) -> None:
    config = settings(tmp_path, '[[user]]\nname = "alice"\npassword = "topsecret"\n')
    (user,) = node_settings(config).users
    assert (user.name, user.domain) == ("alice", "edge.example")
    assert user.ha1 == config.user[0].md5("edge.example")


def test_registration_settings_have_all_keys_of_the_file(tmp_path: Path) -> None:
    text = """
[edge]
listen = ["udp:192.0.2.99:5060"]
advertise = "203.0.113.1"
[agent]
grace = 5
on_stop = "leave"
sibling_ttl = [10, 20]
[registration]
rate = 7
rate_per_registrar = 3
refresh_fraction = [0.5, 0.6]
[registration.backoff]
auth_failed = [1, 2]
rejected = [3, 4]
unreachable = [5, 6]
"""
    config = settings(tmp_path, text)
    own = TransportAddress.parse("udp:192.0.2.99:5060")
    registration, siblings = registration_settings(config), sibling_settings(config)
    assert registration.sockets.place_of(own) == ("203.0.113.1", 5060)
    waits = registration.waits
    assert (waits.refresh_from, waits.refresh_to) == (0.5, 0.6)
    assert (waits.auth_failed.first_s, waits.auth_failed.limit_s) == (1, 2)
    assert (waits.rejected.first_s, waits.rejected.limit_s) == (3, 4)
    assert (waits.unreachable.first_s, waits.unreachable.limit_s) == (5, 6)
    assert (registration.rate, registration.rate_per_registrar) == (7, 3)
    assert (registration.grace_s, registration.unregisters_on_stop) == (5, False)
    assert (siblings.least_s, siblings.most_s, siblings.grace_s) == (10, 20, 5)
    assert siblings.own == {canonical_ip("192.0.2.99")}
