"""Trace files read back: lines of OTLP/JSON to spans, spans to trees."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
STATUSES = {0: "UNSET", 1: "OK", 2: "ERROR"}


@dataclass(slots=True)
class SpanRow:
    """One span as it was read. Times are nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    status: str
    message: str
    start: int
    end: int
    attributes: dict[str, Any]
    links: list[dict[str, Any]]
    """Each `{"trace_id", "span_id", "attributes"}`."""
    scope: str
    schema_url: str
    resource: dict[str, Any]
    children: list["SpanRow"] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0, self.end - self.start) / 1e9

    def walk(self, depth: int = 0) -> Iterator[tuple[int, "SpanRow"]]:
        """The span and all below it, with their depth."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


@dataclass(slots=True)
class Trace:
    """All spans of one trace id that were found."""

    trace_id: str
    roots: list[SpanRow]
    """Spans whose parent is not in the files, in order of time."""

    @property
    def spans(self) -> list[SpanRow]:
        """All spans, depth first."""
        return [span for root in self.roots for _, span in root.walk()]

    @property
    def start(self) -> int:
        """When the first span began."""
        return min(span.start for span in self.spans)

    @property
    def end(self) -> int:
        """When the last span ended."""
        return max(span.end for span in self.spans)


def read(*paths: str | Path) -> list[SpanRow]:
    """The spans of trace files, a rotated `<name>.1` first. A line that is no trace request (a write that was cut) is passed over.

    Raises:
        OSError: a file cannot be read.
    """
    found: list[SpanRow] = []
    for path in paths:
        for part in (Path(f"{path}.1"), Path(path)):
            if part != Path(path) and not part.exists():
                continue
            with part.open("rb") as lines:
                for line in lines:
                    found.extend(parse(line))
    return found


def parse(line: bytes) -> Iterator[SpanRow]:
    """The spans of one line."""
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError:
        return
    if not isinstance(request, dict):
        return
    for resource_spans in request.get("resourceSpans", ()):
        resource = plain(resource_spans.get("resource", {}).get("attributes", ()))
        for scope_spans in resource_spans.get("scopeSpans", ()):
            scope = scope_spans.get("scope", {}).get("name", "")
            schema = scope_spans.get("schemaUrl", "")
            for span in scope_spans.get("spans", ()):
                yield _row(span, scope, schema, resource)


def _row(span: Mapping[str, Any], scope: str, schema: str, resource: dict[str, Any]) -> SpanRow:
    status = span.get("status", {})
    return SpanRow(
        trace_id=span["traceId"],
        span_id=span["spanId"],
        parent_id=span.get("parentSpanId", ""),
        name=span.get("name", ""),
        kind=KINDS.get(span.get("kind", 1), "INTERNAL"),
        status=STATUSES.get(status.get("code", 0), "UNSET"),
        message=status.get("message", ""),
        start=int(span.get("startTimeUnixNano", 0)),
        end=int(span.get("endTimeUnixNano", 0)),
        attributes=plain(span.get("attributes", ())),
        links=[
            {"trace_id": link["traceId"], "span_id": link["spanId"], "attributes": plain(link.get("attributes", ()))}
            for link in span.get("links", ())
        ],
        scope=scope,
        schema_url=schema,
        resource=resource,
    )


def plain(pairs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """OTLP key-values as a plain mapping."""
    return {pair["key"]: _value(pair.get("value", {})) for pair in pairs}


def _value(value: Mapping[str, Any]) -> Any:
    for kind, content in value.items():
        if kind == "intValue":
            return int(content)
        if kind == "doubleValue":
            return float(content)
        if kind == "arrayValue":
            return [_value(item) for item in content.get("values", ())]
        if kind == "kvlistValue":
            return plain(content.get("values", ()))
        return content
    return None


def trees(spans: Iterable[SpanRow]) -> list[Trace]:
    """Spans as trees, the oldest trace first. A span that was written twice counts once."""
    traces: dict[str, dict[str, SpanRow]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, {})[span.span_id] = span
    made = []
    for trace_id, known in traces.items():
        roots: list[SpanRow] = []
        for span in known.values():
            span.children = []
        for span in sorted(known.values(), key=lambda span: (span.start, span.end)):
            parent = known.get(span.parent_id)
            (roots if parent is None else parent.children).append(span)
        if roots:  # spans that are each other's parents have no root; they are nobody's tree
            made.append(Trace(trace_id, roots))
    return sorted(made, key=lambda trace: trace.start)


def find(traces: list[Trace], wanted: str = "last") -> Trace | None:
    """The newest trace (`last`), or the only one whose id begins with `wanted`, or that has it as run or decision id."""
    if wanted == "last":
        return max(traces, key=lambda trace: trace.end, default=None)
    for trace in traces:
        if trace.trace_id.startswith(wanted.lower()):
            return trace
    for trace in traces:
        ids = ("fw.run.id", "fw.decision.id")
        if any(span.attributes.get(name) == wanted for span in trace.spans for name in ids):
            return trace
    return None
