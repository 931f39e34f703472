"""The lean encoder: spans and log records as OTLP/JSON text, equal to what the OpenTelemetry SDK encodes (held by a test).

Text is built by hand because most of it never changes: what belongs to a plan or a target is encoded once, as a `Fragment`,
and only what belongs to one call is encoded each time. Everything is ASCII, so that joining and writing stay cheap.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from typing import Any

import orjson

Value = str | bool | int | float | None | Sequence["Value"] | Mapping[str, "Value"]
"""What an attribute or an event body may hold. None inside an array is an unknown, encoded as an empty value."""

INTERNAL, SERVER, CLIENT = 1, 2, 3
"""Span kinds, as OTLP numbers them."""

INFO, WARN = 9, 13
"""Severities, as OTLP numbers them."""

_REMOTE_KNOWN = 0x100
_REMOTE = 0x200
_INT64 = 1 << 63


def quote(text: str) -> str:
    """`text` as a JSON string in ASCII; halves of surrogate pairs, which no UTF-8 can carry, become question marks."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return encode_basestring_ascii(text)


def number(value: float) -> str:
    """A double as JSON; what JSON has no number for is spelled out, as OTLP/JSON demands."""
    if math.isfinite(value):
        return orjson.dumps(value).decode()  # a quarter of the cost of repr
    return '"NaN"' if value != value else '"Infinity"' if value > 0 else '"-Infinity"'  # noqa: PLR0124 - NaN


def any_value(value: Value) -> str:  # noqa: PLR0911 - one line a kind of value
    """One OTLP `AnyValue`.

    Raises:
        TypeError: for a type OTLP has no value for.
    """
    kind = type(value)
    if kind is str:
        return f'{{"stringValue":{quote(value)}}}'  # type: ignore[arg-type]
    if kind is float:
        return f'{{"doubleValue":{number(value)}}}'  # type: ignore[arg-type]
    if kind is bool:
        return '{"boolValue":true}' if value else '{"boolValue":false}'
    if kind is int:
        return f'{{"intValue":"{value}"}}' if -_INT64 <= value < _INT64 else any_value(float(value))  # type: ignore[operator,arg-type]
    if value is None:
        return "{}"
    if isinstance(value, Mapping):
        return f'{{"kvlistValue":{{"values":[{attributes(value)}]}}}}' if value else '{"kvlistValue":{}}'
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f'{{"arrayValue":{{"values":[{",".join(map(any_value, value))}]}}}}' if value else '{"arrayValue":{}}'
    raise TypeError(f"no OTLP value for {kind.__name__}")


def attributes(mapping: Mapping[str, Value]) -> str:
    """The key-values of `mapping`, joined by commas, without brackets."""
    parts = []
    for key, value in mapping.items():
        kind = type(value)
        # The two commonest kinds, without a call; keys are ours and need no escaping.
        if kind is str and value.isascii():  # type: ignore[union-attr]
            parts.append(f'{{"key":"{key}","value":{{"stringValue":{encode_basestring_ascii(value)}}}}}')  # type: ignore[arg-type]
        elif kind is int and -_INT64 <= value < _INT64:  # type: ignore[operator]
            parts.append(f'{{"key":"{key}","value":{{"intValue":"{value}"}}}}')
        elif kind is float and value - value == 0.0:  # type: ignore[operator]  # finite
            parts.append(f'{{"key":"{key}","value":{{"doubleValue":{orjson.dumps(value).decode()}}}}}')
        else:
            parts.append(f'{{"key":"{key}","value":{any_value(value)}}}')
    return ",".join(parts)


class Fragment:
    """Attributes that many spans share, with their text made once."""

    __slots__ = ("mapping", "text")

    def __init__(self, mapping: Mapping[str, Value]) -> None:
        """Encode `mapping` now; it must not change afterwards."""
        self.mapping = mapping
        self.text = attributes(mapping)


@dataclass(slots=True)
class Link:
    """A pointer to another span, of the same trace unless another is named; `kind` is `fw.link.type`."""

    span_id: str
    kind: str
    trace_id: str = ""


@dataclass(slots=True)
class Span:
    """One finished span. Ids are hex, times are nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start: int
    end: int
    own: dict[str, Value]
    """Attributes of this span alone; their keys appear in no fragment of it."""
    shared: tuple[Fragment, ...] = ()
    links: tuple[Link, ...] = ()
    state: str = ""
    remote: bool = False
    """The parent is in another process."""
    error: str | None = None
    """Description of the failure; None leaves the status unset."""
    flags: int = 1
    """W3C flags of the trace."""

    @property
    def attributes(self) -> dict[str, Value]:
        """All attributes, in the order they are encoded."""
        return merged(self.shared, self.own)


@dataclass(slots=True)
class Event:
    """One log record with an event name. `body` is structured; `shared` is a part of it that was encoded before."""

    name: str
    severity: int
    time: int
    trace_id: str
    span_id: str
    flags: int
    attributes: dict[str, Value]
    body: dict[str, Value]
    shared: tuple[Fragment, ...] = ()

    @property
    def severity_text(self) -> str:
        """The severity in a word."""
        return "INFO" if self.severity == INFO else "WARN"

    @property
    def whole_body(self) -> dict[str, Value]:
        """The body with its shared parts."""
        return merged(self.shared, self.body)


def merged(shared: Iterable[Fragment], own: Mapping[str, Value]) -> dict[str, Value]:
    """One mapping, in the order in which it is encoded."""
    whole: dict[str, Value] = {}
    for fragment in shared:
        whole.update(fragment.mapping)
    whole.update(own)
    return whole


def _listed(shared: Iterable[Fragment], own: Mapping[str, Value]) -> str:
    texts = [fragment.text for fragment in shared if fragment.text]
    if own:
        texts.append(attributes(own))
    return ",".join(texts)


_LINK_TEXT = {
    kind: Fragment({"fw.link.type": kind}).text
    for kind in ("decided_by", "retry_of", "fallback_of", "hedge_of", "cascade_of", "shadow_of")
}


def _link(link: Link, trace: str) -> str:
    return f'{{"traceId":"{trace}","spanId":"{link.span_id}","attributes":[{_LINK_TEXT[link.kind]}],"flags":{_REMOTE_KNOWN}}}'


def written(  # noqa: PLR0913, PLR0917 - the fields of a `Span`
    trace_id: str,
    span_id: str,
    parent_id: str,
    name: str,
    kind: int,
    start: int,
    end: int,
    own: Mapping[str, Value],
    shared: tuple[Fragment, ...] = (),
    links: tuple[Link, ...] = (),
    state: str = "",
    remote: bool = False,
    error: str | None = None,
    flags: int = 1,
) -> str:
    """The text of `Span(...)` with the same arguments, without the object between."""
    text = _listed(shared, own)
    listed = f'"attributes":[{text}],' if text else ""
    parent = f'"parentSpanId":"{parent_id}",' if parent_id else ""
    said = f'"traceState":{quote(state)},' if state else ""
    pointers = ",".join([_link(link, link.trace_id or trace_id) for link in links]) if links else ""
    pointing = f'"links":[{pointers}],' if links else ""
    status = "{}" if error is None else f'{{"message":{quote(error)},"code":2}}' if error else '{"code":2}'
    return (
        f'{{"traceId":"{trace_id}","spanId":"{span_id}",{said}{parent}"flags":{_REMOTE_KNOWN | _REMOTE if remote else _REMOTE_KNOWN},'
        f'"name":{quote(name)},"kind":{kind},"startTimeUnixNano":"{start}","endTimeUnixNano":"{end}",'
        f'{listed}{pointing}"status":{status}}}'
    )


def span_text(span: Span) -> str:
    """One OTLP/JSON span."""
    return written(*_fields(span))


_fields: Callable[[Span], tuple[Any, ...]] = attrgetter(*Span.__slots__)


def event_text(event: Event) -> str:
    """One OTLP/JSON log record."""
    values = _listed(event.shared, event.body)
    body = f'{{"kvlistValue":{{"values":[{values}]}}}}' if values else "{}"
    listed = f'"attributes":[{attributes(event.attributes)}],' if event.attributes else ""
    flags = f'"flags":{event.flags},' if event.flags else ""
    return (
        f'{{"timeUnixNano":"{event.time}","observedTimeUnixNano":"{event.time}","severityNumber":{event.severity},'
        f'"severityText":"{event.severity_text}","body":{body},{listed}{flags}'
        f'"traceId":"{event.trace_id}","spanId":"{event.span_id}","eventName":"{event.name}"}}'
    )


class Line:
    """One request as it grows, in memory that the next one uses again: a fresh megabyte costs more than all that is written into it."""

    __slots__ = ("_buffer", "_head", "_tail")

    def __init__(self, head: str, tail: str) -> None:
        """What stands before and after the items."""
        self._buffer = BytesIO()
        self._head = head.encode("ascii")
        self._tail = tail.encode("ascii")

    def add(self, items: Sequence[str]) -> None:
        """More items, already encoded."""
        if items:
            self._buffer.write(b"," if self._buffer.tell() else self._head)
            self._buffer.write(",".join(items).encode("ascii"))

    @contextmanager
    def taken(self) -> Iterator[memoryview]:
        """The line, empty if it has no items, for as long as the context lasts; then it begins anew."""
        if self._buffer.tell():
            self._buffer.write(self._tail)
        try:
            with self._buffer.getbuffer() as whole, whole[: self._buffer.tell()] as line:
                yield line
        finally:
            self._buffer.seek(0)


class Envelope:
    """What surrounds the spans or log records of one process: resource and scope, encoded once."""

    __slots__ = ("_logs", "_tail", "_traces")

    def __init__(self, resource: Mapping[str, Value], scope: str, *, version: str, schema_url: str) -> None:
        """One resource, one instrumentation scope."""
        schema = quote(schema_url)
        named = f'"scope":{{"name":{quote(scope)},"version":{quote(version)}}}'
        described = f'"resource":{{"attributes":[{attributes(resource)}]}}' if resource else '"resource":{}'
        self._traces = f'{{"resourceSpans":[{{{described},"scopeSpans":[{{{named},"spans":['
        self._logs = f'{{"resourceLogs":[{{{described},"scopeLogs":[{{{named},"logRecords":['
        self._tail = f'],"schemaUrl":{schema}}}]}}]}}\n'

    def traces_line(self) -> Line:
        """For lines that are each an `ExportTraceServiceRequest`."""
        return Line(self._traces, self._tail)

    def logs_line(self) -> Line:
        """For lines that are each an `ExportLogsServiceRequest`."""
        return Line(self._logs, self._tail)

    def traces(self, spans: Iterable[str]) -> bytes:
        """One line: an `ExportTraceServiceRequest` of spans already encoded."""
        return _whole(self.traces_line(), spans)

    def logs(self, events: Iterable[str]) -> bytes:
        """One line: an `ExportLogsServiceRequest` of log records already encoded."""
        return _whole(self.logs_line(), events)


def _whole(line: Line, items: Iterable[str]) -> bytes:
    line.add(list(items))
    with line.taken() as made:
        return bytes(made)
