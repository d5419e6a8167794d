"""Whence as an operator runs it, with its trunks registered at real registrars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.contest import Contestant
from bench.stage import Stage, phone
from testkit.network import SIP_PORT
from testkit.provider import Provider
from testkit.sip import Endpoint
from testkit.sipp import Caller
from testkit.wait import eventually
from testkit.whence import Whence, trunk

KEY = "whence"
USER = "alice"
REGISTERED_WITHIN_S = 120


@contextmanager
def whence(stage: Stage) -> Iterator[Contestant]:
    """Run Whence with all trunks of the stage, whose target is alice."""
    home = stage.directory / KEY
    home.mkdir()
    with ExitStack() as stack:
        providers = [stack.enter_context(provider(stage, n, home)) for n in range(stage.providers)]
        edge = Whence(stage.network, home, name=KEY, users=[USER])
        edge.edit(trunks=[_trunk(stage, n, providers, edge.domain) for n in range(stage.trunks)])
        stack.enter_context(edge)
        edge.start()
        assert edge.process
        eventually(lambda: _all_registered(edge), REGISTERED_WITHIN_S, "all trunks registered")

        phone_ip = stage.network.ip(f"phone of {KEY}")
        with Endpoint(phone_ip, SIP_PORT) as ours:
            answer = ours.register(edge.address, USER, edge.password(USER), edge.domain)
            assert answer.status == 200, f"Whence did not register a phone:\n{answer}"
        stack.enter_context(phone(phone_ip, home))
        caller = Caller(stage.caller_ip, edge.address, home, port=SIP_PORT + 1)
        stack.enter_context(caller)
        make_calls = partial(caller.load, stage.called(edge.address))
        yield Contestant(KEY, "Whence", edge.process, edge.address, make_calls)


def provider(stage: Stage, number: int, home: Path, port: int = SIP_PORT) -> Provider:
    """Start a registrar without a challenge, whose cost is not measured here."""
    accounts = {
        account(trunk): "unused"
        for trunk in range(stage.trunks)
        if stage.provider_of(trunk) == number
    }
    name = f"provider-{number}"
    ip = stage.provider_ip(number)
    return Provider(ip, home, accounts=accounts, name=name, challenge=False, port=port)


def _trunk(
    stage: Stage, number: int, providers: list[Provider], domain: str
) -> Mapping[str, object]:
    provider = providers[stage.provider_of(number)]
    target = f"sip:{USER}@{domain}"
    return trunk(f"trunk-{number}", provider, account(number), target, [stage.number(number)])


def account(trunk: int) -> str:
    """Return the user of a trunk's account, both counted from 0."""
    return f"account-{trunk}"


def _all_registered(edge: Whence) -> bool:
    return all(one["state"] == "registered" for one in edge.get("/v1/trunks"))
