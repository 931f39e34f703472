"""The log events of a call: the decision with all its candidates, the outcome as one wide row, and each failed attempt."""

from typing import Any

from fw_gateway.telemetry import attributes, spans
from fw_gateway.telemetry.otlp import INFO, WARN, Event, Fragment, Value
from fw_gateway.values import Attempt, Record
from fw_policies.model import Candidate, Estimate, Plan


def decision_body(plan: Plan) -> Fragment:
    """The whole decision as a structured body, without the ids of one call. All candidates, not only the first sixteen."""
    body: dict[str, Value] = {
        "policy": {"name": plan.policy, "version": plan.version, "step": plan.step},
        "strategy": attributes.strategy(plan),
        "plan": plan.strategy,
        "objective": plan.objective,
        "requirements": [requirement.text for requirement in plan.requirements],
        "reason": plan.reason,
        "targets": [target.label for target in plan.targets],
        "candidates": [_candidate(candidate) for candidate in plan.candidates],
        "estimated": _outlook(plan.outlook),
        "confidence": float(plan.confidence),
        "propensity": float(plan.propensity),
        "exploration": plan.explored,
        "prices": plan.prices,
    }
    return Fragment(body)


def _candidate(candidate: Candidate) -> Value:
    found: dict[str, Value] = {"target": candidate.target.label, "model": candidate.target.model}
    if candidate.excluded:
        found["excluded"] = candidate.excluded
    found.update(_outlook(candidate.outlook))
    return found


def _outlook(outlook: Any) -> dict[str, Value]:
    """Means and intervals of what is known; cost in US dollars."""
    found: dict[str, Value] = {}
    for name in ("quality", "ttft", "latency", "cost", "output_tokens"):
        estimate: Estimate | None = getattr(outlook, name)
        if estimate is not None:
            scale = 1e-9 if name == "cost" else 1.0
            found[name] = {
                "mean": estimate.mean * scale,
                "low": estimate.low * scale,
                "high": estimate.high * scale,
                "n": float(estimate.n),
            }
    return found


class Events:
    """Makes the events of a record; remembers the bodies of plans."""

    def __init__(self) -> None:
        """Nothing is remembered yet."""
        self._plans = spans.ByIdentity[Plan, Fragment](decision_body)

    def events(self, record: Record, route_id: str) -> list[Event]:
        """Everything that is to be logged of one call, in order of time."""
        call = record.call
        made: list[Event] = []
        if record.plan is not None:
            made.append(self._event(record, "fw.route.decision", route_id, self._plans[record.plan]))
        made.extend([_exception(attempt, record) for attempt in record.attempts if attempt.error_type])
        outcome = self._event(record, "fw.call.outcome", call.span_id, None)
        outcome.body.update(_outcome(record))
        made.append(outcome)
        return made

    @staticmethod
    def _event(record: Record, name: str, span_id: str, shared: Fragment | None) -> Event:
        call = record.call
        route = name == "fw.route.decision"
        own: dict[str, Value] = {"fw.decision.id": call.decision_id}
        own.update(attributes.identity(call))
        return Event(
            name=name,
            severity=INFO,
            time=max(record.routed_ns, call.started_ns) if route else spans.at(call, record.ended),
            trace_id=call.trace.trace_id,
            span_id=span_id,
            flags=call.trace.flags & 1,
            attributes=own,
            body={"decision_id": call.decision_id},
            shared=shared,
        )


def _outcome(record: Record) -> dict[str, Value]:
    """The wide row: every attribute of the call, its status, and its attempts."""
    body: dict[str, Value] = attributes.call_attributes(record)
    body["status"] = record.status
    if record.error_type:
        body["error.type"] = attributes.error_type(record.error_type)
    body["attempts"] = [_attempt(attempt, record) for attempt in record.attempts]
    return body


def _attempt(attempt: Attempt, record: Record) -> Value:
    found: dict[str, Value] = {
        "number": attempt.number,
        "reason": attempt.reason,
        "deployment": attempt.target.deployment,
        "outcome": attempt.outcome or "error",
        "duration": max(0.0, (attempt.ended if attempt.ended is not None else record.ended) - attempt.started),
    }
    if attempt.error_type:
        found["error.type"] = attributes.error_type(attempt.error_type)
    if attempt.cost is not None:
        found["cost"] = attributes.dollars(attempt.cost)
    if attempt.usage is not None:
        if (tokens := attributes.count(attempt.usage.input_tokens)) is not None:
            found["input_tokens"] = tokens
        if (tokens := attributes.count(attempt.usage.output_tokens)) is not None:
            found["output_tokens"] = tokens
    return found


def _exception(attempt: Attempt, record: Record) -> Event:
    call = record.call
    error = attributes.error_type(attempt.error_type)
    own: dict[str, Value] = {
        "exception.type": attempt.exception or error,
        "exception.message": spans.describe(attempt),
        "error.type": error,
        "gen_ai.operation.name": call.operation,
        "gen_ai.request.model": attempt.target.upstream_model,
        "fw.decision.id": call.decision_id,
        "fw.attempt.number": attempt.number,
    }
    return Event(
        name="gen_ai.client.operation.exception",
        severity=WARN,
        time=spans.at(call, attempt.ended if attempt.ended is not None else record.ended),
        trace_id=call.trace.trace_id,
        span_id=attempt.span_id,
        flags=call.trace.flags & 1,
        attributes=own,
        body={},
    )
