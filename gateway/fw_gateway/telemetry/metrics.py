"""Instruments and their sums: our own aggregation, because the SDK's costs more than all the rest of a call's telemetry.

Every instrument names the attributes it may carry; there is no way to add another. More than 2,000 series of one instrument
fall together into a single one marked `otel.metric.overflow`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

MAX_SERIES = 2000
"""Series per instrument, the overflow series among them."""

B1 = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
B2 = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
HTTP = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
OVERHEAD = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
ROUTE = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05)
RATIO = (0.25, 0.5, 0.8, 0.9, 1, 1.1, 1.25, 2, 4)

Kind = Literal["histogram", "counter", "gauge"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One row of the contract's table. `prometheus` is the name in the text format, without `_total`."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    prometheus: str
    bounds: tuple[float, ...] = ()


_GENAI = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "server.address",
    "server.port",
)

OPERATION_DURATION = Instrument(
    "gen_ai.client.operation.duration", "histogram", "s", (*_GENAI, "error.type"),
    "Duration of one attempt at a provider.", "gen_ai_client_operation_duration_seconds", B1,
)  # fmt: skip
TIME_TO_FIRST_CHUNK = Instrument(
    "gen_ai.client.operation.time_to_first_chunk", "histogram", "s", _GENAI,
    "Time to the first chunk of a streamed attempt.", "gen_ai_client_operation_time_to_first_chunk_seconds", B1,
)  # fmt: skip
TOKEN_USAGE = Instrument(
    "gen_ai.client.token.usage", "histogram", "{token}", (*_GENAI, "gen_ai.token.type"),
    "Tokens of one attempt, as the provider reported them.", "gen_ai_client_token_usage", B2,
)  # fmt: skip
HTTP_DURATION = Instrument(
    "http.server.request.duration", "histogram", "s", ("http.request.method", "http.route", "http.response.status_code"),
    "Duration of HTTP requests that were calls.", "http_server_request_duration_seconds", HTTP,
)  # fmt: skip
CALL_DURATION = Instrument(
    "fw.call.duration", "histogram", "s", ("fw.request.model", "fw.call.outcome", "error.type"),
    "Duration of one logical call, fallbacks included.", "fw_call_duration_seconds", B1,
)  # fmt: skip
CALL_OVERHEAD = Instrument(
    "fw.call.overhead.duration", "histogram", "s", ("fw.request.model", "fw.call.outcome", "error.type"),
    "Time of a call in which no attempt was open.", "fw_call_overhead_duration_seconds", OVERHEAD,
)  # fmt: skip
CALL_COST = Instrument(
    "fw.call.cost", "counter", "USD", ("fw.call.served.provider", "fw.call.served.model"),
    "Money spent, over all attempts; calls of unknown cost are not in it.", "fw_call_cost_usd",
)  # fmt: skip
ATTEMPTS = Instrument(
    "fw.attempts", "counter", "{attempt}",
    ("fw.attempt.reason", "fw.attempt.outcome", "gen_ai.provider.name", "gen_ai.request.model", "error.type"),
    "Attempts at providers.", "fw_attempts",
)  # fmt: skip
DECISIONS = Instrument(
    "fw.route.decisions", "counter", "{decision}",
    ("fw.route.policy.name", "fw.route.policy.version", "fw.route.selected.model", "fw.route.reason"),
    "Routing decisions.", "fw_route_decisions",
)  # fmt: skip
ROUTE_DURATION = Instrument(
    "fw.route.duration", "histogram", "s", ("fw.route.policy.name",),
    "Time to plan a call.", "fw_route_duration_seconds", ROUTE,
)  # fmt: skip
ESTIMATE_ERROR = Instrument(
    "fw.route.estimate.error", "histogram", "1", ("quantity", "fw.route.estimator.version"),
    "Actual over estimated.", "fw_route_estimate_error", RATIO,
)  # fmt: skip
DROPPED = Instrument(
    "fw.telemetry.dropped", "counter", "{record}", ("signal", "reason"),
    "Telemetry that was lost.", "fw_telemetry_dropped",
)  # fmt: skip
INFLIGHT = Instrument(
    "fw.deployment.inflight", "gauge", "{attempt}", ("fw.attempt.deployment",),
    "Attempts open now.", "fw_deployment_inflight",
)  # fmt: skip
CIRCUIT = Instrument(
    "fw.deployment.circuit.state", "gauge", "1", ("fw.attempt.deployment",),
    "0 closed, 0.5 probing, 1 open.", "fw_deployment_circuit_state",
)  # fmt: skip
HEALTH = Instrument(
    "fw.deployment.health", "gauge", "1", ("fw.attempt.deployment",),
    "1, or 0 while its own server says that it cannot serve.", "fw_deployment_health",
)  # fmt: skip
QUEUE = Instrument(
    "fw.queue.depth", "gauge", "{request}", ("fw.attempt.deployment",),
    "Requests that wait in the engine, as it says itself.", "fw_queue_depth",
)  # fmt: skip
KV_CACHE = Instrument(
    "fw.deployment.kv_cache.usage", "gauge", "1", ("fw.attempt.deployment",),
    "Part of the engine's KV cache that is in use.", "fw_deployment_kv_cache_usage",
)  # fmt: skip
PREFIX_HITS = Instrument(
    "fw.deployment.prefix_cache.hits", "gauge", "{token}", ("fw.attempt.deployment",),
    "Tokens found in the engine's prefix cache since it started.", "fw_deployment_prefix_cache_hits",
)  # fmt: skip
PREFIX_QUERIES = Instrument(
    "fw.deployment.prefix_cache.queries", "gauge", "{token}", ("fw.attempt.deployment",),
    "Tokens looked for in the engine's prefix cache since it started.", "fw_deployment_prefix_cache_queries",
)  # fmt: skip
ENGINE = (QUEUE, KV_CACHE, PREFIX_HITS, PREFIX_QUERIES)
"""What a serving engine says of itself."""
REFUSED = Instrument(
    "fw.requests.refused", "counter", "{request}", ("reason",),
    "Requests and connections that were refused at the border, or closed because they were slow.", "fw_requests_refused",
)  # fmt: skip

INSTRUMENTS = (
    OPERATION_DURATION, TIME_TO_FIRST_CHUNK, TOKEN_USAGE, HTTP_DURATION, CALL_DURATION, CALL_OVERHEAD, CALL_COST, ATTEMPTS,
    DECISIONS, ROUTE_DURATION, ESTIMATE_ERROR, DROPPED, INFLIGHT, CIRCUIT, HEALTH, *ENGINE,
    REFUSED,
)  # fmt: skip

Labels = tuple[str | int | None, ...]
"""Values of an instrument's labels, in its order; None and "" are absent."""

Exemplar = tuple[float, int, str, str]
"""Value, nanoseconds since the epoch, trace id, span id."""

OVERFLOW: Labels = ("otel.metric.overflow",)


@dataclass(slots=True)
class Series:
    """One line of one instrument: a sum, and, of a histogram, its buckets and the last exemplar of each."""

    buckets: list[int]
    exemplars: list[Exemplar | None]
    total: float = 0.0
    count: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    bounds: tuple[float, ...] = ()

    def observe(self, value: float, exemplar: Exemplar | None = None) -> None:
        """One measurement of a histogram."""
        # A bound belongs to the bucket below it, as in OpenTelemetry.
        bucket = bisect_left(self.bounds, value)
        self.buckets[bucket] += 1
        self.count += 1
        self.total += value
        if value < self.low:  # noqa: PLR1730 - half the cost of min
            self.low = value
        if value > self.high:  # noqa: PLR1730
            self.high = value
        if exemplar is not None:
            self.exemplars[bucket] = exemplar


@dataclass(slots=True)
class Table:
    """All series of one instrument."""

    instrument: Instrument
    limit: int = MAX_SERIES
    series: dict[Labels, Series] = field(default_factory=dict)

    def at(self, labels: Labels) -> Series:
        """The series of `labels`, or the overflow series when there are too many."""
        found = self.series.get(labels)
        if found is None:
            if len(self.series) >= self.limit - 1:
                labels = OVERFLOW
                if (found := self.series.get(labels)) is not None:
                    return found
            bounds = self.instrument.bounds
            cells = len(bounds) + 1 if self.instrument.kind == "histogram" else 0
            found = self.series[labels] = Series([0] * cells, [None] * cells, bounds=bounds)
        return found

    def observe(self, labels: Labels, value: float, exemplar: Exemplar | None = None) -> None:
        """One measurement of a histogram."""
        self.at(labels).observe(value, exemplar)

    def add(self, labels: Labels, value: float = 1) -> None:
        """Add to a counter."""
        self.at(labels).total += value


Gauges = Callable[[], Iterable[tuple[Instrument, Labels, float]]]
"""What gauges are asked for at the moment of reading, e.g. `(INFLIGHT, ("qwen@gpu-1",), 3)`."""


class Metrics:
    """Every table, and the time since when they count."""

    def __init__(self, *, started_ns: int, gauges: Gauges = tuple, limit: int = MAX_SERIES) -> None:
        """`gauges` is asked at each reading, from any thread."""
        self.started_ns = started_ns
        self._gauges = gauges
        self.tables = {instrument.name: Table(instrument, limit) for instrument in INSTRUMENTS}

    def table(self, instrument: Instrument) -> Table:
        """The table of one instrument."""
        return self.tables[instrument.name]

    def read(self) -> list[Table]:
        """All tables that hold something, gauges filled in."""
        for instrument in (INFLIGHT, CIRCUIT, HEALTH, *ENGINE):
            self.tables[instrument.name].series.clear()
        for instrument, labels, value in self._gauges():
            self.tables[instrument.name].at(labels).total = value
        return [table for table in self.tables.values() if table.series]


def named(instrument: Instrument, labels: Labels) -> Mapping[str, str | int | bool]:
    """The labels of a series by name, absent ones left out."""
    if labels is OVERFLOW or labels == OVERFLOW:
        return {"otel.metric.overflow": True}
    return {
        name: value for name, value in zip(instrument.labels, labels, strict=True) if value is not None and value != ""
    }
