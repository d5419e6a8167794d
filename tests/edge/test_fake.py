"""The fake refuses what the real Kamailio refuses, and the edge's handlers live with that."""

from collections.abc import Callable

import pytest

from tests.contract.fake.kamailio import FakeKamailio, Sent
from tests.contract.fake.ksr import FakeKsr
from tests.rig.sip import Message, request
from whence.edge.route import Edge, answers, survives

SOCKET, STRANGER = ("192.0.2.1", 5060), ("192.0.2.7", 5060)


class Handlers:
    """One request route."""

    def __init__(self, ksr: FakeKsr, returns: object = 1) -> None:
        self.ksr = ksr
        self.returns = returns

    def ksr_request_route(self, message: object) -> object:
        self.ksr.sl.send_reply(200, "OK")
        return self.returns


def made(returns: object = 1) -> tuple[FakeKamailio, FakeKsr, Handlers]:
    kamailio = FakeKamailio([SOCKET], ["edge.example"], "")
    ksr = FakeKsr(kamailio)
    handlers = Handlers(ksr, returns)
    kamailio.load(handlers)
    return kamailio, ksr, handlers


def ask(kamailio: FakeKamailio, **parts: object) -> list[Sent]:
    message = request("OPTIONS", "sip:edge.example", STRANGER, **parts)  # type: ignore[arg-type]
    return kamailio.receive(bytes(message), STRANGER, SOCKET)


def test_it_answers_where_the_request_came_from() -> None:
    kamailio, _, _ = made()
    (sent,) = ask(kamailio)
    assert (sent.to, sent.socket) == (STRANGER, SOCKET)
    assert Message.parse(sent.data).status == 200


@pytest.mark.parametrize("returns", [None, "1", 1.0])
def test_a_handler_that_returns_no_int_breaks_the_next_message(returns: object) -> None:
    kamailio, _, handlers = made(returns)
    assert ask(kamailio)
    handlers.returns = 1
    assert not ask(kamailio)
    assert ask(kamailio)


def test_a_handler_that_is_not_there_answers_nothing() -> None:
    kamailio, _, _ = made()
    kamailio.load(object())
    assert not ask(kamailio)


def wrong_calls(ksr: FakeKsr) -> dict[str, Callable[[], object]]:
    """Calls that Kamailio refuses; not typed, as what the edge's authors write is before mypy."""
    untyped: dict[str, Callable[..., object]] = {
        "reply": ksr.sl.send_reply,
        "relay": ksr.tm.t_relay,
        "get": ksr.hdr.get,
        "seturi": ksr.seturi,
    }
    return {
        "too few": lambda: untyped["reply"](200),
        "too many": lambda: untyped["relay"]("location"),
        "a wrong type": lambda: untyped["reply"]("200", "OK"),
        "None": lambda: untyped["get"](None),
        "bytes": lambda: untyped["seturi"](b"sip:a@b"),
        "a NUL": lambda: untyped["seturi"]("sip:a\0@b"),
        "half a character": lambda: untyped["seturi"]("sip:\udcff@b"),
    }


@pytest.mark.parametrize("which", wrong_calls(made()[1]))
def test_wrong_arguments_raise_system_error(which: str) -> None:
    with pytest.raises(SystemError):
        wrong_calls(made()[1])[which]()


def test_bytes_that_are_not_utf8_raise_when_they_are_read() -> None:
    kamailio, ksr, _ = made()
    ask(kamailio, headers=[("Subject", "\udcff")])
    with pytest.raises(UnicodeDecodeError):
        ksr.hdr.get("Subject")


def test_what_it_does_not_model_it_refuses() -> None:
    kamailio, ksr, _ = made()
    ask(kamailio)
    refused: list[Callable[[], object]] = [
        lambda: ksr.pv.get("$xyz"),
        lambda: ksr.pv.sets("$xyz", "1"),
        lambda: ksr.tm.t_on_reply("no_such_route"),
        lambda: ksr.hdr.append("no header line"),
    ]
    for call in refused:
        with pytest.raises(NotImplementedError):
            call()


class Faulty:
    """Just as much of an Edge as the decorators need."""

    def __init__(self, ksr: FakeKsr) -> None:
        self.ksr = ksr

    def ksr_request_route(self, message: object) -> int:
        return answers(_fails)(self, message)  # type: ignore[arg-type]

    def ksr_reply(self, message: object) -> int:
        return survives(_fails)(self, message)  # type: ignore[arg-type]


def _fails(edge: Edge, message: object) -> None:
    raise RuntimeError("of\ntwo lines" + "!" * 1000)


def test_a_route_that_raises_answers_500_writes_one_line_and_returns_1() -> None:
    kamailio, ksr, _ = made()
    kamailio.load(Faulty(ksr))
    for _ in range(2):
        (sent,) = ask(kamailio)
        assert Message.parse(sent.data).start_line == "SIP/2.0 500 Server Internal Error"
    assert len(kamailio.log) == 2
    (line,) = set(kamailio.log)
    assert line.startswith("whence: _fails: RuntimeError: of two lines!")
    assert len(line) < 400
    assert line.count("\n") == 1


def test_a_reply_route_that_raises_lets_the_reply_pass() -> None:
    _, ksr, _ = made()
    assert Faulty(ksr).ksr_reply(object()) == 1


def test_every_handler_of_the_edge_returns_an_int() -> None:
    handlers = [name for name in vars(Edge) if name.startswith("ksr_")]
    assert handlers
    for name in handlers:
        assert getattr(Edge, name).__wrapped__, f"{name} wears no decorator"
