"""Metrics for Prometheus, read from the agent's parts when they are asked for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from whence.agent.monitoring.alarms import Alarms
from whence.agent.monitoring.calls import Calls
from whence.agent.monitoring.conflicts import ConflictMonitor
from whence.agent.monitoring.decision_receiver import DecisionReceiver
from whence.agent.monitoring.notices import NoticeCounts
from whence.agent.monitoring.unknown_sources import UnknownSources
from whence.agent.monitoring.webhook import Webhook
from whence.agent.registration.client import KamailioClient
from whence.agent.registration.keepalive import KeepAliveOutcome, KeepAliveService
from whence.agent.registration.outcome import AttemptOutcome
from whence.agent.registration.service import RegistrationService
from whence.agent.registration.status import RegistrationStatus
from whence.core.identification.address import Origin
from whence.core.monitoring.alarms import AlarmKind
from whence.core.monitoring.unknown_sources import NoticeReason
from whence.core.registration.model import State
from whence.store.directory import Directory


class RegistrationMetrics(Collector):
    """How registrations stand, whoever keeps them, and what they taught."""

    def __init__(
        self,
        directory: Directory,
        standings: RegistrationStatus,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._standings = standings
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        now = self._clock()
        states = Counter(r.state for _, r in self._standings)
        registrations = GaugeMetricFamily(
            "whence_registrations", "Registrations by state.", labels=["state"]
        )
        for state in State:
            registrations.add_metric([state], states[state])
        yield registrations

        yield GaugeMetricFamily(
            "whence_trunks_enabled",
            "Trunks that are to be registered: those of the file that are not disabled.",
            sum(trunk.enabled for trunk, _ in self._standings),
        )
        ends = [r.expires_at for _, r in self._standings if r.expires_at and now < r.expires_at]
        yield GaugeMetricFamily(
            "whence_registrations_granted", "Registrations whose grant still stands.", len(ends)
        )
        nearest = GaugeMetricFamily(
            "whence_registration_nearest_expiry_seconds",
            "Until the next grant ends; absent where nothing is granted.",
        )
        if ends:
            nearest.add_metric([], min(ends) - now)
        yield nearest
        yield CounterMetricFamily(
            "whence_registration_lapses",
            "Grants that ended without a refresh.",
            self._standings.expirations,
        )

        live = Counter(a.origin for _, a in self._directory.addresses() if a.live(now))
        addresses = GaugeMetricFamily(
            "whence_addresses", "Addresses that admit calls, by origin.", labels=["origin"]
        )
        for origin in Origin:
            addresses.add_metric([origin], live[origin])
        yield addresses


class ClientMetrics(Collector):
    """What our own registrar client does."""

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
            "whence_registrations_waiting_for_pace",
            "Attempts that are due, and were given a later slot.",
            self._registrations.waiting_for_pace,
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
            "whence_replies_ignored",
            "Replies on the inside socket that were not believed.",
            self._kamailio.ignored,
        )


class DecisionMetrics(Collector):
    """What the edge told, counted. Only trunks of the file are named: strangers name nothing."""

    def __init__(
        self,
        hearing: DecisionReceiver,
        calls: Calls,
        strangers: UnknownSources,
        trunks: RegistrationStatus,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hearing = hearing
        self._calls = calls
        self._strangers = strangers
        self._trunks = trunks
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        now, calls = self._clock(), self._calls
        decisions = CounterMetricFamily(
            "whence_decisions",
            "Decisions on initial requests; rule and trunk of those that were identified.",
            labels=["decision", "rule", "trunk"],
        )
        for (kind, rule, trunk), count in sorted(calls.decisions.items()):
            if not trunk or trunk in self._trunks:
                decisions.add_metric([kind, rule, trunk], count)
        yield decisions

        ages = GaugeMetricFamily(
            "whence_last_call_age_seconds",
            "Since the last call of a trunk; absent where none came since the agent's start.",
            labels=["trunk"],
        )
        for trunk, at in sorted(calls.last_call_at.items()):
            if trunk in self._trunks:
                ages.add_metric([trunk], max(now - at, 0.0))
        yield ages

        yield CounterMetricFamily(
            "whence_decisions_untold",
            "Decisions that the edge could not tell: nobody listened, or the socket was full.",
            self._hearing.dropped,
        )
        yield CounterMetricFamily(
            "whence_told_unreadable", "Datagrams that no edge sent.", self._hearing.unreadable
        )
        yield GaugeMetricFamily(
            "whence_strangers",
            "Sources that nobody knows, as remembered.",
            len(self._strangers.kept),
        )
        yield CounterMetricFamily(
            "whence_strangers_forgotten",
            "Strangers that others pushed out.",
            self._strangers.kept.forgotten,
        )
        if calls.file is not None:
            yield CounterMetricFamily(
                "whence_calls_unwritten",
                "Decisions that could not be written to the file of calls.",
                calls.file.unwritten,
            )


class AlarmMetrics(Collector):
    """Alarms, and what became of them."""

    def __init__(self, events: Alarms, webhook: Webhook | None) -> None:
        self._events = events
        self._webhook = webhook

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        alarms = CounterMetricFamily(
            "whence_alarms", "Alarms by kind, also those that were not told.", labels=["kind"]
        )
        for kind in AlarmKind:
            alarms.add_metric([kind], self._events.counts[kind])
        yield alarms
        if self._webhook is not None:
            yield GaugeMetricFamily(
                "whence_webhook_waiting", "Events that nobody took yet.", self._webhook.waiting
            )
            yield CounterMetricFamily(
                "whence_webhook_delivered", "Events that were taken.", self._webhook.delivered
            )
            yield CounterMetricFamily(
                "whence_webhook_dropped",
                "Events that were refused, or gave way to newer ones.",
                self._webhook.dropped,
            )


class NoticeMetrics(Collector):
    """What the edge noticed of unknown sources."""

    def __init__(self, notices: NoticeCounts) -> None:
        self._notices = notices

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        noticed = CounterMetricFamily(
            "whence_unknown_source_notices",
            "What the edge noticed of unknown sources, by reason.",
            labels=["reason"],
        )
        for reason in NoticeReason:
            noticed.add_metric([reason], self._notices.counts[reason])
        yield noticed
        yield CounterMetricFamily(
            "whence_phone_password_blocks",
            "Blocks of sources that sent too many wrong passwords.",
            self._notices.blocks,
        )
        yield CounterMetricFamily(
            "whence_unknown_source_notices_left_out",
            "Notices that the edge did not send: too many at once, or nobody read them.",
            self._notices.left_out,
        )


class ConflictMetrics(Collector):
    """Trunks that no rule could tell apart."""

    def __init__(self, clashes: ConflictMonitor) -> None:
        self._clashes = clashes

    def collect(self) -> Iterable[Metric]:
        """Read every metric."""
        yield GaugeMetricFamily(
            "whence_clashes",
            "Groups of trunks at one address that no rule could tell apart.",
            len(self._clashes.known),
        )


def registry(*collectors: Collector) -> CollectorRegistry:
    """Make a registry with these metrics and no others."""
    made = CollectorRegistry()
    for collector in collectors:
        made.register(collector)
    return made
