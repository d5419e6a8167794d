"""What each reader makes of its sample, and of odd texts."""

from __future__ import annotations

import pytest

from tests.unit.importers.samples import findings_of, notes_of
from whence.errors import ConfigError
from whence.importers.records import RECORDS_LIMIT, VALUE_LIMIT, Findings


def trunk(findings: Findings, wish: str) -> dict[str, object]:
    (record,) = (one for one in findings.trunks if one.keys["id"] == wish)
    return dict(record.keys)


def doubts(findings: Findings) -> list[str]:
    return [one.doubt for one in (*findings.trunks, *findings.users)]


# uacreg


def test_uacreg_dump_has_each_column_that_whence_has() -> None:
    found = findings_of("uacreg.sql")
    assert trunk(found, "acme") == {
        "id": "acme",
        "registrar": "sip:provider.example",
        "proxy": "sip:proxy.example:5080",
        "socket": "udp:192.0.2.1:5060",
        "user": "acct1",
        "auth_user": "auth1",
        "password": "pass'w\"o\\rd;--",
        "expires": 600,
        "target": "sip:alice@edge.example.net",
    }


def test_uacreg_ha1_and_flags_are_read() -> None:
    sales = trunk(findings_of("uacreg.sql"), "acme sales")
    assert sales["ha1"] == {"md5": "0123456789abcdef0123456789abcdef"}
    assert sales["realm"] == "provider.example"
    assert sales["enabled"] is False


def test_uacreg_dot_is_empty_and_quotes_are_doubled() -> None:
    old = trunk(findings_of("uacreg.sql"), "old")
    assert old["password"] == "secret'3"
    assert "realm" not in old and "ha1" not in old and "socket" not in old
    assert old["proxy"] == "sip:old.example;transport=tls"


@pytest.mark.parametrize(
    "note",
    [
        "uacreg.sql:25: auth_proxy: ;lr is left out",
        "uacreg.sql:25: reg_delay: is left out here: Whence spreads REGISTERs",
        "uacreg.sql:25: contact_addr: is left out here: write the address",
        "uacreg.sql:27: expires: is no time of 1 to 604800 s",
        "uacreg.sql:27: socket: is no transport:ip:port",
        "uacreg.sql:28: has 3 values for 16 columns",
        "uacreg.sql:29: has no end, or a value that is no literal",
    ],
)
def test_uacreg_dump_notes_what_it_leaves_out(note: str) -> None:
    assert any(one.startswith(note) for one in notes_of(findings_of("uacreg.sql")))


def test_uacreg_dbtext_has_escapes_and_ipv6() -> None:
    found = findings_of("uacreg.dbtext")
    assert trunk(found, "acme")["registrar"] == "sip:provider.example:5070"
    assert trunk(found, "acme")["password"] == "pa:ss\\w"
    assert trunk(found, "ipv6")["registrar"] == "sip:[2001:db8::7]:5070"
    assert notes_of(found) == {
        "uacreg.dbtext:3: has 4 fields, and the first line names 16; the row is left out"
    }


@pytest.mark.parametrize("text", ["", "hello", "SELECT 1;", "<xml/>", "a(b c(d"])
def test_table_of_another_format_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^uacreg.sql: is neither an SQLite file"):
        findings_of("uacreg.sql", text)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO uacreg VALUES (1,'a",
        "INSERT INTO uacreg (id) VALUES ('",
        "INSERT INTO uacreg VALUES",
        "INSERT INTO",
        "CREATE TABLE",
        "CREATE TABLE uacreg (",
        "INSERT INTO uacreg VALUES ((((",
        "INSERT INTO uacreg VALUES (1,,2)",
        "INSERT INTO uacreg VALUES (0xZZ, `a`, _binary 'x')",
        "/* INSERT INTO uacreg",
        "INSERT INTO uacreg (l_uuid) VALUES ('\\",
    ],
)
def test_dump_with_a_broken_end_gives_no_trunk(text: str) -> None:
    assert findings_of("uacreg.sql", text).trunks == []


def test_dump_of_many_open_quotes_takes_little_time() -> None:
    """The time of each quote must not grow with the rest of the file."""
    for odd in ("'a\\", "/*", "`", "'", "_a", "(", "0x", "--", "#"):
        findings_of("uacreg.sql", "INSERT INTO uacreg VALUES " + odd * 300_000)


def test_dump_names_columns_in_its_own_order() -> None:
    text = (
        "INSERT INTO `db`.`uacreg` (`r_domain`,`l_uuid`,`r_username`) VALUES ('h.example','u','n')"
    )
    (record,) = findings_of("uacreg.sql", text).trunks
    assert (record.keys["id"], record.keys["user"]) == ("u", "n")
    assert record.keys["registrar"] == "sip:h.example"


# OpenSIPS


def test_registrant_has_each_column_that_whence_has() -> None:
    found = findings_of("registrant.sql")
    assert trunk(found, "acct1@provider.example") == {
        "id": "acct1@provider.example",
        "registrar": "sip:reg.example:5070;transport=tcp",
        "user": "acct1",
        "domain": "provider.example",
        "auth_user": "auth1",
        "password": "secret1",
        "expires": 1800,
    }
    second = trunk(found, "acct2@provider.example")
    assert second["enabled"] is False
    assert second["proxy"] == "sip:proxy.example"
    assert "domain" not in second and "expires" not in second


def test_registrant_notes_name_each_column_once() -> None:
    found = findings_of("registrant.sql")
    notes = "\n".join(sorted(notes_of(found)))
    assert notes.count("binding_URI") == 1 and "and in 2 more rows" in notes
    for column in ("binding_params", "cluster_shtag", "third_party_registrant"):
        assert f"registrant.sql:18: {column}: " in notes
    assert doubts(found)[2].startswith('"tel:+442071234567" is no address-of-record')


# pjsip.conf


def test_pjsip_registration_has_auth_template_and_identify() -> None:
    assert trunk(findings_of("pjsip.conf"), "acme") == {
        "id": "acme",
        "registrar": "sip:sip.provider.example;transport=tcp",
        "user": "acct1",
        "domain": "provider.example",
        "expires": 1800,
        "password": "pass;word",
        "networks": ["198.51.100.1", "198.51.100.64/26"],
    }


def test_pjsip_transport_and_md5_are_read() -> None:
    bell = trunk(findings_of("pjsip.conf"), "bell")
    assert bell["registrar"] == "sip:bell.example;transport=tls"
    assert (bell["user"], bell["auth_user"]) == ("bell%20user", "bell user")
    assert bell["ha1"] == {"md5": "0123456789abcdef0123456789abcdef"}
    assert bell["realm"] == "bell.example"


def test_pjsip_phone_is_a_user() -> None:
    alice, bob = findings_of("pjsip.conf").users
    assert dict(alice.keys) == {"name": "alice", "password": "alices secret"}
    assert alice.doubt == ""
    assert bob.doubt.startswith('the phone authenticates as "bobby"')


@pytest.mark.parametrize(
    "note",
    [
        "pjsip.conf:6: [udp]: no registration uses this transport",
        "pjsip.conf:25: #include: is not followed",
        "pjsip.conf:38: [acme]: retry_interval (line 30), contact_user (line 42): left out",
        "pjsip.conf:62: [acme]: srv_lookups (line 69): left out",
        "pjsip.conf:66: match: sip.provider.example is no ip or network",
        "pjsip.conf:71: expiration: is no time of 1 to 604800 s",
        "pjsip.conf:109: [peer]: no registration uses this endpoint",
        "pjsip.conf:112: [peer]: no registration uses this identify",
        "pjsip.conf:117: [odd]: there is no template [missing] before it",
        "pjsip.conf:117: [odd]: type wizard; it is left out",
        "pjsip.conf:119: is neither a section nor key = value",
        "pjsip.conf:120: is no section",
    ],
)
def test_pjsip_notes_what_it_leaves_out(note: str) -> None:
    found = notes_of(findings_of("pjsip.conf"))
    assert any(one.startswith(note) for one in found), sorted(found)


def test_pjsip_block_comment_hides_sections() -> None:
    ids = [one.keys["id"] for one in findings_of("pjsip.conf").trunks]
    assert ids == ["acme", "bell", "lost"]


def test_pjsip_append_joins_values_with_a_note() -> None:
    text = (
        "[a]\ntype=registration\nserver_uri=sip:reg.\nserver_uri += example\n"
        "client_uri=sip:u@h.example\n"
    )
    found = findings_of("pjsip.conf", text)
    assert trunk(found, "a")["registrar"] == "sip:reg.example"
    assert any(one.startswith("pjsip.conf:4: server_uri +=: ") for one in notes_of(found))


@pytest.mark.parametrize(
    "text",
    ["[", "[a](", "[a](b", "]", "=", "[a]\n=", "[a]\n=x", "[a]\nb", "[a]()\n+=1", "[a](+)\nx=1"],
)
def test_pjsip_odd_lines_become_notes(text: str) -> None:
    try:
        found = findings_of("pjsip.conf", text)
    except ConfigError as error:
        assert error.faults[0].startswith("pjsip.conf: has no section")
    else:
        assert found.notes and not found.trunks


def test_pjsip_too_many_sections_are_refused() -> None:
    with pytest.raises(ConfigError, match="sections; split the file"):
        findings_of("pjsip.conf", "[a]\n" * (RECORDS_LIMIT + 2))


# FreeSWITCH


def test_gateway_has_each_parameter_that_whence_has() -> None:
    assert trunk(findings_of("gateways.xml"), "acme") == {
        "id": "acme",
        "password": 'a&b<c"',
        "registrar": "sip:sip.provider.example:5070;transport=tcp",
        "user": "acct1",
        "domain": "provider.example",
        "proxy": "sip:proxy.provider.example;transport=tcp",
        "expires": 600,
        "keepalive": 25,
    }


def test_gateway_takes_its_host_from_its_name() -> None:
    assert trunk(findings_of("gateways.xml"), "bell.example")["registrar"] == "sip:bell.example"


@pytest.mark.parametrize(
    "note",
    [
        "gateways.xml:2: X-PRE-PROCESS set acme_password: is not followed",
        "gateways.xml:3: X-PRE-PROCESS include more/*.xml: is not followed",
        'gateways.xml:15: gateway "acme": extension: has no counterpart',
        'gateways.xml:18: gateway "bell.example": from-user: ',
        'gateways.xml:22: gateway "bell.example": ping: is no time',
        'gateways.xml:31: gateway "carrier": does not register',
    ],
)
def test_gateway_notes_what_it_leaves_out(note: str) -> None:
    found = findings_of("gateways.xml")
    assert any(one.startswith(note) for one in notes_of(found)), sorted(notes_of(found))
    assert not any("hunter2" in one for one in notes_of(found))


def test_gateway_with_a_variable_has_a_doubt() -> None:
    assert doubts(findings_of("gateways.xml"))[2] == (
        "password has a variable of FreeSWITCH; write its value"
    )


BOMB = """<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>
<a><gateway name="&c;"/></a>"""
EXTERNAL = """<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>
<a><gateway name="x"><param name="password" value="&b;"/></gateway></a>"""


@pytest.mark.parametrize("text", [BOMB, EXTERNAL, '<!DOCTYPE a SYSTEM "http://192.0.2.1/x"><a/>'])
def test_gateways_with_entities_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^gateways.xml: has a DTD or entities"):
        findings_of("gateways.xml", text)


def test_xinclude_is_a_note() -> None:
    text = '<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="/etc/passwd"/></a>'
    assert "gateways.xml:1: XInclude of /etc/passwd: is not followed" in notes_of(
        findings_of("gateways.xml", text)
    )


@pytest.mark.parametrize("text", ["", "<a>", "<a></b>", "no xml", "<a>\n\n&x;</a>", "<a b=1/>"])
def test_gateways_that_are_no_xml_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^gateways.xml:[0-9]+: is not XML: "):
        findings_of("gateways.xml", text)


# CSV


def test_csv_has_lists_truths_and_numbers() -> None:
    first, second, *_ = findings_of("trunks.csv").trunks
    assert dict(first.keys) == {
        "id": "acme",
        "registrar": "sip:provider.example",
        "user": "acct1",
        "password": 'pa;ss "word"',
        "target": "sip:{number}@192.0.2.9",
        "numbers": ["+442071234567", "+4420712345*"],
        "fallback": True,
        "expires": 600,
    }
    assert second.keys["password"] == " spaced "


def test_csv_notes_columns_rows_and_values() -> None:
    found = findings_of("trunks.csv")
    assert notes_of(found) == {
        'trunks.csv:1: column "account manager": is no key of [[trunk]]; it is left out',
        "trunks.csv:5: has 2 fields, and the header names 9; the row is left out",
    }
    assert doubts(found)[2] == 'fallback: "maybe" is neither true nor false'
    assert [one.place.line for one in found.trunks] == [2, 3, 4, 6, 8]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiter_is_that_of_the_header(delimiter: str) -> None:
    text = f'registrar{delimiter}user\n"sip:a\n.example"{delimiter}u\n'.replace("\n.", ".")
    (record,) = findings_of("trunks.csv", text).trunks
    assert dict(record.keys) == {"registrar": "sip:a.example", "user": "u", "id": "u"}


@pytest.mark.parametrize("text", ["", "id,user\n", "registrar,user,user\n", 'registrar,id\n"a'])
def test_csv_without_a_usable_header_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^trunks.csv:\d+: "):
        findings_of("trunks.csv", text)


def test_value_that_is_too_long_is_a_doubt() -> None:
    text = f"registrar,user\nsip:a.example,{'u' * (VALUE_LIMIT + 1)}\n"
    (doubt,) = doubts(findings_of("trunks.csv", text))
    assert doubt == f"user has {VALUE_LIMIT + 1} characters, and may have {VALUE_LIMIT}"
