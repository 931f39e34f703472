"""The OpenTelemetry SDK at our edge: OTLP exporters, as the standard OTEL_* variables ask for them, fed with finished values.

Nothing here runs on a call's path. Each exporter works behind the SDK's own batch processor, in a thread of its own, so that a
dead collector costs nothing but the telemetry itself; what it loses is counted.
"""

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber  # noqa: PLC2701 - the only place it has until logs are stable
from opentelemetry.sdk._logs import ReadWriteLogRecord  # noqa: PLC2701 - as above
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor  # noqa: PLC2701 - as above
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBasedTraceIdRatio, Sampler, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from fw_gateway.telemetry.otlp import CLIENT, INTERNAL, SERVER, Event, Span
from fw_gateway.values import Trace

_log = logging.getLogger("fw.telemetry")

Signal = Literal["traces", "metrics", "logs"]
Lost = Callable[[Signal, int], None]
"""Told how many items of a signal an exporter could not deliver."""

_EXPORTERS: Mapping[tuple[str, Signal], tuple[str, str]] = {
    ("http/protobuf", "traces"): ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "OTLPSpanExporter"),
    ("http/protobuf", "metrics"): ("opentelemetry.exporter.otlp.proto.http.metric_exporter", "OTLPMetricExporter"),
    ("http/protobuf", "logs"): ("opentelemetry.exporter.otlp.proto.http._log_exporter", "OTLPLogExporter"),
    ("grpc", "traces"): ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "OTLPSpanExporter"),
    ("grpc", "metrics"): ("opentelemetry.exporter.otlp.proto.grpc.metric_exporter", "OTLPMetricExporter"),
    ("grpc", "logs"): ("opentelemetry.exporter.otlp.proto.grpc._log_exporter", "OTLPLogExporter"),
}

_KINDS = {INTERNAL: SpanKind.INTERNAL, SERVER: SpanKind.SERVER, CLIENT: SpanKind.CLIENT}


def disabled(environ: Mapping[str, str]) -> bool:
    """Whether OTEL_SDK_DISABLED switches all of it off."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def wants(signal: Signal, environ: Mapping[str, str]) -> bool:
    """Whether OTLP is asked for: by OTEL_<SIGNAL>_EXPORTER, or, when that is not set, by naming an endpoint."""
    if disabled(environ):
        return False
    named = [name.strip() for name in environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").split(",") if name.strip()]
    if named:
        unknown = sorted(set(named) - {"otlp", "none"})
        if unknown:
            _log.warning(
                "OTEL_%s_EXPORTER: only otlp and none are known here, not %s", signal.upper(), ", ".join(unknown)
            )
        return "otlp" in named
    return bool(
        environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    )


def refused(signal: Signal, environ: Mapping[str, str]) -> bool:
    """Whether the operator said in so many words that a signal goes nowhere."""
    return disabled(environ) or environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() == "none"


def exporter(signal: Signal, environ: Mapping[str, str]) -> Any | None:
    """The SDK's exporter for a signal, or None with a warning when its protocol cannot be spoken here."""
    protocol = (
        environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    place = _EXPORTERS.get((protocol, signal))
    if place is None:
        _log.warning("OTLP protocol %s is not known: %s are not exported; use http/protobuf", protocol, signal)
        return None
    try:
        return getattr(importlib.import_module(place[0]), place[1])()
    except ImportError:
        package = f"opentelemetry-exporter-otlp-proto-{protocol.partition('/')[0]}"
        _log.warning("OTLP over %s needs the package %s: %s are not exported", protocol, package, signal)
        return None


def sampler(resource: Resource) -> Sampler:
    """The sampler that OTEL_TRACES_SAMPLER names, as the SDK makes it."""
    return TracerProvider(resource=resource, shutdown_on_exit=False).sampler


def deciding(chosen: Sampler) -> Callable[[Trace], bool]:
    """What a sampler says of a trace, which comes from a parent or begins here.

    It is asked twice of every call. Those by ratio are worked out as they do it themselves, without a context and a result made for that.
    """
    obeys = type(chosen) is ParentBasedTraceIdRatio
    ratio = getattr(chosen, "_root", None) if obeys else chosen
    if type(ratio) is not TraceIdRatioBased:
        return lambda found: _is_sampled(chosen, found)
    bound = ratio.bound

    def decide(found: Trace) -> bool:
        if obeys and found.parent_id:
            return found.sampled
        return int(found.trace_id[16:], 16) < bound

    return decide


def _is_sampled(chosen: Sampler, found: Trace) -> bool:
    number = int(found.trace_id, 16)
    parent = contexts.Context()
    if found.parent_id:
        above = SpanContext(number, int(found.parent_id, 16), is_remote=True, trace_flags=TraceFlags(found.flags))
        parent = trace.set_span_in_context(NonRecordingSpan(above), parent)
    return chosen.should_sample(parent, number, "call", SpanKind.SERVER).decision is not Decision.DROP


def scope(name: str, version: str, schema_url: str) -> InstrumentationScope:
    """An instrumentation scope."""
    return InstrumentationScope(name, version, schema_url)


def readable(span: Span, resource: Resource, named: InstrumentationScope) -> ReadableSpan:
    """Our span as the SDK's."""
    state = TraceState.from_header([span.state]) if span.state else TraceState()

    def context(span_id: str, *, remote: bool = False, trace: str = "") -> SpanContext:
        return SpanContext(int(trace or span.trace_id, 16), int(span_id, 16), remote, TraceFlags(span.flags), state)

    attributes: Any = span.attributes  # a wider type than the SDK's: an unknown in a list is None
    status = Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error or None)
    return ReadableSpan(
        name=span.name,
        context=context(span.span_id),
        parent=context(span.parent_id, remote=span.remote) if span.parent_id else None,
        resource=resource,
        attributes=attributes,
        links=[Link(context(link.span_id, trace=link.trace_id), {"fw.link.type": link.kind}) for link in span.links],
        kind=_KINDS[span.kind],
        status=status,
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=named,
    )


def log_record(event: Event, resource: Resource, named: InstrumentationScope) -> ReadWriteLogRecord:
    """Our event as the SDK's log record."""
    above = SpanContext(
        int(event.trace_id, 16), int(event.span_id, 16) if event.span_id else 0, False, TraceFlags(event.flags)
    )
    attributes: Any = event.attributes
    body: Any = event.whole_body or None
    record = LogRecord(
        timestamp=event.time,
        observed_timestamp=event.time,
        context=trace.set_span_in_context(NonRecordingSpan(above), contexts.Context()),
        severity_number=SeverityNumber(event.severity),
        severity_text=event.severity_text,
        body=body,
        attributes=attributes,
        event_name=event.name,
    )
    return ReadWriteLogRecord(log_record=record, resource=resource, instrumentation_scope=named)


class _Counted:
    """An exporter that counts what the one inside could not deliver."""

    def __init__(self, inner: Any, signal: Signal, lost: Lost) -> None:
        self._inner = inner
        self._signal = signal
        self._lost = lost

    def export(self, batch: Sequence[Any]) -> Any:
        """Export, and count the batch unless it is delivered; an exception passes through, counted."""
        delivered = False
        try:
            result = self._inner.export(batch)
            delivered = result.name == "SUCCESS"
            return result
        finally:
            if not delivered:
                self._lost(self._signal, len(batch))

    def shutdown(self) -> None:
        """End the exporter inside."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return bool(self._inner.force_flush(timeout_millis))


def _counted(inner: Any, signal: Signal, lost: Lost) -> Any:
    """An exporter to the SDK, which knows exporters only by their base classes; these differ by signal, and we do not."""
    return _Counted(inner, signal, lost)


class Otlp:
    """Spans and events on their way to a collector; a signal nobody asked for goes nowhere."""

    def __init__(self, environ: Mapping[str, str], resource: Resource, named: InstrumentationScope, lost: Lost) -> None:
        """Open what `environ` asks for."""
        self._resource = resource
        self._scope = named
        self._traces: BatchSpanProcessor | None = None
        self._logs: BatchLogRecordProcessor | None = None
        if wants("traces", environ) and (traces := exporter("traces", environ)) is not None:
            self._traces = BatchSpanProcessor(_counted(traces, "traces", lost))
        if wants("logs", environ) and (logs := exporter("logs", environ)) is not None:
            self._logs = BatchLogRecordProcessor(_counted(logs, "logs", lost))

    @property
    def traces(self) -> bool:
        """Whether spans are exported."""
        return self._traces is not None

    @property
    def logs(self) -> bool:
        """Whether events are exported."""
        return self._logs is not None

    def send(self, spans: Sequence[Span], events: Sequence[Event]) -> None:
        """Hand over what was rendered; returns at once."""
        if self._traces is not None:
            for span in spans:
                self._traces.on_end(readable(span, self._resource, self._scope))
        if self._logs is not None:
            for event in events:
                self._logs.on_emit(log_record(event, self._resource, self._scope))

    def flush(self) -> None:
        """Send what is waiting; takes as long as the collector takes."""
        if self._traces is not None:
            self._traces.force_flush()
        if self._logs is not None:
            self._logs.force_flush()

    def close(self) -> None:
        """Send what is waiting, then stop."""
        if self._traces is not None:
            self._traces.shutdown()  # type: ignore[no-untyped-call]
        if self._logs is not None:
            self._logs.shutdown()  # type: ignore[no-untyped-call]
