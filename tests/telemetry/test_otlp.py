"""The lean encoder says what the OpenTelemetry SDK's encoder says."""

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from fw_gateway import clock
from fw_gateway.telemetry import sdk
from fw_gateway.telemetry.events import Events
from fw_gateway.telemetry.otel import log_record, readable, scope
from fw_gateway.telemetry.otlp import CLIENT, Envelope, Fragment, Span, Value, event_text, span_text, written
from fw_gateway.telemetry.resource import SCHEMA_URL, SCOPE
from fw_gateway.telemetry.spans import Renderer
from tests.telemetry import samples

RESOURCE = Resource({"service.name": "fw-gateway", "service.version": "0.1.0", "fw.config.hash": "c0ffee"})
NAMED = scope(SCOPE, "0.1.0", SCHEMA_URL)
ENVELOPE = Envelope(dict(RESOURCE.attributes), SCOPE, version="0.1.0", schema_url=SCHEMA_URL)


def standard(message: Any) -> Any:
    """What the SDK's exporters would send, as OTLP/JSON: ids in hex, enums as integers."""
    return _hex(MessageToDict(message, use_integers_for_enums=True))


def _hex(value: Any) -> Any:
    if isinstance(value, list):
        return [_hex(item) for item in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {key: base64.b64decode(item).hex() if key in ids else _hex(item) for key, item in value.items()}


def renderer() -> Renderer:
    return Renderer(providers={"vllm": "vllm", "openai": "openai", "xai": "x_ai"}, version="0.1.0", prices="2026-11-20")


@pytest.mark.parametrize("kind", samples.ALL)
def test_a_call_is_encoded_as_the_sdk_encodes_it(kind: str) -> None:
    """Every kind of call: our line equals the standard encoder's request, field by field."""
    spans = renderer().render(samples.ALL[kind]()).spans
    ours = json.loads(ENVELOPE.traces(map(span_text, spans)))
    assert ours == standard(encode_spans([readable(span, RESOURCE, NAMED) for span in spans]))


def test_a_shadow_is_one_span_of_its_own_trace_that_points_at_the_call_it_was_asked_beside() -> None:
    record = samples.shadow()
    spans = renderer().render(record).spans
    ours = json.loads(ENVELOPE.traces(map(span_text, spans)))
    assert ours == standard(encode_spans([readable(span, RESOURCE, NAMED) for span in spans]))
    assert len(spans) == 1
    assert spans[0].parent_id == ""
    link = ours["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["links"][0]
    assert record.call.shadow is not None
    assert (link["traceId"], link["spanId"]) == (record.call.shadow.trace_id, record.call.shadow.span_id)
    assert Events().events(record, renderer().render(record)) == []


@pytest.mark.parametrize("kind", samples.ALL)
def test_events_are_encoded_as_the_sdk_encodes_them(kind: str) -> None:
    """Decision, outcome and failed attempts: our line equals the standard encoder's request."""
    record = samples.ALL[kind]()
    events = Events().events(record, renderer().render(record))
    ours = json.loads(ENVELOPE.logs(map(event_text, events)))
    made = [log_record(event, RESOURCE, NAMED) for event in events]
    readables = [ReadableLogRecord(one.log_record, RESOURCE, NAMED) for one in made]
    assert ours == standard(encode_logs(readables))


ODD: dict[str, Value] = {
    "text": 'quote " backslash \\ newline \n tab \t null \x00 del \x7f',
    "unicode": "héllo – 日本 🎉",
    "empty": "",
    "big": 2**53 + 1,
    "least": -(2**63),
    "zero": 0,
    "yes": True,
    "no": False,
    "tiny": 5e-324,
    "long": 0.1 + 0.2,
    "whole": 1.0,
    "huge": 1e300,
    "infinite": math.inf,
    "below": -math.inf,
    "list": ["a", "b"],
    "none": [],
    "holes": [1.5, None, 2.5],
}


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_odd_values_are_encoded_as_the_sdk_encodes_them(shared: bool) -> None:
    """Control characters, emoji, the ends of 64 bits, infinities, empty and holed lists."""
    span = Span("1" * 32, "2" * 16, "3" * 16, "chat ü", CLIENT, 1, 2, {} if shared else ODD, error="broke – ü")
    if shared:
        span.shared = (Fragment(ODD),)
    ours = json.loads(ENVELOPE.traces([span_text(span)]))
    assert ours == standard(encode_spans([readable(span, RESOURCE, NAMED)]))


def test_a_number_that_is_none_is_spelled_out() -> None:
    """JSON has no NaN; OTLP spells it."""
    span = Span("1" * 32, "2" * 16, "", "chat", CLIENT, 1, 2, {"nan": math.nan})
    assert '{"doubleValue":"NaN"}' in span_text(span)


def test_half_a_surrogate_pair_cannot_spoil_a_line() -> None:
    """A client may send `\\ud800`; what is written is still UTF-8 and JSON."""
    span = Span("1" * 32, "2" * 16, "", "chat \ud800", CLIENT, 1, 2, {"model": "x\ud800y"})
    (pair,) = json.loads(span_text(span))["attributes"]
    assert pair["value"] == {"stringValue": "x?y"}


def test_a_line_is_one_line() -> None:
    """One request a line, whatever stands in it."""
    span = Span("1" * 32, "2" * 16, "", "a\nb", CLIENT, 1, 2, {"text": "c\nd\u2028e"})
    assert ENVELOPE.traces([span_text(span)]).count(b"\n") == 1


def test_a_shorter_line_holds_nothing_of_the_longer_one_before_it() -> None:
    """The memory is the same, also after a line that could not be written; a line without items is empty."""
    line = ENVELOPE.traces_line()
    line.add(["1", "2"])
    line.add(["3"])
    with line.taken() as text:
        assert bytes(text) == ENVELOPE.traces(["1", "2", "3"])
    line.add(["4"])
    with pytest.raises(OSError, match="full"), line.taken():
        raise OSError("full")
    line.add(["5"])
    with line.taken() as text:
        assert bytes(text) == ENVELOPE.traces(["5"])
    line.add([])
    with line.taken() as text:
        assert not text


@pytest.mark.parametrize("kind", [*samples.ALL, "shadow"])
def test_a_span_is_written_the_same_with_and_without_an_object(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beside an exporter says what a file alone says."""
    monkeypatch.setattr(clock, "span_id", lambda: "5" * 16)
    record = samples.shadow() if kind == "shadow" else samples.ALL[kind]()
    assert renderer().made(record, written).spans == list(map(span_text, renderer().render(record).spans))


def sdk_spans() -> list[ReadableSpan]:
    """Spans as a program makes them with the SDK: nested, failing, linked, with events and keys of its own."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("fw.sdk", "0.1.0", schema_url=SCHEMA_URL, attributes={"team": "a"})
    bare = provider.get_tracer("bare")
    with tracer.start_as_current_span("invoke_agent bugbot", attributes={'odd "key"': "x", "n": 1}) as outer:
        link = Link(outer.get_span_context(), {"fw.link.type": "evaluates"})
        with bare.start_as_current_span("chat auto", kind=SpanKind.CLIENT, links=[link]) as inner:
            inner.add_event("happened", {"how": "well", "parts": [1, 2]})
            inner.set_status(Status(StatusCode.ERROR, "no luck"))
        with pytest.raises(ValueError, match="lost"), tracer.start_as_current_span("step edit"):
            raise ValueError("lost")
    return list(kept.get_finished_spans())


def test_spans_of_the_sdk_are_written_as_its_own_encoder_would() -> None:
    """What `tracer_provider` writes for the calling process equals the standard encoder's request."""
    spans = sdk_spans()
    assert json.loads(sdk.encode(spans)) == standard(encode_spans(spans))


def test_the_callers_spans_and_ours_share_a_file(tmp_path: Path) -> None:
    """With FW_TRACES_FILE the provider appends to the file that the gateway writes to."""
    from fw_gateway.telemetry import Recorder, reader  # noqa: PLC0415

    path = tmp_path / "traces.jsonl"
    provider = sdk.tracer_provider({"FW_TRACES_FILE": str(path)})
    assert provider is not None
    with provider.get_tracer("fw.sdk").start_as_current_span("chat auto"):
        recorder = Recorder(samples.config(str(tmp_path), traces_file=str(path)), environ={})
        recorder.put(samples.plain())
        recorder.flush()
    provider.shutdown()
    assert {span.scope for span in reader.read(path)} == {"fw.sdk", "fw.gateway"}


def test_nobody_who_did_not_ask_gets_a_tracer_provider() -> None:
    """No file and no OTEL_* variable: none. OTEL_SDK_DISABLED: none either."""
    assert sdk.tracer_provider({}) is None
    assert sdk.tracer_provider({"FW_TRACES_FILE": "x", "OTEL_SDK_DISABLED": "true"}) is None
