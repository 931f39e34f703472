"""What a record says about its call, in the names of the telemetry contract (semantic conventions profile genai/1.41).

Values only, no encoding. Money leaves as US dollars, times as seconds, an unknown quantity as an absent attribute.
"""

import math
from collections.abc import Mapping
from typing import Any

from fw_gateway.telemetry.otlp import Value
from fw_gateway.values import Attempt, Call, Record, Usage
from fw_policies.model import NANO_USD, Estimate, Plan, Target

MAX_CANDIDATES = 16
"""Length at which the parallel arrays of a route span are cut; the log event carries all."""

LONGEST = 256
"""Characters that a name or an id from outside may have in telemetry."""

OPERATIONS = {
    "chat": "LLM",
    "embeddings": "EMBEDDING",
    "text_completion": "LLM",
    "fw.count_tokens": "CHAIN",
    "fw.relay": "CHAIN",
}
"""Operation -> kind of span in OpenInference's terms."""

REQUEST_FIELDS = frozenset({
    "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "n",
    "top_k", "response_format", "encoding_format", "dimensions",
})  # fmt: skip
"""The only fields of a request body that telemetry looks at. None of them can hold a prompt, save a schema in `response_format`."""

_ERRORS = frozenset({
    "timeout", "connection_error", "stream_interrupted", "client_disconnected", "context_length_exceeded", "content_filter",
    "guardrail_blocked", "budget_exceeded", "rate_limited_local", "no_candidate", "invalid_response",
})  # fmt: skip

_FLOATS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
_INTS = {
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
    "top_k": "gen_ai.request.top_k",
    "dimensions": "gen_ai.embeddings.dimension.count",
}
_NUMBERS = frozenset({int, float, bool})
_OUTPUTS = {"text": "text", "json_object": "json", "json_schema": "json"}


def error_type(text: str) -> str:
    """`text` if it belongs to the closed set (an HTTP status, or a name of ours), else `_OTHER`; "" stays ""."""
    if not text or text in _ERRORS or (len(text) == 3 and text.isdigit() and "100" <= text <= "599"):
        return text
    return "_OTHER"


def short(text: str) -> str:
    """At most `LONGEST` characters of what somebody else wrote: a client or a provider may send megabytes as a name."""
    return text if len(text) <= LONGEST else text[:LONGEST]


def dollars(nano: float) -> float:
    """Nano-USD as US dollars."""
    return nano / NANO_USD


def identity(call: Call) -> dict[str, Value]:
    """The two that every layer repeats: agent and conversation, never invented."""
    found: dict[str, Value] = {}
    if call.identity.agent:
        found["gen_ai.agent.name"] = call.identity.agent
    if call.identity.thread:
        found["gen_ai.conversation.id"] = call.identity.thread
    return found


def call_attributes(record: Record) -> dict[str, Value]:
    """The line of EXPLAIN ANALYZE: what a call was expected to be and what it was.

    They stand on the gateway's SERVER span, or, for a call in process, on the caller's own chat span.
    """
    return rollup(record) if record.plan is None else {**rollup(record), **estimated(record.plan)}


def rollup(record: Record) -> dict[str, Value]:
    """What a call was; the half of `call_attributes` that no other call shares."""
    call = record.call
    found: dict[str, Value] = {
        "fw.decision.id": call.decision_id,
        "fw.request.model": short(call.model),
        "fw.call.attempt.count": len(record.attempts),
        "fw.call.outcome": record.outcome,
        "fw.call.actual.duration": duration(record),
        "fw.call.overhead.duration": overhead(record),
    }
    if call.identity.run:
        found["fw.run.id"] = call.identity.run
    if call.identity.step:
        found["fw.step.name"] = call.identity.step
    if call.key_id:
        found["fw.api_key.id"] = call.key_id
    if (cost := record.cost) is not None:
        found["fw.call.actual.cost"] = dollars(cost)
    served = record.served
    if served is not None:
        found["fw.call.served.model"] = served.target.model
        found["fw.call.served.provider"] = served.target.provider
        found["fw.call.served.deployment"] = served.target.deployment
        if (first := first_chunk(record)) is not None:
            found["fw.call.actual.time_to_first_chunk"] = first
        if served.usage is not None:
            outgoing = tokens(served.usage, failed=bool(served.error_type))[3]
            if outgoing is not None:
                found["fw.call.actual.output_tokens"] = outgoing
    return found


def estimated(plan: Plan) -> dict[str, Value]:
    """What the plan expected of the whole call; what was not known is absent."""
    outlook = plan.outlook
    found: dict[str, Value] = {}
    if outlook.cost is not None:
        found["fw.call.estimated.cost"] = dollars(outlook.cost.mean)
    if outlook.latency is not None:
        found["fw.call.estimated.duration"] = float(outlook.latency.mean)
    if outlook.ttft is not None:
        found["fw.call.estimated.time_to_first_chunk"] = float(outlook.ttft.mean)
    if outlook.output_tokens is not None:
        found["fw.call.estimated.output_tokens"] = round(outlook.output_tokens.mean)
    if outlook.quality is not None:
        found["fw.call.estimated.quality"] = float(outlook.quality.mean)
    return found


def first_chunk(record: Record) -> float | None:
    """Seconds from the call's beginning to the first event of the answer; None when it did not stream."""
    served = record.served
    if served is None or served.ttft is None or not record.call.stream:
        return None
    first = record.accepted if record.accepted is not None else served.started + served.ttft
    return _passed(record.call.started, first)


def overhead(record: Record) -> float:
    """Seconds of the call in which no attempt was open: what the gateway itself took."""
    call, busy, until = record.call, 0.0, record.call.started
    for attempt in record.attempts:  # in the order they were opened
        ended = attempt.ended if attempt.ended is not None else record.ended
        if ended > until:
            began = attempt.started
            if ended > began:
                busy += ended - (began if began > until else until)
            until = ended
    return max(0.0, record.ended - call.started - busy)


def server_attributes(call: Call, status: int, error: str) -> dict[str, Value]:
    """What HTTP says of the SERVER span, with its status and its (closed) error type; `call_attributes` come on top."""
    found: dict[str, Value] = {
        "http.request.method": "POST",
        "http.route": call.route,
        "url.path": call.route,
        "url.scheme": call.scheme,
        "openinference.span.kind": "CHAIN",
    }
    if status:
        found["http.response.status_code"] = status
    if call.server[0]:
        found["server.address"] = call.server[0]
        found["server.port"] = call.server[1]
    if call.user_agent:
        found["user_agent.original"] = short(call.user_agent)
    if error:
        found["error.type"] = error
    return found


def strategy(plan: Plan) -> str:
    """How the decision came about, in the contract's terms; how the plan is walked shows in its fallbacks."""
    if plan.reason == "pinned":
        return "pinned"
    return "cost_quality" if plan.objective or plan.requirements else "static"


def route_attributes(plan: Plan, *, version: str) -> dict[str, Value]:
    """The decision: all of it that does not depend on the single call. `version` is that of the estimator, our own."""
    found: dict[str, Value] = {
        "openinference.span.kind": "CHAIN",
        "fw.route.policy.name": plan.policy or plan.reason,
        "fw.route.policy.version": plan.version or "none",
        "fw.route.strategy": strategy(plan),
        "fw.route.reason": plan.reason,
        "fw.route.confidence": float(plan.confidence),
        "fw.route.exploration": plan.explored,
        "fw.route.propensity": float(plan.propensity),
    }
    if plan.objective:
        words = plan.objective.replace("minimize ", "min_").replace("maximize ", "max_")
        found["fw.route.objective"] = words.replace(" ", "_")
    found.update(_constraints(plan))
    found.update(_candidates(plan))
    if plan.targets:
        chosen = plan.targets[0]
        found["fw.route.selected.provider"] = chosen.provider
        found["fw.route.selected.model"] = chosen.model
        found["fw.route.selected.deployment"] = chosen.deployment
        if len(plan.targets) > 1:
            found["fw.route.fallbacks"] = [target.label for target in plan.targets[1:MAX_CANDIDATES]]
    if estimated(plan):
        found["fw.route.estimator.name"] = "fw_policies.estimate"
        found["fw.route.estimator.version"] = version
    return found


def _constraints(plan: Plan) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for requirement in plan.requirements:
        if requirement.limit is None:
            continue
        if requirement.measure == "cost":
            found["fw.route.constraint.max_cost"] = dollars(requirement.limit)
        elif requirement.measure == "quality":
            found["fw.route.constraint.min_quality"] = float(requirement.limit)
        elif requirement.measure == "latency":
            found["fw.route.constraint.deadline"] = float(requirement.limit)
    return found


def _candidates(plan: Plan) -> dict[str, Value]:
    """Parallel arrays, the plan's own targets first, so that the cut never loses the one that was chosen."""
    place = {target.deployment: index for index, target in enumerate(plan.targets)}
    ordered = sorted(plan.candidates, key=lambda candidate: place.get(candidate.target.deployment, len(place)))
    found: dict[str, Value] = {"fw.route.candidate.count": len(ordered)}
    shown = ordered[:MAX_CANDIDATES]
    if not shown:
        return found
    found["fw.route.candidates"] = [candidate.target.label for candidate in shown]
    found["fw.route.candidate.exclusion_reasons"] = [candidate.excluded for candidate in shown]
    columns = {
        "estimated_costs": [_mean(candidate.outlook.cost, 1 / NANO_USD) for candidate in shown],
        "estimated_durations": [_mean(candidate.outlook.latency) for candidate in shown],
        "estimated_times_to_first_chunk": [_mean(candidate.outlook.ttft) for candidate in shown],
        "estimated_qualities": [_mean(candidate.outlook.quality) for candidate in shown],
    }
    for name, column in columns.items():
        if any(value is not None for value in column):
            found[f"fw.route.candidate.{name}"] = column
    if plan.targets and shown[0].target.deployment == plan.targets[0].deployment:
        found["fw.route.selected.index"] = 0
    return found


def _mean(estimate: Estimate | None, scale: float = 1.0) -> float | None:
    return None if estimate is None else float(estimate.mean) * scale


def target_attributes(target: Target, operation: str, *, provider: str) -> dict[str, Value]:
    """What is the same for every attempt at one target. `provider` is its `gen_ai.provider.name`."""
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": short(target.upstream_model),
        "openinference.span.kind": OPERATIONS[operation],
        "fw.attempt.deployment": target.deployment,
    }


def parameters(fields: Mapping[str, Any]) -> dict[str, Value]:
    """Of a request's members those that telemetry names, as far as they can be what they should be: numbers, and words of a few.

    All else, schemas and megabytes in the place of a number, is let go of before anyone encodes it.
    """
    found: dict[str, Value] = {}
    for name in REQUEST_FIELDS.intersection(fields):
        value = fields[name]
        if type(value) in _NUMBERS:
            found[name] = value
        elif name == "response_format" and isinstance(value, dict):
            kind = value.get("type")
            if isinstance(kind, str) and kind in _OUTPUTS:
                found[name] = {"type": kind}
        elif name == "encoding_format" and value in ("float", "base64"):
            found[name] = value
    return found


def request_attributes(call: Call) -> dict[str, Value]:
    """The request's parameters, each only if it has the type it should have: clients send anything."""
    found: dict[str, Value] = {"gen_ai.request.stream": True} if call.stream else {}
    fields = call.fields
    for name in REQUEST_FIELDS.intersection(fields):
        value = fields[name]
        if name in _FLOATS:
            if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9:
                found[_FLOATS[name]] = float(value)
        elif name in _INTS:
            if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
                found[_INTS[name]] = value
        elif name == "n":
            if isinstance(value, int) and not isinstance(value, bool) and 1 < value < 1 << 31:
                found["gen_ai.request.choice.count"] = value
        elif name == "response_format":
            if isinstance(value, Mapping) and isinstance(kind := value.get("type"), str) and kind in _OUTPUTS:
                found["gen_ai.output.type"] = _OUTPUTS[kind]
        elif value in ("float", "base64"):
            found["gen_ai.request.encoding_formats"] = [value]
    return found


def attempt_outcome(attempt: Attempt, *, prices: str) -> dict[str, Value]:
    """The part of what an attempt did that takes few values; `target_attributes` and `request_attributes` come beside it."""
    found: dict[str, Value] = {
        "fw.attempt.number": attempt.number,
        "fw.attempt.reason": attempt.reason,
        "fw.attempt.outcome": attempt.outcome or "error",
    }
    if attempt.error_type:
        found["error.type"] = error_type(attempt.error_type)
    if attempt.trigger:
        found["fw.attempt.trigger"] = error_type(attempt.trigger)
    if attempt.server[0]:
        found["server.address"] = attempt.server[0]
        found["server.port"] = attempt.server[1]
    if attempt.response_model:
        found["gen_ai.response.model"] = short(attempt.response_model)
    if attempt.finish_reasons:
        found["gen_ai.response.finish_reasons"] = [short(reason) for reason in attempt.finish_reasons[:MAX_CANDIDATES]]
    if attempt.cost is not None:
        found["fw.cost.currency"] = "USD"
        found["fw.cost.source"] = attempt.cost_source
        if prices:
            found["fw.pricing.version"] = prices
    return found


def attempt_attributes(attempt: Attempt, *, stream: bool) -> dict[str, Value]:
    """The part of what an attempt did that is its own: times, tokens, money."""
    found: dict[str, Value] = {}
    if attempt.backoff:
        found["fw.attempt.backoff"] = float(attempt.backoff)
    if attempt.protocol:
        found["fw.attempt.protocol"] = attempt.protocol
    if attempt.lost:
        found["fw.attempt.lost"] = [short(name) for name in attempt.lost[:MAX_CANDIDATES]]
    if attempt.resends:
        found["http.request.resend_count"] = attempt.resends
    if attempt.response_id:
        found["gen_ai.response.id"] = short(attempt.response_id)
    if attempt.check:
        found["fw.attempt.check"] = attempt.check
    if attempt.accepted is not None:
        found["fw.attempt.accepted"] = attempt.accepted
    if stream:
        _stream(attempt, found)
    if attempt.usage is not None:
        counted = zip(_TOKENS, tokens(attempt.usage, failed=bool(attempt.error_type)), strict=True)
        found.update({name: known for name, known in counted if known is not None})
    if attempt.cost is not None:
        found["fw.cost.amount"] = dollars(attempt.cost)
    return found


def _stream(attempt: Attempt, found: dict[str, Value]) -> None:
    if attempt.ttft is not None:
        found["gen_ai.response.time_to_first_chunk"] = float(attempt.ttft)
    if attempt.first_content is not None:
        found["fw.stream.time_to_first_content"] = float(attempt.first_content)
    if attempt.chunks:
        found["fw.stream.chunk.count"] = attempt.chunks
    if attempt.max_gap:
        found["fw.stream.max_chunk_gap"] = float(attempt.max_gap)
    if attempt.stream_outcome:
        found["fw.stream.outcome"] = attempt.stream_outcome


def count(tokens: int | None) -> int | None:
    """A number of tokens that can be true, or None: a provider may say anything."""
    return tokens if tokens is not None and 0 <= tokens < 1 << 53 else None


def tokens(usage: Usage, *, failed: bool) -> tuple[int | None, int | None, int | None, int | None, int | None]:
    """Input, cached, written to a cache, output, reasoning: as they were reported, None where nothing was.

    A failed attempt that reports zero reports nothing, and a part never exceeds its whole.
    """
    incoming, outgoing = count(usage.input_tokens), count(usage.output_tokens)
    if failed and not incoming and not outgoing:
        return None, None, None, None, None
    return (
        incoming,
        _part(usage.cached_tokens, incoming),
        _part(usage.cache_write_tokens, incoming),
        outgoing,
        _part(usage.reasoning_tokens, outgoing),
    )


def _part(tokens: int | None, whole: int | None) -> int | None:
    if tokens is None or whole is None or (known := count(tokens)) is None:
        return None
    return known if known < whole else whole


_TOKENS = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.reasoning.output_tokens",
)


def duration(record: Record) -> float:
    """Seconds that a call took."""
    return _passed(record.call.started, record.ended)


def _passed(start: float, end: float) -> float:
    spent = end - start
    return spent if math.isfinite(spent) and spent > 0 else 0.0
