"""Converts the parsed file into values of the core.

The parts of the agent after this step do not read pydantic models.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from whence.agent.config.models import Config
from whence.agent.config.outbound_to_core import outbound_settings
from whence.agent.config.trunk import TrunkConfig, UserConfig
from whence.core.identification.dns_siblings import SiblingSettings
from whence.core.outbound.model import OutboundTrunk, OutboundUser
from whence.core.settings import (
    NodeSettings,
    RegistrationSettings,
    TrunkSettings,
    UserSettings,
)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings file, in the form in which the agent keeps it."""

    config: Config
    """The tables, without trunks and users."""
    node: NodeSettings
    """The trunks and users. As values of the core they take half of the memory."""
    doubts: tuple[str, ...] = ()
    """A sentence for each doubt about a file."""

    @classmethod
    def of(cls, config: Config, doubts: Iterable[str] = ()) -> LoadedSettings:
        """Return the settings of a parsed file."""
        outbound = config.outbound.model_copy(update={"enabled": config.calls_out})
        return cls(
            config.model_copy(update={"trunk": [], "user": [], "outbound": outbound}),
            node_settings(config),
            tuple(doubts),
        )


def node_settings(config: Config) -> NodeSettings:
    """Return the trunks and users of a file, and how it registers the trunks."""
    calls = outbound_settings(config)
    ways = calls.trunks if calls.is_used else [None] * len(config.trunk)
    return NodeSettings(
        tuple(
            trunk_settings(trunk, config.country_code_of(trunk), way)
            for trunk, way in zip(config.trunk, ways, strict=True)
        ),
        tuple(
            user_settings(user, config.edge.domain, caller)
            for user, caller in zip(config.user, calls.users, strict=True)
        ),
        registration_settings(config),
        calls.routing,
        calls.is_used,
    )


def user_settings(user: UserConfig, domain: str, caller: OutboundUser) -> UserSettings:
    """Return one user of a file. `caller`: its settings for calls."""
    return UserSettings(user.name, domain, user.md5(domain), user.sha256(domain), caller)


def trunk_settings(
    trunk: TrunkConfig, country_code: str = "", outbound: OutboundTrunk | None = None
) -> TrunkSettings:
    """Return one trunk of a file.

    `country_code`: the calling code of its provider's country. `outbound`: how it gets users'
    calls.
    """
    return TrunkSettings(
        id=trunk.id,
        user=trunk.aor_user,
        aor=trunk.aor,
        registrar=trunk.registrar,
        credentials=trunk.credentials(),
        target=trunk.target,
        request_port=trunk.request_port,
        socket=trunk.socket,
        headers=tuple(trunk.headers.items()),
        proxy=trunk.proxy,
        expires_s=trunk.expires,
        contact=trunk.contact,
        rewrites_contact=trunk.rewrites_contact,
        keepalive_s=trunk.keepalive,
        follow_dns=trunk.follow_dns,
        learn_from=trunk.learn_from,
        match_port=trunk.match_port,
        networks=tuple(network.address(0.0) for network in trunk.networks),
        numbers=tuple(trunk.numbers),
        country_code=country_code,
        number_headers=trunk.number_headers,
        number_format=trunk.number_format,
        unmatched=trunk.unmatched,
        fallback=trunk.fallback,
        enabled=trunk.enabled,
        outbound=outbound,
    )


def registration_settings(config: Config) -> RegistrationSettings:
    """Return how the agent registers the trunks of a file."""
    return RegistrationSettings(
        sockets=config.edge.sockets,
        waits=config.registration.waits(),
        rate=config.registration.rate,
        rate_per_registrar=config.registration.rate_per_registrar,
        grace_s=config.agent.grace,
        unregisters_on_stop=config.agent.on_stop == "unregister",
    )


def sibling_settings(config: Config) -> SiblingSettings:
    """Return how the agent follows DNS for the trunks of a file."""
    least_s, most_s = config.agent.sibling_ttl
    own = frozenset(socket.ip for socket in config.edge.listen)
    return SiblingSettings(own, config.agent.grace, least_s, most_s)
