"""Records as the engine makes them, for tests: every kind of call a gateway sees."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fw_gateway import clock
from fw_gateway.catalog.rows import ProviderRow
from fw_gateway.config import Config, Endpoint, ServerConfig, TelemetryConfig
from fw_gateway.values import Attempt, Call, Identity, Origin, Record, Trace, Usage
from fw_policies.model import (
    Candidate,
    Estimate,
    MachinePrice,
    Note,
    Outlook,
    Plan,
    Requirement,
    Target,
    TokenPrice,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

CANARY = "the-patient-is-called-Ottilie-Quux"
"""A prompt that must never be seen in any telemetry."""

QWEN = Target(
    model="qwen3-coder-30b",
    deployment="qwen3-coder-30b@gpu-1",
    provider="vllm",
    upstream_model="Qwen/Qwen3-Coder-30B",
    price=MachinePrice(hour=2_100_000_000),
    capabilities=frozenset({"chat", "stream", "tools"}),
    context=131_072,
    region="eu",
    self_hosted=True,
    tags=frozenset({"own"}),
)
GPT = Target(
    model="gpt-5-mini",
    deployment="gpt-5-mini@openai",
    provider="openai",
    upstream_model="gpt-5-mini",
    price=TokenPrice(input=250_000_000, output=2_000_000_000, cached_input=25_000_000),
    capabilities=frozenset({"chat", "stream"}),
)
CLOSED = Target(model="grok-4.7", deployment="grok-4.7@xai", provider="xai", upstream_model="grok-4.7")

ROWS = {
    "vllm": ProviderRow(name="vllm", title="vLLM", base_url="", otel_name="vllm", self_hosted=True),
    "openai": ProviderRow(name="openai", title="OpenAI", base_url="https://api.openai.com/v1", otel_name="openai"),
    "xai": ProviderRow(name="xai", title="xAI", base_url="https://api.x.ai/v1", otel_name="x_ai"),
}


def estimate(mean: float) -> Estimate:
    return Estimate(mean=mean, low=mean * 0.8, high=mean * 1.25, n=40.0, p95=mean * 2)


OUTLOOK = Outlook(
    quality=estimate(0.8),
    ttft=estimate(0.2),
    latency=estimate(1.5),
    cost=estimate(45_000.0),
    output_tokens=estimate(120.0),
)

PLAN = Plan(
    policy="coding",
    version="3f9c2a",
    step="edit",
    objective="minimize cost",
    strategy="fall_back",
    reason="best_score",
    targets=(GPT, QWEN),
    candidates=(
        Candidate(CLOSED, Outlook(), excluded="no_credential", why="no key for xai"),
        Candidate(QWEN, Outlook(latency=estimate(2.5))),
        Candidate(GPT, OUTLOOK, rank=0.7),
    ),
    requirements=(
        Requirement("latency", "p95 latency <= 30s", 0.95, 30.0),
        Requirement("cost", "cost <= 0.05 USD", None, 50_000_000.0),
        Requirement("quality", "quality >= 98% of baseline", None, None, relative=0.98),
    ),
    outlook=OUTLOOK,
    notes=(Note("capability", "grok-4.7 has no credential"),),
    baseline="gpt-5-mini",
    prices="2026-11-20",
    evidence={"outcomes": 412.0, "until": "2026-12-06", "missing": None},
)
PINNED = Plan(
    policy="",
    version="",
    step="*",
    objective="",
    strategy="single",
    reason="pinned",
    targets=(QWEN,),
    prices="2026-11-20",
)


def config(state_dir: str, *, traces_file: str | None = None) -> Config:
    endpoints = tuple(
        Endpoint(target, ROWS[target.provider], "http://127.0.0.1:9/v1") for target in (GPT, QWEN, CLOSED)
    )
    return Config(
        server=ServerConfig(state_dir=state_dir),
        endpoints=endpoints,
        policies={},
        agents={},
        telemetry=TelemetryConfig(traces_file=traces_file, environment="test"),
        digest="c0ffee",
        prices="2026-11-20",
    )


def call(*, stream: bool = False, embedded: bool = False, **changes: Any) -> Call:
    fields: Mapping[str, Any] = {
        "model": "auto",
        "messages": [{"role": "user", "content": CANARY}],
        "user": CANARY,
        "stop": [CANARY],
        "temperature": 0,
        "max_tokens": 200,
        "top_p": "not a number",
        "n": 1,
        "response_format": {"type": "json_schema", "json_schema": {"name": CANARY}},
    }
    made = Call(
        decision_id=clock.ulid(),
        request_id="req-1",
        operation="chat",
        route="/v1/chat/completions",
        body=CANARY.encode(),
        fields=fields,
        model="auto",
        stream=stream,
        wants_usage=False,
        identity=Identity(agent="bugbot", step="edit", run="run-7", thread="conv_1", labels=(("tier", "gold"),)),
        trace=Trace(clock.trace_id(), clock.span_id(), 3, "fw=1"),
        span_id=clock.span_id(),
        started_ns=clock.wall_ns(),
        started=100.0,
        deadline=160.0,
        embedded=embedded,
        user_agent="openai-python/3",
        key_id="key_1",
        server=("127.0.0.1", 8400),
    )
    return replace(made, **changes)


def attempt(number: int = 1, target: Target = GPT, **changes: Any) -> Attempt:
    began = 100.0 + (number - 1) * 0.5 + 0.001
    made = Attempt(
        number=number,
        reason="initial" if number == 1 else "fallback",
        target=target,
        span_id=clock.span_id(),
        started_ns=0,
        started=began,
        ended=began + 0.45,
        outcome="success",
        status=200,
        usage=Usage(100, 20, 64, None, 5),
        cost=12_345 * number,
        response_id="chatcmpl-1",
        response_model=target.upstream_model,
        finish_reasons=("stop",),
        server=("127.0.0.1", 8000),
    )
    return replace(made, **changes)


def record(asked: Call, attempts: list[Attempt], **changes: Any) -> Record:
    served = next((one for one in attempts if one.outcome == "success"), None)
    made = Record(
        call=asked,
        plan=PLAN,
        routed_ns=asked.started_ns + 100_000,
        routing=0.000_2,
        attempts=attempts,
        status=200,
        ended=100.0 + len(attempts) * 0.5,
        served=served,
    )
    return replace(made, **changes)


def plain() -> Record:
    return record(call(), [attempt()])


def streamed() -> Record:
    told = {"ttft": 0.05, "first_content": 0.06, "chunks": 64, "max_gap": 0.011, "stream_outcome": "completed"}
    return record(call(stream=True), [attempt(**told)])


def fallback() -> Record:
    failed = attempt(
        outcome="error", error_type="429", status=429, usage=None, cost=0, exception="RateLimited", message=CANARY,
        response_id="", response_model="", finish_reasons=(),
    )  # fmt: skip
    second = attempt(2, QWEN, follows=1, trigger="429", backoff=0.05)
    return record(call(), [failed, second], outcome="fell_back")


def disconnected() -> Record:
    left = attempt(
        outcome="cancelled", error_type="client_disconnected", stream_outcome="client_disconnected", ttft=0.05, chunks=3,
        usage=None, cost=None, finish_reasons=(),
    )  # fmt: skip
    return record(
        call(stream=True), [left], status=499, outcome="failed", error_type="client_disconnected", served=None
    )


def exhausted() -> Record:
    failed = attempt(outcome="timeout", error_type="timeout", status=None, usage=Usage(0, 0), cost=0, response_model="")
    again = attempt(2, QWEN, outcome="error", error_type="connection_error", status=None, usage=None, cost=0, follows=1)
    return record(call(), [failed, again], status=502, outcome="failed", error_type="502")


def embedded() -> Record:
    made = fallback()
    made.call.embedded = True
    return made


def refused() -> Record:
    """A bad request: nothing was planned, nothing was tried."""
    asked = call(trace=Trace(clock.trace_id(), "", 1))
    return record(asked, [], plan=None, status=404, outcome="failed", error_type="404")


def pinned() -> Record:
    return record(call(model="qwen3-coder-30b"), [attempt(target=QWEN)], plan=PINNED)


def embeddings() -> Record:
    asked = call(operation="embeddings", route="/v1/embeddings", fields={"encoding_format": "base64", "input": CANARY})
    return record(asked, [attempt(target=QWEN, usage=Usage(12, None), finish_reasons=(), response_id="")])


def no_candidate() -> Record:
    plan = replace(PLAN, targets=(), reason="infeasible", candidates=PLAN.candidates[:1], outlook=Outlook())
    return record(call(), [], plan=plan, status=503, outcome="failed", error_type="no_candidate")


def shadow() -> Record:
    """Asked beside a call: a trace of its own, and nobody's call."""
    asked = call(
        identity=Identity(agent="coding", step="edit"),
        trace=Trace(clock.trace_id()),
        span_id="",
        embedded=True,
        shadow=Origin("01JD0000000000000000000000", clock.trace_id(), clock.span_id()),
    )
    return record(asked, [attempt(reason="shadow")], served=None)


ALL = {
    made.__name__: made
    for made in (
        plain,
        streamed,
        fallback,
        disconnected,
        exhausted,
        embedded,
        refused,
        pinned,
        embeddings,
        no_candidate,
    )
}
