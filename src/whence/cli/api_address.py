"""Find the URL of the agent's API in a settings file."""

from __future__ import annotations

from pathlib import Path

from whence.errors import ConfigError


def api_of(file: Path) -> str:
    """Return the URL of the API of an agent with this settings file.

    Only `api_listen` is read: other faults of the file do not matter here. A drop-in's file has the
    same key.

    Raises: ConfigError.
    """
    from whence.agent.config.models import MonitoringConfig
    from whence.agent.config.toml import toml
    from whence.agent.config.validators import UNIX, check_api_address

    agent = toml(file).get("agent", {})
    default = MonitoringConfig.model_fields["api_listen"].default
    given = agent.get("api_listen", default) if isinstance(agent, dict) else default
    try:
        address = check_api_address(given if isinstance(given, str) else "")
    except ValueError as error:
        raise ConfigError([f"{file.name}: agent: api_listen: {error}"]) from None
    if address.startswith(UNIX):
        return address
    has_tls = isinstance(agent, dict) and bool(agent.get("api_certificate"))
    return f"{'https' if has_tls else 'http'}://{address}"
