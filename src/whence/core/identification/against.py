"""What a step of a decision compared the request with, trunk by trunk: for people."""

from __future__ import annotations

from whence.core.identification.address import Address, Source
from whence.core.identification.identify import Evidence, Rule, Step
from whence.core.identification.trunk import Trunk
from whence.core.text import span


def against(step: Step, source: Source, evidence: Evidence, now: float) -> tuple[str, ...]:
    """Say what of each trunk in `step.left` fitted, in that order; empty texts where nothing of
    its own was compared. `source`: where the request came from; `now` as it was for the decision.
    """
    trunks = {trunk.id: trunk for trunk in evidence.trunks}
    return tuple([_fitting(step, id_, trunks.get(id_), source, evidence, now) for id_ in step.left])


def _fitting(
    step: Step, id_: str, trunk: Trunk | None, source: Source, evidence: Evidence, now: float
) -> str:
    if step.rule is Rule.TOKEN:
        return "its token"
    if step.rule is Rule.NUMBER:
        owners = evidence.number_owners
        owned = [owners[str(v), id_] for v in step.values if (str(v), id_) in owners]
        return f"its {owned[0] if owned else 'account'}"
    if trunk is None:
        return ""
    if step.rule is Rule.AOR_USER:
        return f"its account {trunk.aor_user}"
    if step.rule is Rule.FALLBACK:
        return "it is a fallback"
    admitting = [one for one in trunk.addresses if one.admits(source, now)]
    if step.rule is Rule.PORT:
        admitting = [one for one in admitting if one.port == source.port]
    elif step.rule is not Rule.ADDRESS:
        return ""
    return _told(admitting[0], now) if admitting else ""


def _told(address: Address, now: float) -> str:
    port = "any port" if address.port is None else f"port {address.port}"
    exact = " (exact)" if address.exact else ""
    lasts = "" if address.expires_at is None else f", {span(address.expires_at - now)} more"
    return f"{address.origin} {address.ip} over {address.transport}, {port}{exact}{lasts}"
