"""What a server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_TOGETHER = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server.

    Attributes:
        requests: answered, by HTTP status.
        audio: seconds transcribed, by model.
        in_flight: requests between their first byte and their answer.
        streams: that are open.
        latency: seconds to an answer with a transcript.
        together: recordings of a pass.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("bigfoot_requests", "Answered requests", ["status"], registry=registry)
        self.audio = Counter("bigfoot_audio_seconds", "Transcribed audio", ["model"], registry=registry)
        self.in_flight = Gauge("bigfoot_requests_in_flight", "Requests in flight", registry=registry)
        self.streams = Gauge("bigfoot_streams", "Open streams", registry=registry)
        self.latency = Histogram("bigfoot_request_seconds", "Time to a transcript", buckets=_SECONDS, registry=registry)
        self.together = Histogram("bigfoot_pass_recordings", "Recordings of a pass", buckets=_TOGETHER,
                                  registry=registry)  # fmt: skip

    def render(self) -> bytes:
        """Return all of them in Prometheus's text format."""
        return generate_latest(self._registry)
