"""The tables as OTLP metrics, pushed at an interval when OTEL_* asks for it."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from fw_gateway.telemetry.metrics import Instrument, Labels, Series, Table, named
from fw_gateway.telemetry.otel import Lost

_log = logging.getLogger("fw.telemetry")


def metrics_data(
    tables: Sequence[Table], resource: Resource, scope: InstrumentationScope, *, since: int, now: int
) -> MetricsData:
    """Cumulative sums since `since`, read at `now` (both nanoseconds since the epoch)."""
    found = [_metric(table, since, now) for table in tables]
    schema = scope.schema_url or ""
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, found, schema)], resource.schema_url)])


def _metric(table: Table, since: int, now: int) -> Metric:
    instrument = table.instrument
    data: Histogram | Sum | Gauge
    if instrument.kind == "histogram":
        points = [_histogram(instrument, labels, series, (since, now)) for labels, series in table.series.items()]
        data = Histogram(points, AggregationTemporality.CUMULATIVE)
    else:
        numbers = [
            NumberDataPoint(dict(named(instrument, labels)), since, now, series.total)
            for labels, series in table.series.items()
        ]
        data = Gauge(numbers) if instrument.kind == "gauge" else Sum(numbers, AggregationTemporality.CUMULATIVE, True)
    return Metric(instrument.name, instrument.help, instrument.unit, data)


def _histogram(instrument: Instrument, labels: Labels, series: Series, span: tuple[int, int]) -> HistogramDataPoint:
    exemplars = [
        Exemplar({}, value, when, int(span_id, 16), int(trace_id, 16))
        for value, when, trace_id, span_id in filter(None, series.exemplars)
    ]
    return HistogramDataPoint(
        attributes=dict(named(instrument, labels)),
        start_time_unix_nano=span[0],
        time_unix_nano=span[1],
        count=series.count,
        sum=series.total,
        bucket_counts=list(series.buckets),
        explicit_bounds=list(instrument.bounds),
        min=series.low,
        max=series.high,
        exemplars=exemplars,
    )


def interval(environ: Mapping[str, str]) -> float:
    """Seconds between pushes: OTEL_METRIC_EXPORT_INTERVAL, in milliseconds there."""
    try:
        return max(0.1, float(environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")) / 1000)
    except ValueError:
        return 60.0


class Pusher:
    """Pushes what `collect` gives, each interval and once at the end, from a thread of its own."""

    def __init__(
        self, exporter: MetricExporter, collect: Callable[[], MetricsData], lost: Lost, *, every: float
    ) -> None:
        """`every` is in seconds."""
        self._exporter = exporter
        self._collect = collect
        self._lost = lost
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fw-metrics", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, timeout: float = 10.0) -> None:
        """Push once more and stop; gives up after `timeout` seconds."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._push()
        self._push()

    def _push(self) -> None:
        delivered = False
        try:
            delivered = self._exporter.export(self._collect()) is MetricExportResult.SUCCESS
        except OSError as fault:
            _log.warning("metrics were not exported: %s", fault)
        finally:
            if not delivered:
                self._lost("metrics", 1)
