"""From records to telemetry, off the event loop: one bounded queue, one thread, everything rendered in batches."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.sdk.metrics.export import MetricsData

from fw_gateway import clock
from fw_gateway.config.environment import environment
from fw_gateway.telemetry import attributes, exposition, metrics, push, spans
from fw_gateway.telemetry.events import Events
from fw_gateway.telemetry.files import LineFile
from fw_gateway.telemetry.measure import Measurer
from fw_gateway.telemetry.otel import Otlp, Signal, deciding, disabled, exporter, refused, sampler, scope, wants
from fw_gateway.telemetry.otlp import Envelope, Line, Span, event_text, span_text, written
from fw_gateway.telemetry.resource import SCHEMA_URL, SCOPE, package_version, resource
from fw_gateway.telemetry.templates import Templates
from fw_gateway.turns import Rest, breathe, turns
from fw_gateway.values import Record, Trace

if TYPE_CHECKING:
    from fw_gateway.config import Config

_log = logging.getLogger("fw.telemetry")

QUEUE = 8192
"""Records that may wait; more are dropped and counted."""

_BATCH = 256
"""Records that become one line of a file and one transaction of the ledger."""

_TURN = 8
"""Records rendered before the thread lets go of the interpreter, so that the loop never waits for it longer than half a millisecond."""

_INTERVAL = 0.25
_SPREAD = 0.2
"""Seconds over which the turns of what waits are spread. Done at once, they are in the way of each call of that time at every step it takes: it came
three milliseconds late, as one call in a hundred did."""
_MANY = 400
"""From so many on that wait (1,600 calls a second) they are not spread: calls wait for each other then, and turns close together cost a
twentieth of a call less, because the processor's caches are warm."""


_SAMPLED: Callable[[Trace], bool] = attrgetter("sampled")


class Sink(Protocol):
    """Where records are kept for good; the ledger. It counts its own failures and raises nothing."""

    def write(self, records: Sequence[Record], rest: Rest | None = None) -> None:
        """Keep these records; with a `rest` between two turns of it, or at once."""
        ...


class Recorder:
    """Takes records on the loop, renders them in a thread of its own."""

    def __init__(
        self,
        config: "Config",
        ledger: Sink | None = None,
        *,
        gauges: metrics.Gauges = tuple,
        environ: Mapping[str, str] | None = None,
        queue: int = QUEUE,
    ) -> None:
        """`gauges` is asked for its values at each reading of the metrics; `environ` holds the OTEL_* variables."""
        environ = environment() if environ is None else environ
        settings, self._ledger = config.telemetry, ledger
        version = package_version()
        self._resource = resource(settings.service_name, environment=settings.environment, config_hash=config.digest)
        self._scope = scope(SCOPE, version, SCHEMA_URL)
        about = dict(self._resource.attributes)
        envelope = Envelope(about, SCOPE, version=version, schema_url=SCHEMA_URL)
        self._traces_line, self._events_line = envelope.traces_line(), envelope.logs_line()
        providers = {end.target.provider: end.row.otel_name or end.row.name for end in config.endpoints}
        self._renderer = spans.Renderer(providers=providers, version=version, prices=config.prices)
        self._events = Events()
        self._metrics = metrics.Metrics(started_ns=clock.wall_ns(), gauges=gauges)
        self._measurer = Measurer(
            self._metrics,
            providers=providers,
            models=[end.target.model for end in config.endpoints if not end.forward_name],
            upstream=[end.target.upstream_model for end in config.endpoints if not end.forward_name],
            version=version,
        )
        asked = environ.get("OTEL_TRACES_SAMPLER")
        self.sampled: Callable[[Trace], bool] = deciding(sampler(self._resource)) if asked else _SAMPLED
        """Whether the spans of a trace are kept: its own flag, or what the SDK's sampler says when OTEL_TRACES_SAMPLER is set.

        The same at the beginning of a call, for the flags that are sent upstream, and at its end.
        """
        self._losses: dict[tuple[str, str], int] = {}
        self._otlp = Otlp(environ, self._resource, self._scope, self._export_lost)
        self._traces_file = _traces_file(config, environ, exported=self._otlp.traces)
        # Only exporters need spans as objects.
        self._make: spans.Make[Any] = Span if self._otlp.traces else written
        self._spans = self._traces_file is not None or self._otlp.traces
        # Decisions and outcomes are in the ledger anyway, so their events are written only where somebody asks for them.
        self._events_file = LineFile(environ["FW_EVENTS_FILE"]) if environ.get("FW_EVENTS_FILE") else None
        self._logs = self._events_file is not None or self._otlp.logs
        # Objects and events need more than text.
        self._templates = None if self._otlp.traces or self._logs else Templates(self._renderer)
        self._pusher = self._push(environ)
        self._queue: deque[Record | threading.Event] = deque()
        self._limit = queue
        self._overflowed = 0
        self._wake = threading.Event()
        self._hurry = threading.Event()
        """Somebody waits for what is taken so far."""
        self._stopping = False
        self._tables = threading.Lock()
        self._draining = threading.Lock()
        self._thread: threading.Thread | None = None
        self._complained: set[str] = set()

    @property
    def traces_path(self) -> str | None:
        """The file that spans are written to, if there is one."""
        return str(self._traces_file.path) if self._traces_file is not None else None

    def put(self, record: Record) -> None:
        """Take a record. Costs a microsecond; when the queue is full the record is dropped and counted.

        The request's body is let go of here: only the parameters that telemetry names are kept.
        """
        queue = self._queue
        if len(queue) >= self._limit:
            self._overflowed += 1
            return
        call = record.call
        call.body = b""
        call.fields = attributes.parameters(call.fields)
        queue.append(record)
        if len(queue) == _BATCH:
            self._wake.set()

    def start(self) -> None:
        """Begin to drain."""
        if self._thread is None:
            self._stopping = False
            self._hurry.clear()
            self._thread = threading.Thread(target=self._run, name="fw-telemetry", daemon=True)
            self._thread.start()
            if self._pusher is not None:
                self._pusher.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """Write what is waiting and stop; False when that took longer than `timeout` seconds and was given up."""
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        thread.join(timeout)
        if thread.is_alive():
            _log.warning("telemetry was not written within %s s: %s records are lost", timeout, len(self._queue))
            return False
        return True

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything taken so far is in files and ledger; False after `timeout` seconds. Not for the loop."""
        self._hurry.set()
        if self._thread is None:
            self._drain()
            return True
        done = threading.Event()
        self._queue.append(done)
        self._wake.set()
        return done.wait(timeout)

    def prometheus(self, *, openmetrics: bool = False) -> str:
        """The page for `/metrics`; with exemplars when the scraper reads OpenMetrics."""
        about = {key: str(value) for key, value in self._resource.attributes.items()}
        with self._tables:
            return exposition.text(self._read(), openmetrics=openmetrics, target=about)

    # Everything below runs in the thread.

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(_INTERVAL)
            self._wake.clear()
            self._drain()
        self._drain()
        if self._pusher is not None:
            self._pusher.close()
        self._otlp.close()
        for file in (self._traces_file, self._events_file):
            if file is not None:
                file.close()

    def _drain(self) -> None:
        with self._draining:
            queue, spread = self._queue, True
            while queue:
                waiting = len(queue)
                spread = spread and waiting < _MANY
                batch: list[Record] = []
                done: threading.Event | None = None
                while queue and len(batch) < _BATCH:
                    item = queue.popleft()
                    if isinstance(item, threading.Event):
                        done = item
                        break
                    batch.append(item)
                if batch:
                    self._write(batch, partial(self._hurry.wait, _SPREAD * _TURN / waiting) if spread else None)
                if done is not None:
                    if not self._stopping:
                        self._hurry.clear()
                    done.set()

    def _write(self, batch: list[Record], rest: Rest | None) -> None:
        for some in turns(batch, _TURN, rest or breathe):
            traces: list[str] = []
            events: list[str] = []
            for record in some:
                self._guarded("render", partial(self._render, record, traces, events))
            self._traces_line.add(traces)
            self._events_line.add(events)
        self._append("traces", self._traces_file, self._traces_line)
        self._append("logs", self._events_file, self._events_line)
        if self._ledger is not None:
            self._guarded("ledger", partial(self._ledger.write, batch, rest), len(batch))

    def _render(self, record: Record, traces: list[str], events: list[str]) -> None:
        """Metrics see every call; the spans of a trace that is not kept are not even made, unless events refer to them."""
        sampled = self.sampled(record.call.trace)
        with self._tables:
            self._measurer.record(record, sampled=sampled)
        if not ((sampled and self._spans) or self._logs):
            return
        if self._templates is not None and (text := self._templates.written(record)) is not None:
            traces.append(text)
            return
        rendered = self._renderer.made(record, self._make)
        made = rendered.spans if sampled else []
        happened = self._events.events(record, rendered) if self._logs else []
        if self._traces_file is not None:
            traces += map(span_text, made) if self._otlp.traces else made
        if self._events_file is not None:
            events.extend(map(event_text, happened))
        if self._otlp.traces or self._otlp.logs:
            self._otlp.send(made, happened)

    def _guarded(self, part: str, act: Callable[[], None], count: int = 1) -> None:
        """The border of the thread: one record that cannot be rendered must not end the telemetry of all others."""
        try:
            act()
        except Exception:  # noqa: BLE001 - counted and logged; there is nobody above to tell
            self._lose("records", f"{part}_failed", count)
            if part not in self._complained:
                self._complained.add(part)
                _log.exception("telemetry: %s failed; further failures are only counted", part)

    def _append(self, signal: Signal, file: LineFile | None, line: Line) -> None:
        if file is None:
            return
        try:
            with line.taken() as text:
                if text:
                    file.append(text)
        except OSError as fault:
            self._lose(signal, "write_failed", 1)
            if signal not in self._complained:
                self._complained.add(signal)
                _log.warning("%s cannot be written to %s: %s", signal, file.path, fault)

    def _lose(self, signal: str, reason: str, count: int) -> None:
        with self._tables:
            self._losses[signal, reason] = self._losses.get((signal, reason), 0) + count

    def _export_lost(self, signal: Signal, count: int) -> None:
        self._lose(signal, "export_failed", count)

    def _read(self) -> list[metrics.Table]:
        """All tables, with the losses and the queue's own in them. Called with the lock held."""
        dropped = self._metrics.table(metrics.DROPPED)
        dropped.at(("records", "queue_full")).total = self._overflowed
        for labels, count in self._losses.items():
            dropped.at(labels).total = count
        return self._metrics.read()

    def _push(self, environ: Mapping[str, str]) -> push.Pusher | None:
        if disabled(environ) or not wants("metrics", environ):
            return None
        target = exporter("metrics", environ)
        if target is None:
            return None
        return push.Pusher(target, self._collect, self._export_lost, every=push.interval(environ))

    def _collect(self) -> MetricsData:
        with self._tables:
            return push.metrics_data(
                self._read(), self._resource, self._scope, since=self._metrics.started_ns, now=clock.wall_ns()
            )


def _traces_file(config: "Config", environ: Mapping[str, str], *, exported: bool) -> LineFile | None:
    """The file that was asked for; the usual one in the state directory when spans go nowhere else."""
    usual = Path(config.server.state_dir) / "traces.jsonl"
    asked = environ.get("FW_TRACES_FILE") or config.telemetry.traces_file
    if asked and (environ.get("FW_TRACES_FILE") or Path(asked) != usual):
        return LineFile(asked)
    return None if exported or refused("traces", environ) else LineFile(usual)
