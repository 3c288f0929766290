"""Prometheus metrics of the operator; each process (and each test) has a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """What the operator counts. Names carry units; labels have few values."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._looks = Counter(
            "stillhouse_operator_reconciles",
            "Looks at an object, by outcome.",
            ("kind", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "stillhouse_operator_reconcile_seconds",
            "Time of one look.",
            ("kind",),
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120),
            registry=self.registry,
        )
        self.runs_created = Counter(
            "stillhouse_runs_created", "DistillationRuns made by schedules.", ("trigger",), registry=self.registry
        )
        self.runs_ended = Counter(
            "stillhouse_runs_ended", "Runs that ended, by phase.", ("phase",), registry=self.registry
        )
        self.promotions = Counter(
            "stillhouse_promotions", "What became of students.", ("outcome",), registry=self.registry
        )
        self.teachers_ready = Gauge(
            "stillhouse_teacher_ready",
            "1 when a real completion answered.",
            ("namespace", "name"),
            registry=self.registry,
        )

    def reconciled(self, kind: str, outcome: str, seconds: float) -> None:
        self._looks.labels(kind, outcome).inc()
        self._seconds.labels(kind).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
