"""The log events of a call: the decision with all its candidates, the outcome as one wide row, and each failed attempt."""

from typing import Any

from fw_gateway.lasting import Lasting
from fw_gateway.telemetry import attributes, spans
from fw_gateway.telemetry.otlp import INFO, WARN, Event, Fragment, Value
from fw_gateway.telemetry.spans import Rendered
from fw_gateway.values import Attempt, Record
from fw_policies.model import Candidate, Outlook, Plan


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


def _outlook(outlook: Outlook) -> dict[str, Value]:
    """Means of what is known; cost in US dollars. The ledger keeps the intervals."""
    found: dict[str, Value] = {}
    for name, estimate in (("quality", outlook.quality), ("ttft", outlook.ttft), ("latency", outlook.latency)):
        if estimate is not None:
            found[name] = float(estimate.mean)
    if outlook.cost is not None:
        found["cost"] = attributes.dollars(outlook.cost.mean)
    return found


class Events:
    """Makes the events of a record; remembers the bodies of plans."""

    def __init__(self) -> None:
        """Nothing is remembered yet."""
        self._plans = Lasting[Plan, Fragment](decision_body)

    def events(self, record: Record, rendered: Rendered[Any]) -> list[Event]:
        """Everything that is to be logged of one call, in order of time."""
        call, plan = record.call, record.plan
        made: list[Event] = []
        if call.shadow is not None:
            return [_exception(attempt, record) for attempt in record.attempts if attempt.error_type]
        if plan is not None:
            made.append(_event(record, "fw.route.decision", max(record.routed_ns, call.started_ns)))
            made[0].span_id = rendered.route_id
            made[0].shared = (self._plans[plan],)
        made.extend([_exception(attempt, record) for attempt in record.attempts if attempt.error_type])
        outcome = _event(record, "fw.call.outcome", spans.at(call, record.ended))
        outcome.shared = (*rendered.call, rendered.who)
        outcome.body = _outcome(record)
        made.append(outcome)
        return made


def _event(record: Record, name: str, time: int) -> Event:
    call = record.call
    return Event(
        name=name,
        severity=INFO,
        time=time,
        trace_id=call.trace.trace_id,
        span_id=call.span_id,
        flags=call.trace.flags & 1,
        attributes={"fw.decision.id": call.decision_id},
        body={},
    )


def _outcome(record: Record) -> dict[str, Value]:
    """What the wide row has besides the attributes of the call: its status, and its attempts."""
    body: dict[str, Value] = {"status": record.status}
    if record.error_type:
        body["error.type"] = attributes.error_type(record.error_type)
    body["attempts"] = [_attempt(attempt, record) for attempt in record.attempts]
    return body


def _attempt(attempt: Attempt, record: Record) -> Value:
    found: dict[str, Value] = {
        "deployment": attempt.target.deployment,
        "outcome": attempt.outcome or "error",
        "duration": max(0.0, (attempt.ended if attempt.ended is not None else record.ended) - attempt.started),
    }
    if attempt.error_type:
        found["error.type"] = attributes.error_type(attempt.error_type)
    if attempt.cost is not None:
        found["cost"] = attributes.dollars(attempt.cost)
    if attempt.usage is not None:
        incoming, _, _, outgoing, _ = attributes.tokens(attempt.usage, failed=bool(attempt.error_type))
        if incoming is not None:
            found["input_tokens"] = incoming
        if outgoing is not None:
            found["output_tokens"] = outgoing
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
