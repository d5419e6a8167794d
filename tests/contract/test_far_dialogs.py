"""Kamailio itself checks dialogs whose parties are reached by other Contacts and by proxies."""

import re
from collections.abc import Callable, Iterator

import pytest

from testkit.sip import Endpoint, Message, place, reply
from tests.contract import handler_trace
from tests.contract.call import is_method
from tests.contract.far_calls import FORMS, NEAR, FarCall, Form, Party, answered, call, invite_of
from tests.contract.public_world import public_world
from tests.contract.scene import Scene
from tests.contract.world import World

FAR = FORMS["two proxies"]

OWN = "<sip:[^;]*;lr;whence=b[0-9a-f]*>"
"""Our Record-Route without a second MAC of Kamailio."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("far")
    with public_world(folder, parameters=handler_trace.parameters(folder)) as world:
        yield world


@pytest.fixture(scope="module")
def plain_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Kamailio in which Python alone has all dialogs."""
    with public_world(tmp_path_factory.mktemp("python"), simple_dialogs=False) as world:
        yield world


@pytest.fixture
def plain(plain_world: World) -> Iterator[Scene]:
    with Scene(plain_world) as scene:
        yield scene


def parties(scene: Scene) -> tuple[Party, Party]:
    """Return a trunk's machines, and those of the PBX that is its target.

    A phone would be reached at its source, if its Contact has another ip.
    """
    pbx = scene.endpoint("pbx")
    trunk = scene.trunk(f"sip:a@{place(pbx.address)}")
    return Party.of(scene, trunk.at), Party.of(scene, pbx)


def passes(scene: Scene, made: FarCall, ask: Message, sender: Party) -> Message:
    """Send a request of a dialog, answer it, and return it as it arrived."""
    sender.at.send(ask, scene.edge)
    hop = made.hop(sender)
    arrived = hop.expect(is_method(ask.method))
    hop.send(reply(arrived, 200), scene.edge)
    assert sender.at.expect(lambda m: m.status >= 200 and m["CSeq"] == ask["CSeq"]).status == 200
    return arrived


@pytest.mark.parametrize("of_callee", FORMS)
@pytest.mark.parametrize("of_caller", ["near", *FORMS])
def test_far_call_needs_no_python_but_for_looks(
    scene: Scene, of_caller: str, of_callee: str
) -> None:
    caller, callee = parties(scene)
    scene.await_edge()
    since = len(scene.world.process.log)
    made = call(scene, caller, callee, (FORMS.get(of_caller, NEAR), FORMS[of_callee]))
    ask = made.from_callee("BYE")
    arrived = passes(scene, made, ask, callee)
    assert arrived.all("Route") == FORMS.get(of_caller, NEAR).routes(caller.places)
    assert arrived.request_uri == ask.request_uri
    called = set(handler_trace.called(scene.world, since))
    assert called - {"ksr_look_out"} == {"ksr_look", "ksr_initial", "ksr_reply"}


@pytest.mark.parametrize("form", FORMS)
def test_bye_of_a_caller_reaches_a_far_callee(scene: Scene, form: str) -> None:
    caller, callee = parties(scene)
    made = call(scene, caller, callee, (FORMS[form], FORMS[form]))
    since = len(scene.world.process.log)
    arrived = passes(scene, made, made.from_caller("BYE"), caller)
    assert arrived.all("Route") == FORMS[form].routes(callee.places)
    assert set(handler_trace.called(scene.world, since)) - {"ksr_look_out"} == {
        "ksr_look",
        "ksr_reply",
    }
    for method in ("BYE", "INFO"):
        assert caller.at.ask(made.from_caller(method, 3), scene.edge).status == 481
        assert callee.at.ask(made.from_callee(method, 3), scene.edge).status == 481


@pytest.mark.parametrize("form", ["near", *FORMS])
def test_other_requests_of_a_far_dialog_pass(scene: Scene, form: str) -> None:
    caller, callee = parties(scene)
    made = call(scene, caller, callee, (FORMS.get(form, NEAR), FAR))
    for number, method in enumerate(("INFO", "UPDATE", "INVITE", "INFO", "BYE"), 2):
        by_caller = method != "BYE"
        ask = made.from_caller(method, number) if by_caller else made.from_callee(method, number)
        passes(scene, made, ask, caller if by_caller else callee)
        if method == "INVITE":
            caller.at.send(made.from_caller("ACK"), scene.edge)


# What Kamailio does with a request must be what Python does with it.

CHANGES: dict[str, Callable[[str, str], str]] = {
    "none": lambda text, _: text,
    "no Route": lambda text, _: re.sub("Route: .*\r\n", "", text),
    "our Route only": lambda text, _: re.sub(
        "(Route: .*whence.*\r\n)(Route: .*\r\n)*", "\\1", text
    ),
    "one Route less": lambda text, _: re.sub("Route: (?!.*whence).*\r\n", "", text, count=1),
    "another order": lambda text, _: re.sub(
        "(Route: (?!.*whence).*\r\n)(Route: .*\r\n)", "\\2\\1", text
    ),
    "ours last": lambda text, _: re.sub(
        "(Route: .*whence.*\r\n)((?:Route: .*\r\n)*)", "\\2\\1", text
    ),
    "a further Route": lambda text, victim: text.replace(
        "Content-L", f"Route: <sip:{victim};lr>\r\nContent-L"
    ),
    "a Route between": lambda text, victim: re.sub(
        "(Route: .*whence.*\r\n)", f"\\1Route: <sip:{victim};lr>\r\n", text
    ),
    "a Route in ours": lambda text, victim: re.sub(
        "(Route: .*whence.*)\r", f"\\1,<sip:{victim};lr>\r", text
    ),
    "all in one line": lambda text, _: re.sub("\r\nRoute: (?!.*whence)", ",", text),
    "all in one line, apart": lambda text, _: re.sub("\r\nRoute: (?!.*whence)", ", ", text),
    "another proxy": lambda text, victim: re.sub(
        "Route: <sip:[^;>]*(?=.*\r\n)(?!.*whence)", f"Route: <sip:{victim}", text
    ),
    "another form of lr": lambda text, _: text.replace(";lr>", ";lr=on>").replace(
        ";lr;", ";lr=on;"
    ),
    "a strict proxy": lambda text, _: re.sub("(Route: (?!.*whence).*);lr[^>]*>", "\\1>", text),
    "text that lr=on hides": lambda text, victim: re.sub(
        "(Route: <sip:)[^;>]*(?!.*whence)", f"\\g<1>{victim.replace(':', '=on:')}", text
    ),
    "another host": lambda text, victim: re.sub(" sip:.* SIP", f" sip:{victim} SIP", text, count=1),
    "another user": lambda text, _: re.sub(" sip:[^@ ]*@", " sip:another@", text, count=1),
    "maddr": lambda text, victim: text.replace(" SIP/2.0", f";maddr={victim} SIP/2.0", 1),
    "tcp": lambda text, _: text.replace(" SIP/2.0", ";transport=tcp SIP/2.0", 1),
    "another Call-ID": lambda text, _: text.replace("Call-ID: ", "Call-ID: x"),
    "a Call-ID with more": lambda text, victim: re.sub(
        "Call-ID: (.*)\r", f"Call-ID: \\1 {victim} sip:x@{victim} <x>\r", text
    ),
    "a shorter cookie": lambda text, _: re.sub("(whence=.*).>\r", "\\1>\r", text),
    "a longer cookie": lambda text, _: re.sub("(whence=.*)>\r", "\\1w>\r", text),
    "a parameter behind the cookie": lambda text, _: re.sub("(whence=.*)>\r", "\\1;x=y>\r", text),
}

WITHOUT_MAC: dict[str, Callable[[str, str], str]] = {
    "no second MAC": lambda text, _: re.sub("w[0-9a-f]{24}>", ">", text),
    "a spoilt second MAC": lambda text, _: re.sub("w[0-9a-f]{4}", "w0000", text),
    "a longer MAC": lambda text, _: re.sub("(w[0-9a-f]{24})", "\\g<1>0", text),
    "the MAC twice": lambda text, _: re.sub("(w[0-9a-f]{24})", "\\1\\1", text),
    "another kind": lambda text, _: re.sub("whence=[bc]([^w]*)w[0-9a-f]*", "whence=b\\1", text),
}
"""Changes of what only Kamailio's cookies have."""


def outcome(
    scene: Scene, line: tuple[Party, Party], change: str, *, by_callee: bool
) -> tuple[object, ...]:
    """Return what the sender and the machines of the receiver get, and the victim."""
    caller, callee = line
    made, victim = call(scene, caller, callee, (FAR, FAR)), scene.endpoint("victim")
    sender, receiver = (callee, caller) if by_callee else (caller, callee)
    ask = made.from_callee("BYE") if by_callee else made.from_caller("BYE")
    text = CHANGES[change](str(ask), place(victim.address))
    sender.at.send(text.encode(), scene.edge)
    arrived = {i: scene.came(one) for i, one in enumerate(receiver.machines())}
    answers = [m.status for m in scene.came(sender.at) if m.is_reply and m.method == "BYE"]
    assert scene.nothing_came(victim)
    return answers, {i: [shape(m) for m in some] for i, some in arrived.items()}


def shape(message: Message) -> tuple[object, ...]:
    """Return what two worlds have in common in a message."""
    hosts = re.compile(r"198\.\d+\.\d+\.(\d+):\d+")
    routes = [hosts.sub("host-\\1", one) for one in message.all("Route")]
    return message.method, hosts.sub("host-\\1", message.request_uri), routes


@pytest.mark.parametrize("change", CHANGES)
def test_kamailio_does_what_python_does(scene: Scene, plain: Scene, change: str) -> None:
    lines = {one: parties(one) for one in (plain, scene)}
    for by_callee in (False, True):
        expected, found = [
            outcome(one, line, change, by_callee=by_callee) for one, line in lines.items()
        ]
        assert found == expected


@pytest.mark.parametrize("change", WITHOUT_MAC)
def test_request_with_another_second_mac_is_refused(scene: Scene, change: str) -> None:
    caller, callee = parties(scene)
    made = call(scene, caller, callee, (FAR, FAR))
    for ask, sender in ((made.from_caller("BYE"), caller), (made.from_callee("BYE"), callee)):
        text = WITHOUT_MAC[change](str(ask), "")
        assert text != str(ask)
        assert sender.at.ask(Message.parse(text), scene.edge).status == 481
    assert scene.nothing_came(*caller.machines(), *callee.machines())


def test_third_party_sends_nothing_into_a_far_dialog(scene: Scene) -> None:
    caller, callee = parties(scene)
    made, third = call(scene, caller, callee, (FAR, FAR)), Party.of(scene, scene.endpoint())
    for ask in (made.from_caller("BYE"), made.from_callee("BYE")):
        assert third.at.ask(moved(ask, third.at), scene.edge).status == 481
    for one in (caller, callee):
        assert scene.nothing_came(*one.machines())


def moved(ask: Message, to: Endpoint) -> Message:
    """Return a request as another machine sends it."""
    via = re.sub(r"UDP [\d.:]+", f"UDP {place(to.address)}", ask["Via"])
    return Message(ask.start_line, tuple((n, via if n == "Via" else v) for n, v in ask.headers))


def test_cookie_of_another_far_call_opens_nothing(scene: Scene) -> None:
    caller, callee = parties(scene)
    one, other = (call(scene, caller, callee, (FAR, FAR)) for _ in range(2))
    for restarted in (False, True):
        if restarted:
            scene.world.restart()
        for ask, theirs, sender in (
            (one.from_caller("INFO"), other.from_caller("INFO"), caller),
            (one.from_callee("INFO"), other.from_callee("INFO"), callee),
            (one.from_caller("INFO"), one.from_callee("INFO"), caller),
            (one.from_callee("INFO"), one.from_caller("INFO"), callee),
        ):
            own, foreign = (re.findall("whence=(\\w+)", str(m))[0] for m in (ask, theirs))
            text = str(ask).replace(own, foreign)
            assert sender.at.ask(Message.parse(text), scene.edge).status == 481
    assert scene.nothing_came(*caller.machines()[1:], *callee.machines()[1:])


@pytest.mark.parametrize(
    "forms",
    [(FAR, NEAR), (NEAR, FAR), (FAR, FAR), (FORMS["contact"], FORMS["contact"])],
    ids=["caller", "callee", "both", "contacts"],
)
def test_far_dialog_goes_on_after_a_restart(scene: Scene, forms: tuple[Form, Form]) -> None:
    caller, callee = parties(scene)
    made, third = call(scene, caller, callee, forms), Party.of(scene, scene.endpoint())
    scene.world.restart()
    assert third.at.ask(moved(made.from_caller("INFO"), third.at), scene.edge).status == 481
    for ask, sender in ((made.from_caller("INFO"), caller), (made.from_callee("BYE"), callee)):
        if made.hop(sender) in (caller.at, callee.at):
            continue  # the first MAC alone covers the place of a near party
        for change in (CHANGES["one Route less"], CHANGES["another host"], *WITHOUT_MAC.values()):
            text = change(str(ask), place(third.at.address))
            if text != str(ask):
                assert sender.at.ask(Message.parse(text), scene.edge).status == 481
    for ask, sender in ((made.from_caller("INFO"), caller), (made.from_callee("BYE"), callee)):
        passes(scene, made, ask, sender)
    assert caller.at.ask(made.from_caller("BYE", 3), scene.edge).status == 481


def test_repeated_answer_has_the_same_cookie(scene: Scene) -> None:
    caller, callee = parties(scene)
    made = call(scene, caller, callee, (FAR, FAR))
    again = answered(scene, caller, callee, FAR, made.arrived)
    assert again.all("Record-Route") == made.answer.all("Record-Route")
    passes(scene, made, made.from_caller("BYE"), caller)


def test_late_answer_passes_after_a_restart(scene: Scene) -> None:
    caller, callee = parties(scene)
    made = call(scene, caller, callee, (FAR, FAR))
    scene.world.restart()
    again = answered(scene, caller, callee, FAR, made.arrived)
    assert len(again.all("Record-Route")) == len(made.answer.all("Record-Route"))


# Where no party may lead us.

FORBIDDEN = [
    "127.0.0.1:5070",
    "0.0.0.0:5070",
    "0.1.2.3:5070",
    "224.0.0.1:5070",
    "255.255.255.255:5070",
    "240.0.0.1",
    "{edge}",
    "{edge_ip}:5099",
    "{agent}",
    "198.018.9.9:5070",
    "never-answers.example",
    "{victim}0",
    "{victim}=on",
    "{victim_ip}:0",
    "{victim_ip}:05080",
    "{victim_ip}:65536",
    "{victim_ip}:",
]


@pytest.mark.parametrize("at", FORBIDDEN)
def test_party_leads_kamailio_to_no_forbidden_place(scene: Scene, at: str) -> None:
    caller, callee = parties(scene)
    victim = scene.endpoint("victim")
    there = at.format(
        edge=place(scene.edge),
        edge_ip=scene.edge[0],
        agent=place(scene.agent_socket),
        victim=place(victim.address),
        victim_ip=victim.address[0],
    )
    for form in (Form(f"<sip:a@{there}>"), Form("<sip:a@{contact}>", (f"<sip:{there};lr>",))):
        invite = invite_of(scene, caller, form)
        caller.at.send(invite, scene.edge)
        arrived = callee.at.expect(is_method("INVITE"))
        assert ";whence=a" in arrived["Record-Route"]
        answer = answered(scene, caller, callee, NEAR, arrived)
        made = FarCall(caller, callee, (form, NEAR), invite, arrived, answer)
        caller.at.send(made.from_caller("ACK"), scene.edge)
        assert callee.at.expect(is_method("ACK"))
        callee.at.send(made.from_callee("ACK"), scene.edge)
        made = call_answered_by(scene, caller, callee, form)
        assert re.fullmatch(OWN, made.answer.all("Record-Route")[-1])
    assert scene.nothing_came(victim)


def call_answered_by(scene: Scene, caller: Party, callee: Party, form: Form) -> FarCall:
    """Call a party of this form."""
    invite = invite_of(scene, caller, NEAR)
    caller.at.send(invite, scene.edge)
    arrived = callee.at.expect(is_method("INVITE"))
    answer = answered(scene, caller, callee, form, arrived)
    return FarCall(caller, callee, (NEAR, form), invite, arrived, answer)


@pytest.mark.parametrize(
    "proxy",
    [
        "<sip:{first};lr;transport=tcp>",
        "<sip:{first};lr;transport=udpx>",
        "<sip:{first};maddr=192.0.2.7;lr>",
        "<sips:{first};lr>",
        "<sip:x@{first};lr>",
        '"a" <sip:{first};lr>',
        "<sip:{first};lr>;x=y",
        "<sip:{first};lr>,",
        "<sip:{first};lr>,,<sip:{second};lr>",
        "<sip:{first};lr>, <sip:{second};lr>",
        "<sip:{first},x;lr>",
        "<sip:{first}?a=b>",
        "sip:{first};lr",
        "<sip:{first};lr;whence=a0>",
        "<sip:{first};lr>" + ",<sip:{second};lr>" * 8,
    ],
)
def test_python_begins_a_dialog_with_an_odd_proxy(scene: Scene, proxy: str) -> None:
    caller, callee = parties(scene)
    invite = invite_of(scene, caller, Form("<sip:a@{contact}>", (proxy,)))
    caller.at.send(invite, scene.edge)
    arrived = callee.at.expect(is_method("INVITE"))
    assert ";whence=a" in arrived["Record-Route"]
