"""Convert the keys for users' calls into values of the core, and find faults between tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from whence.agent.config.dial_plan import canonical, dial_plan
from whence.agent.config.models import Config
from whence.agent.config.outbound import LimitsConfig, RouteConfig
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.core.outbound.model import (
    ContactForm,
    Emergency,
    FromUser,
    Limits,
    NumberHeader,
    OutboundSettings,
    OutboundTrunk,
    OutboundUser,
    Route,
    Routing,
)
from whence.core.outbound.numbers import NumberFormat
from whence.core.sip.phone_number import PREFIX_END, bare, owns
from whence.core.sip.uri import Uri


def outbound_settings(config: Config) -> OutboundSettings:
    """Return all rules for users' calls, of a file without faults."""
    code = config.edge.country
    users = tuple(_user(user, code) for user in config.user)
    if not config.calls_out:  # a hundred thousand trunks need no second form
        return OutboundSettings(users=users)
    outbound = config.outbound
    emergency = Emergency(frozenset(outbound.emergency_numbers), tuple(outbound.emergency_trunks))
    return OutboundSettings(
        Routing(tuple(map(_route, config.route)), emergency, dial_plan(code)),
        users,
        tuple(_trunk(trunk, config.country_code_of(trunk)) for trunk in config.trunk),
        is_used=True,
    )


def outbound_faults(config: Config) -> Iterator[str]:
    """Yield the faults between the tables for users' calls, each with its place."""
    trunks = {trunk.id: trunk for trunk in config.trunk}
    users = {user.name: user for user in config.user}
    for place, ids in _lists_of_trunks(config):
        for id_ in ids:
            if id_ not in trunks:
                yield f'{place}: has no trunk "{id_}"; add [[trunk]] with id = "{id_}"'
    for user in config.user:
        for fault in _numbers_of(user, config, trunks):
            yield f'user "{user.name}": {fault}'
    for index, route in enumerate(config.route, 1):
        for name in route.users:
            if fault := _user_of_route(name, users, route):
                yield f"route number {index}: users: {fault}"
    callers = [user.name for user in config.user if user.trunks]
    if callers and not config.edge.country:
        yield (
            f'edge: country: is empty, but user "{callers[0]}" has trunks; write country = "44", '
            "so that the edge can read the numbers that users dial"
        )
    yield from _prefixes(config)
    for trunk in config.trunk:
        if trunk.outbound.number_format == "national" and not config.country_code_of(trunk):
            yield (
                f'trunk "{trunk.id}": outbound: number_format: "national" needs a country; write '
                'country = "44" in [[trunk]] or in [edge]'
            )


def _prefixes(config: Config) -> Iterator[str]:
    """Yield the faults of prefixes in national form: canonical numbers do not begin so."""
    places = [(f"route number {i}: prefix", [r.prefix]) for i, r in enumerate(config.route, 1)]
    places += [(f'user "{u.name}": limits: prefixes', u.limits.prefixes) for u in config.user]
    places += [
        (f'trunk "{t.id}": outbound: limits: prefixes', t.outbound.limits.prefixes)
        for t in config.trunk
    ]
    if not any(text for _, prefixes in places for text in prefixes):
        return  # the library for numbers takes long to import
    style = dial_plan(config.edge.country).style
    for place, prefixes in places:
        for text in prefixes:
            if style.trunk_prefix and text.startswith(style.trunk_prefix):
                right = f"+{style.code}{text.removeprefix(style.trunk_prefix)}"
                yield (
                    f'{place}: "{text}" begins no number: numbers of {style.code} are compared '
                    f'with their country code; write "{right}"'
                )


def _lists_of_trunks(config: Config) -> Iterator[tuple[str, list[str]]]:
    yield "outbound: emergency_trunks", config.outbound.emergency_trunks
    for user in config.user:
        yield f'user "{user.name}": trunks', user.trunks
    for index, route in enumerate(config.route, 1):
        yield f"route number {index}: trunks", route.trunks


def _numbers_of(user: UserConfig, config: Config, trunks: dict[str, TrunkConfig]) -> Iterator[str]:
    """Yield the faults of the numbers that a user may show."""
    keys = [("caller_number", user.caller_number)] if user.caller_number else []
    keys += [(f"caller_numbers[{i}]", text) for i, text in enumerate(user.caller_numbers)]
    for key, text in keys:
        if key == "caller_number" and text.endswith(PREFIX_END):
            yield f'{key}: "{text}" is a prefix; write one number, and the prefix in caller_numbers'
            continue
        try:
            number = canonical(text, config.edge.country)
        except ValueError as error:
            yield f"{key}: {error}"
            continue
        own = [trunks[id_] for id_ in user.trunks if id_ in trunks]
        if own and not any(_may_show(trunk, number, config) for trunk in own):
            yield (
                f'{key}: "{text}" is a number of none of its trunks; add it to the numbers of one'
            )


def _may_show(trunk: TrunkConfig, number: str, config: Config) -> bool:
    """Return whether a trunk may show a canonical number or prefix: it has it, or has no number."""
    numbers = _numbers(trunk, config.country_code_of(trunk))
    digits = number.removesuffix(PREFIX_END)
    return not numbers or any(
        owns(one, digits) or (number != digits and one.startswith(digits)) for one in numbers
    )


def _user_of_route(name: str, users: dict[str, UserConfig], route: RouteConfig) -> str:
    """Return the fault of a user that a route names; empty without one."""
    user = users.get(name)
    if user is None:
        return f'has no user "{name}"; add [[user]] with name = "{name}"'
    if route.trunks and not set(route.trunks) & set(user.trunks):
        return f'"{name}" has none of its trunks; add one to trunks of [[user]]'
    return ""


def _user(user: UserConfig, code: str) -> OutboundUser:
    return OutboundUser(
        user.name,
        tuple(user.trunks),
        canonical(user.caller_number, code) if user.caller_number else "",
        tuple(canonical(number, code) for number in user.caller_numbers),
        user.anonymous,
        _limits(user.limits),
    )


def _trunk(trunk: TrunkConfig, code: str) -> OutboundTrunk:
    account = Uri.parse(trunk.aor)
    outbound = trunk.outbound
    header = outbound.number_header
    return OutboundTrunk(
        trunk.id,
        trunk.aor_user,
        account.host if account is not None else "",
        trunk.request_port,
        _numbers(trunk, code),
        dial_plan(code),
        NumberFormat(outbound.number_format),
        FromUser(outbound.from_user),
        NumberHeader(header),
        outbound.diversion,
        ContactForm(outbound.contact),
        _limits(outbound.limits),
    )


def _numbers(trunk: TrunkConfig, code: str) -> tuple[str, ...]:
    """Return a trunk's numbers in canonical form; one without country stays as it is."""
    found = []
    for text in trunk.numbers:
        try:
            found.append(canonical(text, code))
        except ValueError:
            star = PREFIX_END if text.endswith(PREFIX_END) else ""
            found.append((bare(text.removesuffix(PREFIX_END)) or "") + star)
    return tuple(found)


def _route(route: RouteConfig) -> Route:
    pattern = re.compile(route.regex, re.ASCII) if route.regex else None
    return Route(tuple(route.trunks), route.prefix, pattern, frozenset(route.users), route.try_s)


def _limits(limits: LimitsConfig) -> Limits:
    return Limits(
        limits.concurrent_calls,
        limits.calls_per_minute,
        prefixes=tuple(limits.prefixes),
    )
