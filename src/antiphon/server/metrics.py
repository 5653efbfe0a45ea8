"""Figures for Prometheus, in a registry of our own so that two apps in one process do not collide."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import generate_latest

from antiphon import __version__

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_STAGE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 4.0, 8.0)


class Metrics:
    """The server's figures.

    Attributes:
        registry: Where they are registered.
        http_requests: Requests answered, by method, route template and status.
        http_seconds: Time to answer them, by method and route template.
        sessions_active: Sessions that run now.
        sessions: Sessions that ended, by protocol and reason.
        stage_seconds: Latency of a stage of a turn, by stage: `end_of_turn`, `stt`, `llm_first_token`,
            `tts_first_audio`, `voice_to_voice`.
        engine_errors: Failures of engines, by engine and kind.
        engine_ready: 1 for a warm engine, 0 for one that is not, by engine.
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
        self.sessions_active = Gauge("antiphon_sessions_active", "Sessions that run now.", registry=registry)
        self.sessions = Counter("antiphon_sessions", "Sessions that ended.", ["protocol", "reason"], registry=registry)
        self.stage_seconds = Histogram(
            "antiphon_stage_seconds",
            "Latency of a stage of a turn.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self.engine_errors = Counter(
            "antiphon_engine_errors", "Failures of engines.", ["engine", "kind"], registry=registry
        )
        self.engine_ready = Gauge("antiphon_engine_ready", "Whether an engine is warm.", ["engine"], registry=registry)

    def watch_sessions(self, active: Callable[[], float]) -> None:
        """Ask for the number of running sessions when the figures are read, rather than count along."""
        self.sessions_active.set_function(active)

    def exposition(self) -> bytes:
        """The figures in Prometheus' text format."""
        return generate_latest(self.registry)
