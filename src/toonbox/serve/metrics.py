"""The metrics of the server, for Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """Counts of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.waiting = Histogram(
            "toonbox_queue_seconds", "How long pictures waited", buckets=_SECONDS, registry=registry
        )
        self.processing = Histogram(
            "toonbox_processing_seconds",
            "How long pictures took from decoding to encoding",
            ["style"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge(
            "toonbox_in_progress", "Pictures that wait or are processed", registry=registry
        )
        self.jobs = Counter("toonbox_jobs", "Jobs that have ended", ["state"], registry=registry)
        self.errors = Counter(
            "toonbox_errors", "Answers of status 400 and above", ["status"], registry=registry
        )
