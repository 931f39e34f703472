"""OpenTelemetry GenAI spans: OTLP as JSON (also our own traces.jsonl), or one span a line as the SDK's console writes it.

Attribute names of the semantic conventions, new (`gen_ai.provider.name`, `gen_ai.usage.input_tokens`) and old (`gen_ai.system`,
`gen_ai.usage.prompt_tokens`, `llm.*`), and of OpenInference. Outcomes are `gen_ai.evaluation.result` events.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fw_gateway.audit.rows import (
    ANY,
    BadRow,
    CallRow,
    Row,
    Score,
    between,
    count,
    fingerprint,
    first,
    fraction,
    nano,
    number,
    text,
    when,
)
from fw_gateway.telemetry.reader import plain

NAME = "OpenTelemetry GenAI"
OPEN_TRACES = 5000
"""Traces kept until their parents are known; the oldest goes on with what is known of it."""
NO_CALL = frozenset({"invoke_agent", "create_agent", "execute_tool", "invoke_workflow", "plan", "retrieval"})
AGENT = ("gen_ai.agent.name", "fw.agent.name", "graph.name", "gen_ai.workflow.name")
STEP = ("fw.step.name", "langgraph.node", "langgraph_node", "graph.node.id", "traceloop.entity.name")
RUN = ("fw.run.id", "gen_ai.conversation.id", "session.id")
MODEL = ("gen_ai.response.model", "gen_ai.request.model", "llm.response.model", "llm.request.model", "llm.model_name")
PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.vendor", "llm.system")
INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens", "llm.token_count.prompt")
OUTPUT = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.usage.completion_tokens",
    "llm.token_count.completion",
)
CACHED = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "llm.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
)
COST = ("fw.cost.amount", "gen_ai.usage.cost", "llm.usage.total_cost", "gen_ai.usage.total_cost", "llm.cost.total")
TTFT = ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token", "fw.stream.time_to_first_content")
TOOLS = ("gen_ai.tool.definitions", "gen_ai.request.tools")
EVALUATION = "gen_ai.evaluation.result"


@dataclass(frozen=True, slots=True)
class _Span:
    parent: str
    agent: str
    step: str
    run: str


@dataclass(slots=True)
class _Trace:
    spans: dict[str, _Span] = field(default_factory=dict)
    calls: list[tuple[str, CallRow]] = field(default_factory=list)
    scores: list[tuple[str, str, float]] = field(default_factory=list)


def fits(record: Mapping[str, Any]) -> bool:
    """Whether a record is an OTLP request, or a span with the attributes of one."""
    if "resourceSpans" in record or "resourceLogs" in record:
        return True
    names = record.get("attributes")
    span = "span_id" in record or "spanId" in record or isinstance(record.get("context"), Mapping)
    return span and (isinstance(names, (Mapping, list)))


class Reader:
    """Spans in, rows out. A call waits for the spans above it, which say its agent, step and run."""

    def __init__(self) -> None:
        self._traces: OrderedDict[str, _Trace] = OrderedDict()

    def read(self, record: Mapping[str, Any]) -> Iterator[Row]:
        """Take one record; the rows of traces that waited too long.

        Raises:
            BadRow: it is no span.
        """
        try:
            for span, resource in _spans(record):
                self._take(span, resource)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise BadRow("a span that is not in the form of OTLP") from None
        while len(self._traces) > OPEN_TRACES:
            _, oldest = self._traces.popitem(last=False)
            yield from _settle(oldest)

    def rest(self) -> Iterator[Row]:
        """The rows of every trace that is left."""
        while self._traces:
            yield from _settle(self._traces.popitem(last=False)[1])

    def _take(self, span: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        context = span.get("context") or {}
        trace_id = text(first(span, "traceId", "trace_id") or context.get("trace_id"))
        span_id = text(first(span, "spanId", "span_id") or context.get("span_id"))
        if not trace_id or not span_id:
            raise ValueError
        found = _attributes(span)
        trace = self._traces.setdefault(trace_id, _Trace())
        own = _Span(
            parent=text(first(span, "parentSpanId", "parent_span_id", "parent_id")),
            agent=text(first(found, *AGENT)),
            step=text(first(found, *STEP)),
            run=text(first(found, *RUN)),
        )
        trace.spans[span_id] = own
        if (call := _call(span, found, (trace_id, span_id), text(resource.get("service.name")))) is not None:
            trace.calls.append((span_id, call))
        for event in span.get("events") or ():
            if event.get("name") == EVALUATION:
                said = _attributes(event)
                value = fraction(said.get("gen_ai.evaluation.score.value"))
                if value is not None:
                    trace.scores.append((span_id, text(said.get("gen_ai.evaluation.name")), value))


def _spans(record: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each span with the attributes of its resource."""
    if "resourceLogs" in record:
        return
    if "resourceSpans" not in record:
        yield record, _attributes(record.get("resource") or {})
        return
    for outer in record["resourceSpans"]:
        resource = plain(outer.get("resource", {}).get("attributes", ()))
        for scoped in outer.get("scopeSpans", ()):
            for span in scoped.get("spans", ()):
                yield {**span, "scope": scoped.get("scope", {}).get("name", "")}, resource


def _attributes(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    raw = holder.get("attributes") or ()
    return raw if isinstance(raw, Mapping) else plain(raw)


def _call(span: Mapping[str, Any], found: Mapping[str, Any], ids: tuple[str, str], service: str) -> CallRow | None:
    """The call that a span is, or None. A client span of ours without usage only wraps the gateway's own."""
    model = text(first(found, *MODEL))
    operation = text(found.get("gen_ai.operation.name"))
    kind = text(found.get("openinference.span.kind"))
    if not model or operation in NO_CALL or (kind and kind not in ("LLM", "EMBEDDING")):
        return None
    incoming, outgoing = count(first(found, *INPUT)), count(first(found, *OUTPUT))
    if span.get("scope") == "fw.sdk" and incoming is None:
        return None
    start = when(first(span, "startTimeUnixNano", "start_time_unix_nano", "start_time"))
    end = when(first(span, "endTimeUnixNano", "end_time_unix_nano", "end_time"))
    status = span.get("status") or {}
    code = first(status, "code", "status_code") if isinstance(status, Mapping) else status
    cost = nano(first(found, *COST))
    return CallRow(
        time=start,
        run="",
        call=f"{ids[0]}/{ids[1]}",
        agent=service if not service.startswith("unknown_service") else "",
        step=fingerprint(first(found, *TOOLS)) or ANY,
        model=model,
        provider=text(first(found, *PROVIDER)),
        input_tokens=incoming,
        output_tokens=outgoing,
        cached_tokens=count(first(found, *CACHED)),
        cost=None if cost == 0 and (incoming or outgoing) and "fw.cost.amount" not in found else cost,
        latency=between(start, end),
        ttft=_ttft(found),
        ok=code not in (2, "STATUS_CODE_ERROR", "ERROR") and "error.type" not in found,
    )


def _ttft(found: Mapping[str, Any]) -> float | None:
    seconds = number(first(found, *TTFT))
    if seconds is None and (wait := number(first(found, "ai.response.msToFirstChunk"))) is not None:
        return wait / 1000
    return seconds


def _settle(trace: _Trace) -> Iterator[Row]:
    """The calls of a trace with the agent, step and run of the nearest span above that says them."""
    runs = {own.run for own in trace.spans.values() if own.run}
    only = runs.pop() if len(runs) == 1 else ""
    placed: dict[str, str] = {}
    for span_id, call in trace.calls:
        agent, step, run = _above(trace, span_id)
        placed[span_id] = run or only or call.call.partition("/")[0]
        yield replace(call, agent=agent or call.agent, step=step or call.step, run=placed[span_id])
    calls = {span_id: call.call for span_id, call in trace.calls}
    anywhere = next(iter(placed.values()), only)
    for span_id, name, value in trace.scores:
        yield Score(
            placed.get(span_id, _above(trace, span_id)[2] or only or anywhere), calls.get(span_id, ""), name, value
        )


def _above(trace: _Trace, span_id: str) -> tuple[str, str, str]:
    found = ["", "", ""]
    seen: set[str] = set()
    while span_id in trace.spans and span_id not in seen:
        seen.add(span_id)
        own = trace.spans[span_id]
        for index, value in enumerate((own.agent, own.step, own.run)):
            found[index] = found[index] or value
        span_id = own.parent
    return found[0], found[1], found[2]
