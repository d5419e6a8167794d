"""Kamailio with its native configuration language: the known recipe, and a bare relay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.contest import Contestant
from bench.stage import Stage, phone
from testkit.network import SIP_PORT, udp_bound
from testkit.process import Process
from testkit.sip import Address, Endpoint, reply, request
from testkit.sipp import Caller
from testkit.wait import eventually

HERE = Path(__file__).parent
DEBIAN_MEMORY = ("-m", "64", "-M", "8")  # kamailio.service of the package; no -x, so qm
TLSF = ("-x", "tlsf", "-X", "tlsf")
ONE_WORKER = ("-n", "1")
USER = "alice"
LISTENS_WITHIN_S = 60


@contextmanager
def recipe_as_debian(stage: Stage) -> Iterator[Contestant]:
    """Run the known recipe with the arguments of Debian's systemd unit."""
    with _recipe(stage, "recipe_debian", "recipe as Debian", ()) as contestant:
        yield contestant


@contextmanager
def recipe_tlsf(stage: Stage, more: Sequence[str] = ()) -> Iterator[Contestant]:
    """Run the recipe with Whence's allocator, so that only the routing differs."""
    with _recipe(stage, "recipe_tlsf", "recipe with tlsf", (*TLSF, *more)) as contestant:
        yield contestant


@contextmanager
def relay(stage: Stage, more: Sequence[str] = ()) -> Iterator[Contestant]:
    """Run a bare relay with tlsf: the least that any relay costs."""
    phone_ip = stage.network.ip("phone of relay")
    to_phone = ("-A", f'PHONE="sip:{phone_ip}:{SIP_PORT}"')
    with (
        kamailio(stage, "relay", "bare relay", (*to_phone, *TLSF, *more)) as (contestant, home),
        phone(phone_ip, home),
    ):
        yield contestant


@contextmanager
def _recipe(stage: Stage, key: str, title: str, options: Sequence[str]) -> Iterator[Contestant]:
    phone_ip = stage.network.ip(f"phone of {key}")
    with kamailio(stage, key, title, options, config="recipe") as (contestant, home):
        edge = contestant.edge
        with Endpoint(phone_ip, SIP_PORT) as ours:
            answer = ours.register(edge, USER, "", edge[0])
            assert answer.status == 200, f"{title} did not register a phone:\n{answer}"
        teach(edge, stage.caller_ip)
        with phone(phone_ip, home):
            yield contestant


def teach(edge: Address, ip: str) -> None:
    """Let the recipe admit calls from *ip*, for the user.

    One datagram from any source is enough, without a request. That is the first fault in
    docs/drop-in.md. The recipe also gives all calls from there to one account, so it needs no
    decision. That is the second fault.
    """
    with Endpoint(ip) as unknown_source:
        never_sent = request("REGISTER", f"sip:{ip}", edge)
        contact = ("Contact", f"<sip:{USER}@{edge[0]}:{edge[1]}>")
        unknown_source.send(reply(never_sent, 200, headers=[contact]), edge)


@contextmanager
def kamailio(
    stage: Stage, key: str, title: str, options: Sequence[str], *, config: str = ""
) -> Iterator[tuple[Contestant, Path]]:
    """Run it in the foreground with the arguments of Debian's unit and the *options*."""
    edge = (stage.network.ip(key), SIP_PORT)
    home = stage.directory / key
    home.mkdir()
    argv = [
        *("kamailio", "-DD", "-f", str(HERE / f"{config or key}.cfg"), "-Y", str(home)),
        *("-A", f"LISTEN=udp:{edge[0]}:{edge[1]}", *DEBIAN_MEMORY, *options),
    ]
    with (
        Process(key, argv, home / "kamailio.log") as process,
        Caller(stage.caller_ip, edge, home, port=SIP_PORT + 1) as caller,
    ):

        def listens() -> bool:
            if not process.running:
                raise ChildProcessError(f"{title} ended; its log:\n{process.log}")
            return udp_bound(*edge)

        eventually(listens, LISTENS_WITHIN_S, f"{title} listens")
        make_calls = partial(caller.load, stage.called(edge))
        yield Contestant(key, title, process, edge, make_calls), home
