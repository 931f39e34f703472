"""The recorder takes records at once, loses none silently, and never stands in the way."""

import http.server
import json
import logging
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from fw_gateway.ledger import SqliteLedger
from fw_gateway.telemetry import Recorder, otel, reader
from fw_gateway.turns import Rest
from fw_gateway.values import Record, Trace
from tests.telemetry import samples
from tests.telemetry.test_metrics import value


class Kept:
    """A ledger in memory; with `broken` it fails as a bug would, with `gate` it waits until that is open."""

    def __init__(self, *, broken: bool = False, gate: threading.Event | None = None) -> None:
        self.records: list[Record] = []
        self.rests: list[object] = []
        """What resting gave, once for each group; None: they were to be kept without a rest."""
        self.written = threading.Event()
        self._broken = broken
        self._gate = gate

    def write(self, records: Sequence[Record], rest: Rest | None = None) -> None:
        if self._gate is not None:
            self._gate.wait(30)
        if self._broken:
            raise RuntimeError("a bug")
        self.records.extend(records)
        self.rests.append(rest and rest())
        self.written.set()


def test_a_record_reaches_file_and_ledger(tmp_path: Path) -> None:
    """After a flush its spans can be read, and its row."""
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    recorder = Recorder(samples.config(str(tmp_path)), ledger, environ={})
    recorder.start()
    record = samples.plain()
    recorder.put(record)
    assert recorder.flush()
    assert len(reader.read(tmp_path / "traces.jsonl")) == 3
    assert ledger.decision(record.call.decision_id) is not None
    assert recorder.stop()
    ledger.close()


def test_stopping_writes_what_is_waiting(tmp_path: Path) -> None:
    """Records taken just before the end are not lost."""
    ledger = Kept()
    recorder = Recorder(samples.config(str(tmp_path)), ledger, environ={})
    recorder.start()
    for _ in range(500):
        recorder.put(samples.plain())
    assert recorder.stop(30)
    assert len(ledger.records) == 500
    assert len(reader.read(tmp_path / "traces.jsonl")) == 1500
    assert recorder.stop()  # twice is once


def test_work_is_spread_over_time_until_somebody_waits_for_it(tmp_path: Path) -> None:
    """Between two turns the thread rests; who flushes, or stops, does not wait for rests, and the next records are spread again."""
    ledger = Kept()
    recorder = Recorder(samples.config(str(tmp_path)), ledger, environ={})
    recorder.start()
    for flushed in (False, True, False):
        ledger.written.clear()
        recorder.put(samples.plain())
        assert recorder.flush() if flushed else ledger.written.wait(10)
    rested = [False, True, False]  # whether it was told to hurry
    assert ledger.rests == rested
    recorder.put(samples.plain())
    assert recorder.stop()
    assert ledger.rests == [*rested, True]


def test_a_loop_that_is_never_idle_is_not_interrupted_more_than_need_be(tmp_path: Path) -> None:
    """Four hundred records that wait are worked off at once, and what came to wait meanwhile with them."""
    ledger = Kept()
    recorder = Recorder(samples.config(str(tmp_path)), ledger, environ={})
    for _ in range(400):
        recorder.put(samples.plain())
    recorder.start()
    assert recorder.stop(30)
    assert ledger.rests == [None, None]


def test_many_records_are_a_few_lines(tmp_path: Path) -> None:
    """A batch is one line of the file."""
    recorder = Recorder(samples.config(str(tmp_path)), environ={})
    for _ in range(600):
        recorder.put(samples.plain())
    recorder.flush()
    assert (tmp_path / "traces.jsonl").read_text().count("\n") == 3


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    """Ten fit, five are dropped: the loop never waits, and the page says so."""
    recorder = Recorder(samples.config(str(tmp_path)), Kept(), environ={}, queue=10)
    for _ in range(15):
        recorder.put(samples.plain())
    recorder.flush()
    assert value(recorder.prometheus(), "fw_telemetry_dropped_total", reason="queue_full") == 5
    assert len(reader.read(tmp_path / "traces.jsonl")) == 30


def test_a_record_keeps_no_prompt_while_it_waits(tmp_path: Path) -> None:
    """Body and messages are let go of when the record is taken: a queue of large prompts would be the memory of the process."""
    record = samples.plain()
    Recorder(samples.config(str(tmp_path)), environ={}).put(record)
    assert record.call.body == b""
    kept = {"temperature": 0, "max_tokens": 200, "n": 1, "response_format": {"type": "json_schema"}}
    assert record.call.fields == kept  # what is no number where one belongs has gone, and so has the schema


def test_a_stop_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """A ledger that hangs does not keep the process from ending."""
    gate = threading.Event()
    recorder = Recorder(samples.config(str(tmp_path)), Kept(gate=gate), environ={})
    recorder.start()
    recorder.put(samples.plain())
    assert not recorder.stop(0.2)
    gate.set()


def test_a_record_that_cannot_be_rendered_harms_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and said once; the ones beside it are written."""
    recorder = Recorder(samples.config(str(tmp_path)), environ={})
    for _ in range(3):
        broken = samples.plain()
        broken.attempts[0].started = None  # a bug elsewhere
        recorder.put(broken)
    recorder.put(samples.plain())
    with caplog.at_level(logging.ERROR):
        recorder.flush()
    assert len(reader.read(tmp_path / "traces.jsonl")) == 3
    assert value(recorder.prometheus(), "fw_telemetry_dropped_total", reason="render_failed") == 3
    assert len(caplog.records) == 1


def test_a_ledger_with_a_bug_harms_no_trace(tmp_path: Path) -> None:
    """Spans are written and the rows are counted as lost."""
    recorder = Recorder(samples.config(str(tmp_path)), Kept(broken=True), environ={})
    recorder.put(samples.plain())
    recorder.flush()
    assert len(reader.read(tmp_path / "traces.jsonl")) == 3
    assert value(recorder.prometheus(), "fw_telemetry_dropped_total", reason="ledger_failed") == 1


def test_a_file_that_cannot_be_written_harms_no_ledger(tmp_path: Path) -> None:
    """The disk may be full: rows are kept, lost lines are counted."""
    ledger = Kept()
    recorder = Recorder(samples.config(str(tmp_path), traces_file=str(tmp_path)), ledger, environ={})
    recorder.put(samples.plain())
    recorder.flush()
    assert len(ledger.records) == 1
    assert value(recorder.prometheus(), "fw_telemetry_dropped_total", signal="traces", reason="write_failed") == 1


def test_a_trace_that_is_not_sampled_has_no_spans_but_a_row(tmp_path: Path) -> None:
    """The parent's flag is obeyed; ledger and metrics do not depend on it."""
    ledger = Kept()
    recorder = Recorder(samples.config(str(tmp_path)), ledger, environ={})
    recorder.put(samples.record(samples.call(trace=Trace("a" * 32, "b" * 16, 2)), [samples.attempt()]))
    recorder.put(samples.record(samples.call(trace=Trace("c" * 32, "d" * 16, 3)), [samples.attempt()]))
    recorder.flush()
    assert {span.trace_id for span in reader.read(tmp_path / "traces.jsonl")} == {"c" * 32}
    assert len(ledger.records) == 2


def test_the_sampler_is_the_sdks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_TRACES_SAMPLER decides for traces that begin here; a quarter means a quarter, by trace id."""
    environ = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    recorder = Recorder(samples.config(str(tmp_path)), environ=environ)
    for number in range(400):
        trace = Trace(f"{number:016x}{number * (2**64 // 400) + 2**50:016x}", "", 1)
        recorder.put(samples.record(samples.call(trace=trace), [samples.attempt()]))
    recorder.flush()
    kept = {span.trace_id for span in reader.read(tmp_path / "traces.jsonl")}
    assert len(kept) == 100


SAMPLERS = {
    "ratio": sampling.TraceIdRatioBased(0.3),
    "parent or ratio": sampling.ParentBasedTraceIdRatio(0.3),
    "parent, however, or ratio": sampling.ParentBased(
        sampling.TraceIdRatioBased(0.3), remote_parent_sampled=sampling.ALWAYS_OFF
    ),
    "all": sampling.ALWAYS_ON,
    "none": sampling.ALWAYS_OFF,
    "parent or none": sampling.DEFAULT_OFF,
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_that_is_worked_out_here_says_what_the_sdks_own_says(name: str) -> None:
    """By the SDK's own way of asking, with a remote parent, sampled or not, and without one."""
    decide, sampler, rng = otel.deciding(SAMPLERS[name]), SAMPLERS[name], random.Random(7)
    said = set()
    for _ in range(500):
        number, parent, flags = rng.getrandbits(128), rng.choice([0, rng.getrandbits(64) | 1]), rng.randrange(4)
        context = Context()
        if parent:
            above = SpanContext(number, parent, is_remote=True, trace_flags=TraceFlags(flags))
            context = set_span_in_context(NonRecordingSpan(above), context)
        wanted = sampler.should_sample(context, number, "call").decision is not sampling.Decision.DROP
        found = Trace(f"{number:032x}", f"{parent:016x}" if parent else "", flags)
        assert decide(found) is wanted
        said.add(wanted)
    assert len(said) == (1 if name in {"all", "none"} else 2)


def test_where_spans_are_written(tmp_path: Path) -> None:
    """The file asked for; else the state directory; nowhere when the operator says none."""
    state = str(tmp_path / "state")
    asked = samples.config(state, traces_file=str(tmp_path / "asked.jsonl"))
    assert Recorder(asked, environ={}).traces_path == str(tmp_path / "asked.jsonl")
    plain = samples.config(state)
    assert Recorder(plain, environ={"FW_TRACES_FILE": "here.jsonl"}).traces_path == "here.jsonl"
    assert Recorder(plain, environ={}).traces_path == str(tmp_path / "state" / "traces.jsonl")
    assert Recorder(plain, environ={"OTEL_TRACES_EXPORTER": "none"}).traces_path is None
    usual = samples.config(state, traces_file=f"{state}/traces.jsonl")
    assert Recorder(usual, environ={}).traces_path == f"{state}/traces.jsonl"
    assert Recorder(usual, environ={"OTEL_TRACES_EXPORTER": "none"}).traces_path is None
    assert Recorder(plain, environ={"OTEL_SDK_DISABLED": "true"}).traces_path is None


class Collector(http.server.ThreadingHTTPServer):
    """An OTLP collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def messages(self, path: str, kind: type[Any]) -> list[Any]:
        return [kind.FromString(body) for where, body, _ in self.received if where == path]


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, body, dict(self.headers)))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_all_three_signals_are_exported_when_an_endpoint_is_named(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTEL_EXPORTER_OTLP_ENDPOINT alone is enough; no file is written beside it; headers and resource are the operator's."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=a",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_SERVICE_NAME": "edge",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod",
    }
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    recorder = Recorder(samples.config(str(tmp_path)), environ=environ)
    recorder.start()
    record = samples.fallback()
    recorder.put(record)
    assert recorder.stop(30)
    (traces,) = collector.messages("/v1/traces", ExportTraceServiceRequest)
    (logs,) = collector.messages("/v1/logs", ExportLogsServiceRequest)
    (metrics,) = collector.messages("/v1/metrics", ExportMetricsServiceRequest)
    names = [span.name for span in traces.resource_spans[0].scope_spans[0].spans]
    assert names == ["POST /v1/chat/completions", "route coding", "chat gpt-5-mini", "chat Qwen/Qwen3-Coder-30B"]
    events = [one.event_name for one in logs.resource_logs[0].scope_logs[0].log_records]
    assert events == ["fw.route.decision", "gen_ai.client.operation.exception", "fw.call.outcome"]
    told = {metric.name for metric in metrics.resource_metrics[0].scope_metrics[0].metrics}
    assert {"fw.call.duration", "gen_ai.client.token.usage", "fw.attempts"} <= told
    about = {pair.key: pair.value.string_value for pair in traces.resource_spans[0].resource.attributes}
    assert about["service.name"] == "edge"
    assert about["deployment.environment.name"] == "prod"
    assert about["fw.config.hash"] == "c0ffee"
    assert about["service.instance.id"]
    assert {headers["x-team"] for _, _, headers in collector.received} == {"a"}
    assert not (tmp_path / "traces.jsonl").exists()
    assert samples.CANARY.encode() not in b"".join(body for _, body, _ in collector.received)


def test_a_dead_collector_costs_only_the_telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens: the ledger is written, the end is not held up, and what was lost is counted."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2"}
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    ledger = Kept()
    recorder = Recorder(samples.config(str(tmp_path)), ledger, environ=environ)
    recorder.start()
    recorder.put(samples.plain())
    assert recorder.flush()
    assert len(ledger.records) == 1
    assert recorder.stop(30)
    page = recorder.prometheus()
    assert value(page, "fw_telemetry_dropped_total", signal="traces", reason="export_failed") == 3
    assert value(page, "fw_telemetry_dropped_total", signal="logs", reason="export_failed") == 2


def test_what_an_environment_asks_for() -> None:
    """An exporter by name, or an endpoint; `none` and OTEL_SDK_DISABLED win."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert otel.wants("traces", endpoint)
    assert otel.wants("logs", {"OTEL_LOGS_EXPORTER": "otlp"})
    assert otel.wants("traces", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318"})
    assert not otel.wants("logs", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318"})
    assert not otel.wants("traces", {**endpoint, "OTEL_TRACES_EXPORTER": "none"})
    assert not otel.wants("metrics", {**endpoint, "OTEL_SDK_DISABLED": "true"})
    assert not otel.wants("traces", {})


def test_a_protocol_that_is_not_installed_is_named_with_its_package(caplog: pytest.LogCaptureFixture) -> None:
    """gRPC is an extra package; the warning says which, and the program goes on."""
    with caplog.at_level(logging.WARNING):
        assert otel.exporter("traces", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) is None
        assert otel.exporter("traces", {"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}) is None
    assert "opentelemetry-exporter-otlp-proto-grpc" in caplog.text
    assert "carrier-pigeon is not known" in caplog.text


def test_events_are_written_to_a_file_that_is_asked_for(tmp_path: Path) -> None:
    """FW_EVENTS_FILE: one log request a line, the decision with all its candidates and the outcome of the call."""
    path = tmp_path / "events.jsonl"
    recorder = Recorder(samples.config(str(tmp_path)), environ={"FW_EVENTS_FILE": str(path)})
    record = samples.plain()
    recorder.put(record)
    recorder.flush()
    (line,) = path.read_text().splitlines()
    decision, outcome = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert [decision["eventName"], outcome["eventName"]] == ["fw.route.decision", "fw.call.outcome"]
    body = reader.plain(decision["body"]["kvlistValue"]["values"])
    assert [one["target"] for one in body["candidates"]] == [
        "xai/grok-4.7@xai",
        "vllm/qwen3-coder-30b@gpu-1",
        "openai/gpt-5-mini@openai",
    ]
    told = reader.plain(outcome["body"]["kvlistValue"]["values"])
    assert told["fw.decision.id"] == record.call.decision_id
    assert told["fw.call.actual.cost"] == pytest.approx(12_345e-9)
    assert told["attempts"][0]["outcome"] == "success"
