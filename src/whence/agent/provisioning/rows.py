"""Builds the directory's rows of trunks and users."""

from __future__ import annotations

from whence.agent.provisioning.numbers import account_forms, number_forms, number_style
from whence.core.settings import NodeSettings, TrunkSettings, UserSettings
from whence.store.outbound import OutboundRows, OutboundTrunkRow
from whence.store.rows import NumberRow, TrunkRow, UserRow


def trunk_row(trunk: TrunkSettings, fingerprint: str, now: float) -> TrunkRow:
    """Return the row of one trunk.

    `fingerprint`: of its credentials. `now`: from when its pinned addresses are valid.
    """
    return TrunkRow(
        id=trunk.id,
        aor_user=trunk.user,
        target=trunk.target,
        unmatched=trunk.unmatched,
        fallback=trunk.fallback,
        enabled=trunk.enabled,
        fingerprint=fingerprint,
        number_headers=trunk.number_headers,
        number_format=number_style(trunk),
        match_port=trunk.match_port,
        learns_from_any=trunk.learn_from == "any",
        numbers=tuple(
            NumberRow(spelling, bool(of_account), e164)
            for of_account, forms in enumerate((number_forms(trunk), account_forms(trunk)))
            for spelling, e164 in sorted(forms.items())
        ),
        pinned=trunk.pinned(now) if trunk.enabled else (),
    )


def user_row(user: UserSettings) -> UserRow:
    """Return the row of one user."""
    return UserRow(user.name, user.domain, user.ha1, user.sha256, user.caller)


def outbound_rows(settings: NodeSettings) -> OutboundRows:
    """Return the rows for users' calls; no row where users may call no numbers.

    Every enabled trunk has one, also if no user has it. The provider of an inbound call may
    challenge requests in its dialog.
    """
    if not settings.calls_out:
        return OutboundRows()
    return OutboundRows(
        settings.routing,
        [
            OutboundTrunkRow(trunk.outbound, trunk.credentials, trunk.tls_name)
            for trunk in settings.trunks
            if trunk.outbound is not None and trunk.enabled
        ],
    )
