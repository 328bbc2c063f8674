"""What `/metrics` shows, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from streaming.types import Usage

_SECONDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.3, 1.6, 2.0, 3.0, 5.0, 10.0)


class Metrics:
    """Owns the counters of one server."""

    def __init__(self) -> None:
        self.open_sessions = 0
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._sessions = Gauge("tertulia_sessions", "Sessions that are open", ["transport"], registry=self._registry)
        self._waiting = Gauge(
            "tertulia_sessions_waiting", "Sessions that lost their connection", registry=self._registry
        )
        self._resumes = Counter(
            "tertulia_resumes", "Clients that came back for their session", ["outcome"], registry=self._registry
        )
        self._sessions_total = Counter(
            "tertulia_sessions_opened", "Sessions since the start", ["transport"], registry=self._registry
        )
        self._responses = Counter("tertulia_responses", "Responses that ended", ["status"], registry=self._registry)
        self._errors = Counter("tertulia_errors", "Error events sent", ["code"], registry=self._registry)
        self._milestones = Histogram(
            "tertulia_milestone_seconds",
            "From the end of the user's speech to each milestone of the answer",
            ["milestone"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._worker_milestones = Histogram(
            "tertulia_worker_milestone_seconds",
            "From a request's arrival in the inference process to each milestone there",
            ["milestone"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._prompt_tokens = Counter(
            "tertulia_prompt_tokens",
            "Tokens of prompts, by whether they were still in the cache or had to be computed",
            ["kind"],
            registry=self._registry,
        )
        self._looks = Counter(
            "tertulia_camera_looks",
            "Turns begun with the camera on, by what it showed",
            ["sight"],
            registry=self._registry,
        )
        self._attachments = Counter(
            "tertulia_attachments", "Attachments that ended", ["kind", "outcome"], registry=self._registry
        )
        self._worker = Gauge("tertulia_worker_alive", "Whether the inference process lives", registry=self._registry)
        self._restarts = Counter(
            "tertulia_worker_restarts", "How often the inference process was started again", registry=self._registry
        )
        self._restarts_known = 0

    def session_opened(self, transport: str) -> None:
        self.open_sessions += 1
        self._sessions.labels(transport).inc()
        self._sessions_total.labels(transport).inc()

    def session_closed(self, transport: str | None) -> None:
        """transport: None if the session had lost its connection."""
        self.open_sessions -= 1
        (self._waiting if transport is None else self._sessions.labels(transport)).dec()

    def session_lost(self, transport: str) -> None:
        """Its connection, not its place."""
        self._sessions.labels(transport).dec()
        self._waiting.inc()

    def session_resumed(self, transport: str) -> None:
        self._waiting.dec()
        self._sessions.labels(transport).inc()
        self._resumes.labels("resumed").inc()

    def resume_failed(self) -> None:
        self._resumes.labels("failed").inc()

    def replied(self, status: str, worker_milestones_ms: Mapping[str, float]) -> None:
        self._responses.labels(status).inc()
        for name, milliseconds in worker_milestones_ms.items():
            self._worker_milestones.labels(name).observe(milliseconds / 1000)

    def answered_speech(self, milestones_ms: Mapping[str, float]) -> None:
        """By the names of streaming.milestones."""
        for name, milliseconds in milestones_ms.items():
            self._milestones.labels(name.removesuffix("_ms")).observe(milliseconds / 1000)

    def prompted(self, usage: Usage) -> None:
        """A prompt was read."""
        self._prompt_tokens.labels("reused").inc(usage.cached)
        self._prompt_tokens.labels("computed").inc(usage.tokens_in - usage.cached)

    def looked(self, sight: str) -> None:
        """sight: "new", the only one that the model is shown, "unchanged" or "dark"."""
        self._looks.labels(sight).inc()

    def attachment_ended(self, kind: str, outcome: str) -> None:
        self._attachments.labels(kind, outcome).inc()

    def error(self, code: str) -> None:
        """code: one of our own, never text of a peer."""
        self._errors.labels(code).inc()

    def text(self, worker_alive: bool, worker_restarts: int = 0) -> bytes:
        self._worker.set(worker_alive)
        self._restarts.inc(worker_restarts - self._restarts_known)
        self._restarts_known = worker_restarts
        return generate_latest(self._registry)
