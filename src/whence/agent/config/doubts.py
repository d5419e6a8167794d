"""Doubts about a valid settings file: `whence check` warns of them."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pydantic import SecretStr

from whence.agent.config.models import Config
from whence.agent.config.trunk import TrunkConfig
from whence.agent.config.uris import own_uri, target_uri
from whence.agent.config.validators import DAY_S
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.errors import InvalidCertificateError
from whence.trust.certificates import expires_at

EXAMPLE_PASSWORDS = frozenset({"secret", "secret2", "change me", "changeme", "password", "…"})
"""Those of the examples in the documents."""

RENEW_WITHIN_S = 14 * DAY_S


def config_doubts(config: Config, now: float) -> Iterator[str]:
    """Yield a sentence for each doubt, with its place and remedy."""
    yield from _foreign_sockets(config.edge.listen)
    if config.edge.tls.certificate:
        yield from _certificate(config.edge.tls.certificate, now)
    for trunk in config.trunk:
        place = f'trunk "{trunk.id}"'
        yield from _example_password(trunk.password, place, "that of the provider")
    for user in config.user:
        yield from _example_password(user.password, f'user "{user.name}"', "a long random one")
    yield from _same_accounts(config.trunk)
    for trunk in config.trunk:
        yield from _target_at_the_edge(trunk, config)


def _foreign_sockets(listen: list[TransportAddress]) -> Iterator[str]:
    for own in listen:
        family = socket.AF_INET6 if own.ip.version == 6 else socket.AF_INET
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            try:
                probe.bind((str(own.ip), 0))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    yield (
                        f'edge: listen: "{own}" is no address of this machine, so whence run '
                        "cannot start here; write one that ip address shows"
                    )


def _certificate(path: str, now: float) -> Iterator[str]:
    try:
        ends_at = expires_at(Path(path).read_text(encoding="utf-8", errors="replace"))
    except (OSError, InvalidCertificateError):
        return  # the file was read as a pair with its key before
    day = time.strftime("%Y-%m-%d", time.gmtime(ends_at))
    if ends_at <= now:
        yield (
            f'edge: tls: certificate: "{path}" expired on {day}, so phones and providers refuse '
            "it; renew it"
        )
    elif ends_at <= now + RENEW_WITHIN_S:
        yield f'edge: tls: certificate: "{path}" expires on {day}; renew it'


def _example_password(password: SecretStr | None, place: str, wanted: str) -> Iterator[str]:
    if password is not None and password.get_secret_value() in EXAMPLE_PASSWORDS:
        yield f"{place}: password: is that of an example, so anyone can guess it; write {wanted}"


def _same_accounts(trunks: list[TrunkConfig]) -> Iterator[str]:
    first: dict[tuple[str, str, str], TrunkConfig] = {}
    for trunk in trunks:
        server = trunk.proxy or trunk.registrar
        account = (trunk.aor, server, trunk.auth_user or trunk.aor_user)
        other = first.setdefault(account, trunk)
        if other is not trunk and trunk.enabled and other.enabled:
            yield (
                f'trunk "{trunk.id}": has the account of trunk "{other.id}", so that the calls of '
                "one can go to the other; remove one of them"
            )


def _target_at_the_edge(trunk: TrunkConfig, config: Config) -> Iterator[str]:
    """Yield a doubt about a target that sends calls back to the edge, and names no user of it."""
    target, users = target_uri(trunk.target), {user.name for user in config.user}
    if target is None or not _is_edge(target, config):
        return
    # A called number can be the name of a user.
    has_user = target.user in users
    if "{number}" in trunk.target:
        has_user = any(name.lstrip("+").isdigit() for name in users)
    if not has_user:
        yield (
            f'trunk "{trunk.id}": target: "{trunk.target}" is the edge itself, and names no user; '
            'write [[user]] and its name, or the address of your PBX, "sip:{number}@192.0.2.9"'
        )


def _is_edge(target: Uri, config: Config) -> bool:
    """Return whether a target is the domain of the users, or a socket of the edge."""
    domain = own_uri(f"sip:{config.edge.domain}")
    if domain is not None and target.host == domain.host:
        return True
    port = target.port or (5061 if target.scheme == "sips" else 5060)
    return any(own.ip_text == target.host and own.port == port for own in config.edge.listen)
