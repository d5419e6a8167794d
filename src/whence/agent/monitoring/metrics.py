"""Metrics for Prometheus, read from the agent's parts at each scrape."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from whence.agent.monitoring.alarms import Alarms
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.conflicts import ConflictMonitor
from whence.agent.monitoring.decision_receiver import DecisionReceiver
from whence.agent.monitoring.notices import NoticeCounts
from whence.agent.monitoring.store_monitor import StoreMonitor
from whence.agent.monitoring.unknown_sources import UnknownSources
from whence.agent.registration.client import KamailioClient
from whence.agent.registration.keepalive import KeepAliveOutcome, KeepAliveService
from whence.agent.registration.outcome import AttemptOutcome
from whence.agent.registration.service import RegistrationService
from whence.agent.registration.status import RegistrationStatus, TrunkInfo
from whence.core.identification.address import Origin
from whence.core.monitoring.alarms import CONDITIONS, AlarmKind
from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.registration.model import Registration, State
from whence.store.directory import Directory
from whence.version import version

if TYPE_CHECKING:
    from whence.agent.monitoring.mail import Mail
    from whence.agent.monitoring.webhook import Webhook


class RegistrationMetrics(Collector):
    """Registrations and addresses, of our own client or of Kamailio's `uac`."""

    def __init__(
        self,
        directory: Directory,
        registrations: RegistrationStatus,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._trunks = registrations
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        now = self._clock()
        trunks = list(self._trunks)
        states = Counter(r.state for _, r in trunks)
        registrations = GaugeMetricFamily(
            "whence_registrations", "Registrations by state.", labels=["state"]
        )
        for state in State:
            registrations.add_metric([state], states[state])
        yield registrations

        yield from wanted_trunks(trunks, now)
        yield from trunk_series(trunks, now)
        ends = [r.expires_at for _, r in trunks if r.expires_at and now < r.expires_at]
        yield GaugeMetricFamily(
            "whence_registrations_active", "Registrations whose grant is still valid.", len(ends)
        )
        next_expiry = GaugeMetricFamily(
            "whence_registration_next_expiry_timestamp_seconds",
            "When the next grant ends, in seconds since 1970; absent without a grant.",
        )
        if ends:
            next_expiry.add_metric([], min(ends))
        yield next_expiry
        yield CounterMetricFamily(
            "whence_registration_expirations",
            "Grants that ended without a refresh.",
            self._trunks.expirations,
        )

        live = Counter(a.origin for _, a in self._directory.addresses() if a.live(now))
        addresses = GaugeMetricFamily(
            "whence_addresses", "Addresses that admit calls, by origin.", labels=["origin"]
        )
        for origin in Origin:
            addresses.add_metric([origin], live[origin])
        yield addresses


def wanted_trunks(trunks: Sequence[tuple[TrunkInfo, Registration]], now: float) -> Iterator[Metric]:
    """Yield how many trunks are to be registered, and how many of these are."""
    yield GaugeMetricFamily(
        "whence_trunks_enabled",
        "Trunks of the file that are not disabled.",
        sum(trunk.enabled for trunk, _ in trunks),
    )
    wanted = [r for trunk, r in trunks if trunk.enabled and not r.suspended]
    yield GaugeMetricFamily(
        "whence_trunks_wanted",
        "Trunks that are to be registered: neither disabled nor suspended by the operator.",
        len(wanted),
    )
    yield GaugeMetricFamily(
        "whence_trunks_registered",
        "Trunks that are to be registered, and whose grant is valid.",
        sum(r.granted(now) for r in wanted),
    )


TRUNK_SERIES_LIMIT = 1000
"""How many trunks have series of their own."""


def trunk_series(trunks: Sequence[tuple[TrunkInfo, Registration]], now: float) -> Iterator[Metric]:
    """Yield the state of each trunk.

    Of more than `TRUNK_SERIES_LIMIT` trunks, only those are named that are to be registered, and
    are not.
    """
    named = list(trunks)
    if len(named) > TRUNK_SERIES_LIMIT:
        named = [
            (trunk, r)
            for trunk, r in trunks
            if trunk.enabled and not r.suspended and not r.granted(now)
        ][:TRUNK_SERIES_LIMIT]
    states = GaugeMetricFamily(
        "whence_trunk_state",
        "1 for the state that the trunk is in, 0 for each other one.",
        labels=["trunk", "state"],
    )
    registered = GaugeMetricFamily(
        "whence_trunk_registered", "Whether the trunk's grant is valid.", labels=["trunk"]
    )
    expires = GaugeMetricFamily(
        "whence_trunk_expires_timestamp_seconds",
        "When the trunk's grant ends, in seconds since 1970; absent without a grant.",
        labels=["trunk"],
    )
    for trunk, r in named:
        for state in State:
            states.add_metric([trunk.id, state], r.state is state)
        registered.add_metric([trunk.id], r.granted(now))
        if r.expires_at is not None and r.granted(now):
            expires.add_metric([trunk.id], r.expires_at)
    yield states
    yield registered
    yield expires
    yield GaugeMetricFamily(
        "whence_trunks_without_series",
        "Trunks that the metrics of single trunks leave out.",
        len(trunks) - len(named),
    )


class ClientMetrics(Collector):
    """The work of our own registrar client."""

    def __init__(
        self,
        registrations: RegistrationService,
        keepalives: KeepAliveService,
        kamailio: KamailioClient,
    ) -> None:
        self._registrations = registrations
        self._keepalives = keepalives
        self._kamailio = kamailio

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        yield GaugeMetricFamily(
            "whence_registrations_rate_limited",
            "Attempts that are due, and that the rate limits delay.",
            self._registrations.rate_limited,
        )
        yield GaugeMetricFamily(
            "whence_registrations_in_flight",
            "Attempts under way.",
            sum(r.in_flight is not None for _, r in self._registrations),
        )

        attempts = CounterMetricFamily(
            "whence_registration_attempts", "Attempts to register, by outcome.", labels=["outcome"]
        )
        for outcome in AttemptOutcome:
            attempts.add_metric([outcome], self._registrations.outcomes[outcome])
        yield attempts

        asked = CounterMetricFamily(
            "whence_keepalives", "OPTIONS to servers that granted, by outcome.", labels=["outcome"]
        )
        for asked_outcome in KeepAliveOutcome:
            asked.add_metric([asked_outcome], self._keepalives.outcomes[asked_outcome])
        yield asked

        yield CounterMetricFamily(
            "whence_replies_rejected",
            "Replies on the agent socket that are unreadable, or lack the edge's MAC.",
            self._kamailio.rejected,
        )


class DecisionMetrics(Collector):
    """The decisions of the edge. Only trunks of the file are named."""

    def __init__(
        self,
        receiver: DecisionReceiver,
        calls: Calls,
        unknown_sources: UnknownSources,
        trunks: RegistrationStatus,
    ) -> None:
        self._receiver = receiver
        self._calls = calls
        self._unknown_sources = unknown_sources
        self._trunks = trunks

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        calls = self._calls
        decisions = CounterMetricFamily(
            "whence_decisions",
            "Decisions on initial requests, with rule and trunk where identified.",
            labels=["decision", "rule", "trunk"],
        )
        for (kind, rule, trunk), count in sorted(calls.decisions.items()):
            if not trunk or trunk in self._trunks:
                decisions.add_metric([kind, rule, trunk], count)
        yield decisions

        last_calls = GaugeMetricFamily(
            "whence_trunk_last_call_timestamp_seconds",
            "When the last call of a trunk arrived, in seconds since 1970; absent where none has "
            "arrived since the agent's start.",
            labels=["trunk"],
        )
        for trunk, at in sorted(calls.last_call_at.items()):
            if trunk in self._trunks:
                last_calls.add_metric([trunk], at)
        yield last_calls

        yield CounterMetricFamily(
            "whence_decision_reports_dropped",
            "Decision reports that the edge dropped: no agent listened, or the socket was full.",
            self._receiver.dropped,
        )
        yield CounterMetricFamily(
            "whence_decision_reports_invalid",
            "Messages and reports that this version of the edge did not write.",
            self._receiver.invalid,
        )
        yield CounterMetricFamily(
            "whence_report_connections_refused",
            "Connections of other users to the agent's socket for reports.",
            self._receiver.refused,
        )
        yield CounterMetricFamily(
            "whence_kamailio_restarts",
            "Restarts of Kamailio by `whence run`, since the agent's start.",
            self._receiver.kamailio_restarts,
        )
        yield GaugeMetricFamily(
            "whence_unknown_sources",
            "Unknown sources in memory.",
            len(self._unknown_sources.table),
        )
        yield CounterMetricFamily(
            "whence_unknown_sources_evicted",
            "Unknown sources that newer ones replaced in memory.",
            self._unknown_sources.table.forgotten,
        )
        if calls.file is not None:
            yield CounterMetricFamily(
                "whence_call_log_errors",
                "Decisions that could not be written to `call_log_file`.",
                calls.file.errors,
            )


class AlarmMetrics(Collector):
    """Alarms, and their delivery to the webhook."""

    def __init__(self, alarms: Alarms, webhook: Webhook | None, mail: Mail | None = None) -> None:
        self._alarms = alarms
        self._mail = mail
        self._webhook = webhook

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        alarms = CounterMetricFamily(
            "whence_alarms", "Alarms by kind, also suppressed ones.", labels=["kind"]
        )
        for kind in AlarmKind:
            alarms.add_metric([kind], self._alarms.counts[kind])
        yield alarms
        open_alarms = GaugeMetricFamily(
            "whence_alarms_open", "Alarms that are open, by kind.", labels=["kind"]
        )
        open_kinds = Counter(raised.alarm.kind for raised in self._alarms.open)
        for kind in sorted(CONDITIONS):
            open_alarms.add_metric([kind], open_kinds[kind])
        yield open_alarms
        if self._mail is not None:
            yield GaugeMetricFamily(
                "whence_mail_waiting", "Alarms that wait for a mail.", self._mail.waiting
            )
            yield CounterMetricFamily(
                "whence_mails_sent", "Mails that `sendmail` accepted.", self._mail.sent
            )
            yield CounterMetricFamily(
                "whence_mail_failures", "Runs of `sendmail` that failed.", self._mail.failures
            )
        if self._webhook is not None:
            yield GaugeMetricFamily(
                "whence_webhook_waiting", "Alarms that wait for delivery.", self._webhook.waiting
            )
            yield CounterMetricFamily(
                "whence_webhook_delivered",
                "Alarms that the receiver accepted.",
                self._webhook.delivered,
            )
            yield CounterMetricFamily(
                "whence_webhook_dropped",
                "Alarms that the receiver refused, or that newer ones replaced.",
                self._webhook.dropped,
            )


class NoticeMetrics(Collector):
    """The notices of the edge on unknown sources."""

    def __init__(self, notices: NoticeCounts) -> None:
        self._notices = notices

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        notice = CounterMetricFamily(
            "whence_unknown_source_notices",
            "Notices of the edge on unknown sources, by reason.",
            labels=["reason"],
        )
        for reason in NoticeReason:
            notice.add_metric([reason], self._notices.counts[reason])
        yield notice
        yield CounterMetricFamily(
            "whence_phone_password_blocks",
            "Blocks of sources that sent too many wrong passwords.",
            self._notices.blocks,
        )
        yield CounterMetricFamily(
            "whence_unknown_source_notices_left_out",
            "Notices that the edge did not send: too many at once, or no agent read them.",
            self._notices.left_out,
        )


class StoreMetrics(Collector):
    """The directory as it is written, and its disk."""

    def __init__(self, store: StoreMonitor, directory: Directory) -> None:
        self._store = store
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        state = self._store.state
        yield GaugeMetricFamily(
            "whence_directory_writable",
            "1 while the last write to the directory succeeded.",
            state.is_writable,
        )
        yield CounterMetricFamily(
            "whence_directory_write_errors",
            "Writes to the directory that failed.",
            self._directory.write_errors,
        )
        yield GaugeMetricFamily(
            "whence_disk_free_bytes",
            "Free space on the disk of the state directory.",
            state.space.free,
        )


class BuildMetrics(Collector):
    """The version of the agent."""

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        info = GaugeMetricFamily("whence_build_info", "The agent's version.", labels=["version"])
        info.add_metric([version()], 1)
        yield info


class ConflictMetrics(Collector):
    """Trunks that no rule can distinguish."""

    def __init__(self, conflicts: ConflictMonitor) -> None:
        self._conflicts = conflicts

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        yield GaugeMetricFamily(
            "whence_conflicts",
            "Groups of trunks at one address that no rule can distinguish.",
            len(self._conflicts.known),
        )


def registry(*collectors: Collector) -> CollectorRegistry:
    """Return a registry of these collectors alone."""
    made = CollectorRegistry()
    for collector in collectors:
        made.register(collector)
    return made
