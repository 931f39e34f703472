"""One record as one row of the ledger."""

from collections.abc import Iterable
from typing import Any

import orjson

from fw_gateway.values import Attempt, Record, Usage
from fw_policies.model import Plan

CALL_COLUMNS = (
    "decision_id", "started_ns", "trace_id", "span_id", "request_id", "operation", "agent", "step", "run", "thread", "path",
    "task", "attempt", "labels", "key_id", "model", "stream", "embedded", "plan", "propensity", "explored", "status", "outcome",
    "error_type", "served_model", "served_deployment", "latency", "ttft", "routing", "input_tokens", "output_tokens",
    "cached_tokens", "cache_write_tokens", "reasoning_tokens", "cost", "attempts", "shadow_of",
    "text", "by_text", "guessed_input_tokens", "guessed_output_tokens", "guessed_cost",
)  # fmt: skip

INSERT_CALL = f"INSERT OR IGNORE INTO calls ({', '.join(CALL_COLUMNS)}) VALUES ({', '.join('?' * len(CALL_COLUMNS))})"  # noqa: S608
PLAN_COLUMNS = (
    "digest", "policy", "version", "reason", "estimated_cost", "estimated_latency", "estimated_ttft", "estimated_quality",
    "estimated_output_tokens", "body", "cost_low", "cost_high", "latency_low", "latency_high",
)  # fmt: skip
INSERT_PLAN = f"INSERT OR IGNORE INTO plans ({', '.join(PLAN_COLUMNS)}) VALUES ({', '.join('?' * len(PLAN_COLUMNS))})"  # noqa: S608
SPREAD = 0.9
"""Share of calls that are to lie between the planned low and high."""


_LONGEST = 256
"""Characters kept of the model that was asked for: it is whatever a client sent."""


def call_row(record: Record, digest: str | None, text: bytes | None = None) -> tuple[Any, ...]:
    """The columns of `calls`; `digest` is that of the plan, `text` what is kept of what was said."""
    call, plan, served = record.call, record.plan, record.served
    who = call.identity
    first = None
    if served is not None and served.ttft is not None:
        first = served.started + served.ttft - call.started
        if record.accepted is not None:  # a held answer was read by nobody before it was accepted
            first = record.accepted - call.started
    return (
        call.decision_id,
        call.started_ns,
        call.trace.trace_id,
        call.span_id,
        call.request_id,
        call.operation,
        who.agent,
        who.step,
        who.run,
        who.thread,
        who.path,
        who.task,
        who.attempt,
        orjson.dumps(dict(who.labels)).decode() if who.labels else "{}",
        call.key_id,
        call.model[:_LONGEST],
        int(call.stream),  # sqlite3 looks for an adapter before it takes a bool, at ten times the cost of an int
        int(call.embedded),
        digest,
        None if plan is None else plan.propensity,
        None if plan is None else int(plan.explored),
        record.status,
        record.outcome,
        record.error_type,
        "" if served is None else served.target.model,
        "" if served is None else served.target.deployment,
        max(0.0, record.ended - call.started),
        first,
        record.routing,
        *_tokens(record.attempts),
        record.cost,
        orjson.dumps([_attempt(attempt, record) for attempt in record.attempts]).decode(),
        None if call.shadow is None else call.shadow.decision_id,
        text,
        None if plan is None else int(plan.by_text is not None),
        *_guessed(record),
    )


def _guessed(record: Record) -> tuple[int | None, ...]:
    """Tokens in and out, and cost, over all attempts with their estimates; None: nothing of it is estimated."""
    if all(attempt.guess is None for attempt in record.attempts):
        return (None, None, None)
    found: list[int | None] = []
    for name in GUESSED[:2]:
        known = [
            (getattr(one.usage, name, None), getattr(one.guess or one.usage, name, None)) for one in record.attempts
        ]
        guessed = any(_stored(reported) is None and with_guess is not None for reported, with_guess in known)
        found.append(sum(_stored(with_guess) or 0 for _, with_guess in known) if guessed else None)
    return (*found, record.guessed_cost)


def plan_row(plan: Plan, digest: str, body: bytes) -> tuple[Any, ...]:
    """The columns of `plans`."""
    outlook = plan.outlook
    estimates = (outlook.cost, outlook.latency, outlook.ttft, outlook.quality, outlook.output_tokens)
    means = [None if estimate is None else float(estimate.mean) for estimate in estimates]
    return (digest, plan.policy, plan.version, plan.reason, *means, body, *_spread(plan))


def _spread(plan: Plan) -> tuple[float | None, ...]:
    """Low and high of cost and latency of what serves, from what was known when the plan was made; a walk under `verify` has none."""
    first = next((c for c in plan.candidates if plan.targets and c.target is plan.targets[0]), None)
    found = {} if first is None or plan.verify else first.known.spread(first.size, SPREAD)
    return (*found.get("cost", (None, None)), *found.get("latency", (None, None)))


GUESSED = ("input_tokens", "output_tokens", "cost")
"""What may be an estimate."""
_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


def _tokens(attempts: Iterable[Attempt]) -> list[int | None]:
    """Each kind of token over all attempts that reported it; None when none did. That is what was billed."""
    reports = [attempt.usage for attempt in attempts if attempt.usage is not None]
    if len(reports) == 1:
        usage = reports[0]
        return [
            _stored(usage.input_tokens),
            _stored(usage.output_tokens),
            _stored(usage.cached_tokens),
            _stored(usage.cache_write_tokens),
            _stored(usage.reasoning_tokens),
        ]
    return [_summed(reports, name) for name in _USAGE]


def _summed(reports: Iterable[Usage], name: str) -> int | None:
    known = [value for usage in reports if (value := _stored(getattr(usage, name))) is not None]
    return sum(known) if known else None


def _stored(value: int | None) -> int | None:
    """A count that can be true: a provider may report anything, and SQLite keeps 64 bits."""
    return value if value is not None and 0 <= value < 1 << 53 else None


def _attempt(attempt: Attempt, record: Record) -> dict[str, Any]:
    """One attempt, in the shape that `fw_policies.explain` takes. Nothing a provider wrote is in it."""
    usage = attempt.usage
    found: dict[str, Any] = {
        "number": attempt.number,
        "reason": attempt.reason,
        "model": attempt.target.model,
        "deployment": attempt.target.deployment,
        "provider": attempt.target.provider,
        "outcome": attempt.outcome or "error",
        "error_type": attempt.error_type,
        "status": attempt.status,
        "latency": max(0.0, (attempt.ended if attempt.ended is not None else record.ended) - attempt.started),
        "ttft": attempt.ttft,
        "cost": attempt.cost,
        "input_tokens": None if usage is None else _stored(usage.input_tokens),
        "output_tokens": None if usage is None else _stored(usage.output_tokens),
        "span_id": attempt.span_id,
        "check": attempt.check,
        "accepted": attempt.accepted,
    }
    if attempt.guess is not None:
        guessed = (_stored(attempt.guess.input_tokens), _stored(attempt.guess.output_tokens), attempt.guessed_cost)
        found["guessed"] = dict(zip(GUESSED, guessed, strict=True))
    return found
