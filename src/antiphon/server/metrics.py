"""Figures for Prometheus, in a registry of our own so that two apps in one process do not collide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from antiphon import __version__
from antiphon.core.events import Event, Failure, Interrupted, TurnMetrics

__all__ = ["CONTENT_TYPE", "Metrics", "SessionFigures"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class SessionFigures(Protocol):
    """The session manager's counts since the process began, as they are now."""

    @property
    def open(self) -> int: ...
    @property
    def opened(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def ended(self) -> Mapping[str, int]: ...
    @property
    def late_frames(self) -> int: ...


class _SessionCollector(Collector):
    """Reads the manager's counts when the figures are asked for, rather than count along."""

    def __init__(self, figures: Callable[[], SessionFigures | None]) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        # Registering must not read figures: there is no manager yet.
        return ()

    def collect(self) -> Iterator[Metric]:
        figures = self._figures()
        if figures is None:
            return
        yield GaugeMetricFamily("antiphon_sessions_active", "Sessions that run now.", figures.open)
        yield CounterMetricFamily("antiphon_sessions_opened", "Sessions opened.", figures.opened)
        yield CounterMetricFamily("antiphon_sessions_refused", "Sessions refused by a limit.", figures.refused)
        ended = CounterMetricFamily("antiphon_sessions_ended", "Sessions that ended.", labels=["reason"])
        for reason, count in figures.ended.items():
            ended.add_metric([reason], count)
        yield ended
        yield CounterMetricFamily(
            "antiphon_late_frames", "Playout frames skipped because the loop was held up.", figures.late_frames
        )


class Metrics:
    """The server's figures.

    Attributes:
        registry: Where they are registered.
        http_requests: Requests answered, by method, route template and status.
        http_seconds: Time to answer them, by method and route template.
        engine_ready: 1 for a warm engine, 0 for one that is not, by engine.
        turn_seconds: Latencies of spoken turns by stage: end_of_turn, stt, llm, tts, voice_to_voice.
        failures: What failed behind sessions that lived on, by stage.
        interruptions: Answers that were cut short by speech.
        audio_dropped: Audio messages that slow readers missed.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Gauge("antiphon_build_info", "Always 1; the version is a label.", ["version"], registry=registry).labels(
            __version__
        ).set(1)
        self.http_requests = Counter(
            "antiphon_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.http_seconds = Histogram(
            "antiphon_http_seconds", "Time to answer a request.", ["method", "route"], registry=registry
        )
        self.engine_ready = Gauge("antiphon_engine_ready", "Whether an engine is warm.", ["engine"], registry=registry)

        self.turn_seconds = Histogram(
            "antiphon_turn_seconds",
            "Latency of spoken turns by stage.",
            ["stage"],
            buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
            registry=registry,
        )
        self.failures = Counter(
            "antiphon_failures", "Failures that sessions survived, by stage.", ["stage"], registry=registry
        )
        self.audio_dropped = Counter(
            "antiphon_audio_messages_dropped", "Audio messages that slow readers missed.", registry=registry
        )
        self.interruptions = Counter("antiphon_interruptions", "Answers cut short by speech.", registry=registry)

    def observe(self, event: Event) -> None:
        """Count what a session tells: times and stages, never words."""
        match event:
            case TurnMetrics():
                for stage in ("end_of_turn", "stt", "llm", "tts", "voice_to_voice"):
                    seconds = getattr(event, stage)
                    if seconds is not None:
                        self.turn_seconds.labels(stage).observe(seconds)
            case Failure():
                self.failures.labels(event.stage).inc()
            case Interrupted():
                self.interruptions.inc()
            case _:
                pass

    def watch_sessions(self, figures: Callable[[], SessionFigures | None]) -> None:
        """Tell the figures of the session manager too.

        Args:
            figures: Gives the counts, or None as long as there is no manager.
        """
        self.registry.register(_SessionCollector(figures))

    def exposition(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self.registry)
