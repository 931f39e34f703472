"""Spans of the process that makes the calls: a tracer provider that writes to the same file as the gateway.

`fwsdk` finds it by entry point and asks it once, so that an agent's steps and the gateway's attempts end up in one trace with no
set-up at all. A program that installed a provider of its own is never asked.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from fw_gateway.config.environment import environment
from fw_gateway.telemetry.files import LineFile
from fw_gateway.telemetry.otel import disabled, exporter, wants
from fw_gateway.telemetry.otlp import Value, any_value, quote
from fw_gateway.telemetry.resource import resource

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import Link, SpanContext

_FLUSH_AFTER = 500
"""Milliseconds a span may wait before it is written."""


def tracer_provider(environ: Mapping[str, str] | None = None) -> TracerProvider | None:
    """A provider when FW_TRACES_FILE or an OTEL_* variable asks for spans, else None. It flushes when the process ends."""
    environ = environment() if environ is None else environ
    if disabled(environ):
        return None
    sinks: list[Any] = []
    if path := environ.get("FW_TRACES_FILE"):
        sinks.append(FileSpanExporter(path))
    if wants("traces", environ) and (otlp := exporter("traces", environ)) is not None:
        sinks.append(otlp)
    if not sinks:
        return None
    provider = TracerProvider(resource=resource("fw-sdk"))
    for sink in sinks:
        provider.add_span_processor(BatchSpanProcessor(sink, schedule_delay_millis=_FLUSH_AFTER))
    return provider


class FileSpanExporter:
    """A `SpanExporter` that appends OTLP/JSON trace requests to a file, one a line."""

    def __init__(self, path: str) -> None:
        """The file is opened at the first span."""
        self._file = LineFile(path)

    def export(self, spans: Sequence["ReadableSpan"]) -> SpanExportResult:
        """Write a batch."""
        try:
            self._file.append(encode(spans))
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        self._file.close()

    def force_flush(self, _timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return True


def encode(spans: Sequence["ReadableSpan"]) -> bytes:
    """Finished spans of the SDK as one OTLP/JSON trace request, one line."""
    found: dict[Any, dict[Any, list[str]]] = defaultdict(lambda: defaultdict(list))
    for span in spans:
        found[span.resource][span.instrumentation_scope].append(_span(span))
    resources = []
    for about, scopes in found.items():
        parts = []
        for scope, texts in scopes.items():
            schema = f',"schemaUrl":{quote(scope.schema_url)}' if scope is not None and scope.schema_url else ""
            parts.append(f'{{"scope":{_scope(scope)},"spans":[{",".join(texts)}]{schema}}}')
        schema = f',"schemaUrl":{quote(about.schema_url)}' if about.schema_url else ""
        resources.append(f'{{"resource":{{{_attributes(about.attributes)}}},"scopeSpans":[{",".join(parts)}]{schema}}}')
    return f'{{"resourceSpans":[{",".join(resources)}]}}\n'.encode("ascii")


def _scope(scope: Any) -> str:
    if scope is None:
        return "{}"
    parts = [f'"name":{quote(scope.name)}']
    if scope.version:
        parts.append(f'"version":{quote(scope.version)}')
    if listed := _attributes(scope.attributes):
        parts.append(listed)
    return f"{{{','.join(parts)}}}"


def _attributes(mapping: Mapping[str, Value] | None) -> str:
    """`"attributes":[…]`, or nothing. The keys are somebody else's, so they are escaped."""
    if not mapping:
        return ""
    pairs = [f'{{"key":{quote(key)},"value":{any_value(value)}}}' for key, value in mapping.items()]
    return f'"attributes":[{",".join(pairs)}]'


def _flags(parent: "SpanContext | None") -> int:
    return 0x300 if parent is not None and parent.is_remote else 0x100


def _event(event: "Event") -> str:
    parts = [f'"timeUnixNano":"{event.timestamp}"', f'"name":{quote(event.name)}']
    if listed := _attributes(event.attributes):
        parts.append(listed)
    return f"{{{','.join(parts)}}}"


def _link(link: "Link") -> str:
    context = link.context
    parts = [f'"traceId":"{context.trace_id:032x}"', f'"spanId":"{context.span_id:016x}"', f'"flags":{_flags(context)}']
    if listed := _attributes(link.attributes):
        parts.append(listed)
    return f"{{{','.join(parts)}}}"


def _span(span: "ReadableSpan") -> str:
    context, parent, status = cast("SpanContext", span.get_span_context()), span.parent, span.status
    parts = [f'"traceId":"{context.trace_id:032x}"', f'"spanId":"{context.span_id:016x}"']
    if context.trace_state:
        parts.append(f'"traceState":{quote(context.trace_state.to_header())}')
    if parent is not None:
        parts.append(f'"parentSpanId":"{parent.span_id:016x}"')
    parts += [
        f'"flags":{_flags(parent)}',
        f'"name":{quote(span.name)}',
        f'"kind":{span.kind.value + 1}',
        f'"startTimeUnixNano":"{span.start_time}"',
        f'"endTimeUnixNano":"{span.end_time}"',
    ]
    if listed := _attributes(span.attributes):
        parts.append(listed)
    if span.events:
        parts.append(f'"events":[{",".join(map(_event, span.events))}]')
    if span.links:
        parts.append(f'"links":[{",".join(map(_link, span.links))}]')
    for name, count in (
        ("droppedAttributesCount", span.dropped_attributes),
        ("droppedEventsCount", span.dropped_events),
        ("droppedLinksCount", span.dropped_links),
    ):
        if count:
            parts.append(f'"{name}":{count}')
    told = [f'"message":{quote(status.description)}'] if status.description else []
    if status.status_code.value:
        told.append(f'"code":{status.status_code.value}')
    parts.append(f'"status":{{{",".join(told)}}}')
    return f"{{{','.join(parts)}}}"
