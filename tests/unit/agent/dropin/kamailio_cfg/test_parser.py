"""Reading a native kamailio.cfg: its modules, settings and routes; no text makes it raise."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whence.agent.dropin.kamailio_cfg.lexer import SIZE_LIMIT
from whence.agent.dropin.kamailio_cfg.model import Cfg
from whence.agent.dropin.kamailio_cfg.parser import read

DEBIANS = Path("/etc/kamailio/kamailio.cfg")
EXAMPLES = Path("/usr/share/doc/kamailio/examples")


def cfg(folder: Path, text: str, **others: str) -> Cfg:
    for name, other in others.items():
        (folder / f"{name}.cfg").write_text(other)
    file = folder / "kamailio.cfg"
    file.write_text(text)
    return read(file)


# Modules and parameters


def test_read_debians_own_file_has_no_faults() -> None:
    read_ = read(DEBIANS)
    assert read_.faults == []
    assert {"tm", "sl", "rr", "pv", "usrloc", "registrar", "acc"} <= read_.modules.keys()
    assert "auth_db" not in read_.modules  # WITH_AUTH is not defined
    assert [b.name for b in read_.blocks if b.kind == "route"][:3] == [
        "RELAY",
        "REQINIT",
        "WITHINDLG",
    ]
    extra = read_.param("acc", "log_extra")
    assert extra is not None
    assert extra.value.startswith("src_user=$fU;") and extra.value.endswith("dst_domain=$rd")
    lines = DEBIANS.read_text().splitlines()
    assert not any(
        line.startswith(("loadmodule", "modparam")) for line in lines[read_.after_modules :]
    )
    assert lines[read_.after_modules - 1] == "#!endif"  # of a condition that does not hold


@pytest.mark.parametrize(
    "defines", [(), ("WITH_AUTH", "WITH_MYSQL"), ("WITH_NAT", "WITH_RTPENGINE", "WITH_DEBUG")]
)
def test_modules_are_those_that_kamailio_loads(defines: tuple[str, ...]) -> None:
    words = [word for define in defines for word in ("-A", define)]
    argv = ["kamailio", "--cfg-print", "-f", str(DEBIANS), *words]
    printed = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    lines = [line.split('"')[1] for line in printed.splitlines() if line.startswith("loadmodule")]
    assert len(lines) > 15
    ours = read(DEBIANS, dict.fromkeys(defines, ""))
    assert list(ours.modules) == [line.removesuffix(".so") for line in lines]


@pytest.mark.skipif(not EXAMPLES.exists(), reason="Debian 13's kamailio has no examples in it")
def test_read_examples_of_kamailio_without_faults() -> None:
    found = [read(file) for file in sorted(EXAMPLES.rglob("*.cfg"))]
    assert len(found) > 15
    assert sum(len(one.modules) for one in found) > 300
    braces = [
        fault for one in found for fault in one.faults if "quote" in fault or "brace" in fault
    ]
    assert braces == []


def test_module_name_has_no_path_or_suffix(tmp_path: Path) -> None:
    read_ = cfg(
        tmp_path,
        'loadmodule "tm"\nloadmodule "/usr/lib/kamailio/modules/uac.so"\n'
        'loadmodule \'pv.so\'\nloadmodulex "db_mysql" "g=1"\n',
    )
    assert list(read_.modules) == ["tm", "uac", "pv", "db_mysql"]


def test_param_of_several_modules_is_set_in_each(tmp_path: Path) -> None:
    read_ = cfg(tmp_path, 'modparam("nathelper|registrar", "received_avp", "$avp(R)")')
    values = [read_.param(module, "received_avp") for module in ("nathelper", "registrar")]
    assert [value and value.value for value in values] == ["$avp(R)", "$avp(R)"]


def test_param_set_twice_has_the_last_value(tmp_path: Path) -> None:
    read_ = cfg(tmp_path, 'modparam("uac","reg_x",1)\nmodparam( "uac" , "reg_x" , -2 )')
    found = read_.param("uac", "reg_x")
    assert found is not None
    assert (found.value, found.place.line) == ("-2", 2)


# Comments, strings, variables


@pytest.mark.parametrize(
    "text",
    [
        '# loadmodule "uac"',
        '// loadmodule "uac"',
        '/* loadmodule "uac"\n loadmodule "uac" */',
        '## !ifdef\n##!define X\n#loadmodule "uac"',
        'debug="loadmodule \\"uac\\""',
        "debug='loadmodule \"uac\"'",
    ],
)
def test_read_ignores_comments_and_strings(tmp_path: Path, text: str) -> None:
    read_ = cfg(tmp_path, f'{text}\nloadmodule "tm"\n')
    assert (list(read_.modules), read_.faults) == (["tm"], [])


def test_variable_with_slashes_is_no_comment(tmp_path: Path) -> None:
    text = "route[A] {\n $ru = $(ru{re.subst,/;t=[a-z]*//g});\n}\nroute[B] { exit; }\n"
    read_ = cfg(tmp_path, text)
    assert ([b.name for b in read_.blocks], read_.faults) == (["A", "B"], [])


# The preprocessor


def test_condition_reads_only_its_true_branch(tmp_path: Path) -> None:
    read_ = cfg(
        tmp_path,
        """#!define A
#!ifdef A
loadmodule "a1"
#!ifndef B
loadmodule "a2"
#!else
loadmodule "a3"
#!endif
#!else
loadmodule "a4"
#!ifdef A
loadmodule "a5"
#!endif
#!endif
!!ifdef B
loadmodule "b"
!!endif
""",
    )
    assert (list(read_.modules), read_.faults) == (["a1", "a2"], [])


def test_ifexp_reads_both_branches(tmp_path: Path) -> None:
    read_ = cfg(
        tmp_path, '#!ifexp KAMAILIO_VERSION > 5\nloadmodule "a"\n#!else\nloadmodule "b"\n#!endif\n'
    )
    assert list(read_.modules) == ["a", "b"]


def test_defines_are_replaced_by_their_value(tmp_path: Path) -> None:
    read_ = cfg(
        tmp_path,
        """#!define INTERVAL 10
#!trydef INTERVAL 20
#!define HOST "192.0.2.1:" \\
    "5060"
#!substdef "!MY_IP!192.0.2.7!g"
#!substdefs "!MY_NAME!edge!g"
listen=udp:MY_IP:5060 advertise MY_IP:5080
modparam("uac", "reg_timer_interval", INTERVAL)
modparam("uac", "reg_contact_addr", HOST)
modparam("uac", "default_socket", "udp:MY_IP:5060")
modparam("uac", "x", MY_NAME)
#!redef INTERVAL 30
modparam("uac", "reg_retry_interval", INTERVAL)
""",
    )
    assert {p.name: p.value for p in read_.params} == {
        "reg_timer_interval": "10",
        "reg_contact_addr": "192.0.2.1:5060",
        "default_socket": "udp:192.0.2.7:5060",
        "x": "edge",
        "reg_retry_interval": "30",
    }
    (listen,) = read_.settings
    assert (listen.name, listen.value) == ("listen", "udp:192.0.2.7:5060")
    assert listen.advertise == "192.0.2.7:5080"
    assert read_.setting("listen") == (listen.value, listen.place)


def test_listen_and_alias_may_have_several_values(tmp_path: Path) -> None:
    text = (
        'listen=udp:192.0.2.7:5060 tcp:192.0.2.7:5060 name "wan"\nalias=a.example b.example:5061\n'
    )
    read_ = cfg(tmp_path, text + 'alias="c.example" alias="d.example:5060"\nchildren=4\n')
    assert [(one.name, one.value, one.is_string) for one in read_.settings] == [
        ("listen", "udp:192.0.2.7:5060", False),
        ("listen", "tcp:192.0.2.7:5060", False),
        ("alias", "a.example", False),
        ("alias", "b.example:5061", False),
        ("alias", "c.example", True),
        ("alias", "d.example:5060", True),
        ("children", "4", False),
    ]


def test_defenv_is_defined_without_a_value(tmp_path: Path) -> None:
    read_ = cfg(tmp_path, '#!defenv HOST\n#!ifdef HOST\nloadmodule "a"\n#!endif\n')
    assert list(read_.modules) == ["a"]


# Includes


def test_includes_are_read_at_their_place(tmp_path: Path) -> None:
    read_ = cfg(
        tmp_path,
        'loadmodule "a"\ninclude_file "b.cfg"\nimport_file "nowhere.cfg"\n#!import_file "c.cfg"\n'
        "route { exit; }\n",
        b='#!define SEEN\nloadmodule "b"\nmodparam("b", "x", 1)\n',
        c='#!ifdef SEEN\nloadmodule "c"\n#!endif\n',
    )
    assert (list(read_.modules), read_.faults) == (["a", "b", "c"], [])
    assert str(read_.modules["b"]) == "b.cfg: line 2"
    assert read_.after_modules == 4  # the include of c.cfg


def test_include_of_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    read_ = cfg(tmp_path, 'include_file "b.cfg"\nloadmodule "a"\n')
    assert list(read_.modules) == ["a"]
    assert read_.faults == [
        f"kamailio.cfg: line 1: {tmp_path}/b.cfg: cannot be read: No such file or directory"
    ]


@pytest.mark.parametrize("other", ['include_file "kamailio.cfg"', 'include_file "./b.cfg"'])
def test_include_of_itself_is_a_fault(tmp_path: Path, other: str) -> None:
    read_ = cfg(tmp_path, 'include_file "b.cfg"\nloadmodule "a"\n', b=other + "\n")
    assert list(read_.modules) == ["a"]
    assert len(read_.faults) == 1
    assert "includes itself" in read_.faults[0]


def test_include_repeated_often_is_read_to_a_limit(tmp_path: Path) -> None:
    body = "route { " + "a = 1; " * 10_000 + "}\n"
    read_ = cfg(tmp_path, 'include_file "b.cfg"\n' * 1000, b=body)
    assert any("larger than" in fault or "too long" in fault for fault in read_.faults)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev", "x\\0y"])
def test_include_of_a_device_or_folder_is_a_fault(tmp_path: Path, path: str) -> None:
    read_ = cfg(tmp_path, f'include_file "{path}"\nloadmodule "a"\n')
    assert list(read_.modules) == ["a"]
    assert len(read_.faults) == 1


# Blocks


def test_blocks_have_a_kind_a_name_and_a_body(tmp_path: Path) -> None:
    read_ = cfg(
        tmp_path,
        """route {
    if (is_method("INVITE")) { route(AUTH); }
    route("B");
}
route[AUTH] { auth_check("$fd", "subscriber", "1"); route(C); }
route[C] { route(AUTH); }
event_route[tm:local-request] { xlog("}"); }
reply_route { drop; }
onreply_route[MANAGE_REPLY] { exit; }
""",
    )
    assert [(b.kind, b.name) for b in read_.blocks] == [
        ("request_route", ""),
        ("route", "AUTH"),
        ("route", "C"),
        ("event_route", "tm:local-request"),
        ("onreply_route", ""),
        ("onreply_route", "MANAGE_REPLY"),
    ]
    main = read_.block("request_route")
    assert main is not None
    assert [(place.line, name) for place, name in main.calls("route")] == [(2, "AUTH"), (3, "B")]
    assert [b.name for b in read_.within(main)] == ["", "AUTH", "C"]


# Any text


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *[
                    "#!ifdef A\n",
                    "#!else\n",
                    "#!endif\n",
                    "#!define A B\n",
                    "#!define B A A\n",
                    "A ",
                ],
                *["#!substdef '!A!B!g'\n", "#!ifexp\n", "loadmodule ", "modparam(", ")", '"', "'"],
                *['"x"', ",", "route", "[", "]", "{", "}", "=", "\n", "\\", "/*", "*/", "//", "$("],
                *[
                    'include_file "kamailio.cfg"\n',
                    "include_file",
                    "listen",
                    "\x00",
                    "\x80",
                    "é",
                    ";",
                ],
            ]
        )
        | st.text(max_size=5),
        max_size=40,
    )
)
def test_read_any_text_raises_nothing(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any" / "kamailio.cfg"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes("".join(pieces).encode("utf-8", "surrogatepass"))
    found = read(file)
    assert found.after_modules <= "".join(pieces).count("\n") + 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "#!define a0 x\n"
            + "".join(f"#!define a{i} {f'a{i - 1} ' * 9}\n" for i in range(1, 60))
            + "a59",
            id="defines",
        ),
        pytest.param('#!subst "' + "!" * 100_000, id="substitution"),
        pytest.param("$(" * 200_000, id="variables"),
        pytest.param("{" * 400_000, id="braces"),
        pytest.param('"' + "\\" * 1_000_000, id="escapes"),
        pytest.param("#!ifdef X\n" * 100_000, id="conditions"),
        pytest.param("#!define X " + "\\\n" * 100_000, id="continued"),
        pytest.param("route[a] { route(a); } " * 20_000, id="routes"),
        pytest.param(" " * 3_000_000, id="spaces"),
        pytest.param("x" * (SIZE_LIMIT + 1), id="long"),
    ],
)
def test_read_long_text_stays_fast(tmp_path: Path, text: str) -> None:
    start = time.process_time()
    read_ = cfg(tmp_path, text)
    if (main := read_.block("route", name="a")) is not None:
        assert len(read_.within(main)) == 1
    assert time.process_time() - start < 20
