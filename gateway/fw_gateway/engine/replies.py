"""What goes back to the client: headers, refusals, receipts."""

from collections.abc import Mapping
from math import ceil

import orjson

from fw_gateway.attempt import Opened
from fw_gateway.config import Endpoint
from fw_gateway.errors import GatewayError, Overloaded
from fw_gateway.providers.protocols import protocols
from fw_gateway.providers.watching import comment
from fw_gateway.values import Attempt, Call, Fault, Record, Reply
from fw_policies.model import NANO_USD, Plan

LONGEST = 2048
"""Characters of one header."""


def usd(nano: int) -> str:
    """Nano-USD as decimal dollars."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, part = divmod(nano, NANO_USD)
    return f"{sign}{whole}.{part:09d}".rstrip("0").rstrip(".")


def headers_of(record: Record) -> dict[str, str]:
    """What every answer carries: ids and trace."""
    call = record.call
    flags = call.trace.flags & 3
    return {
        "x-request-id": call.request_id,
        "x-fw-decision-id": call.decision_id,
        "traceresponse": f"00-{call.trace.trace_id}-{call.span_id}-{flags:02x}",
    }


def served(record: Record, attempt: Attempt) -> dict[str, str]:
    """Who answers, at which attempt, and what of the exchange its protocol could not say, by where it stood."""
    found = {"x-fw-model": attempt.target.model, "x-fw-attempts": str(len(record.attempts))}
    return {**found, "x-fw-lost": ", ".join(attempt.lost)[:LONGEST]} if attempt.lost else found


def refusal(error: GatewayError, record: Record) -> Reply:
    """An error of ours as a reply."""
    headers = headers_of(record)
    headers["Content-Type"] = "application/json"
    headers["x-should-retry"] = "true" if isinstance(error, Overloaded) else "false"
    if error.retry_after is not None:
        headers["Retry-After"] = str(ceil(error.retry_after))
    shaped = protocols[record.call.protocol].error(error.body()["error"], error.status)
    return Reply(error.status, headers, orjson.dumps(shaped), record)


def relayed(fault: Fault, call: Call) -> bytes:
    """An upstream's refusal: its own words where the caller knows their shape, else the message in a shape that the caller knows."""
    mine = protocols[call.protocol]
    if fault.body is not None and fault.protocol and protocols[fault.protocol].family == mine.family:
        return fault.body
    shaped = {"message": fault.message, "type": "invalid_request_error", "param": None, "code": None}
    return orjson.dumps(mine.error(shaped, fault.status or 502))


def cure(fault: Fault) -> str:
    """What to do about an upstream's fault; empty when there is nothing to say."""
    if fault.status in {401, 402, 403}:
        return "The provider refused the gateway's own key: check it with `fw doctor`."
    return ""


def receipt(record: Record, attempt: Attempt) -> str:
    """What a stream's reader is told at its end: cost, usage, model."""
    usage, cost, budget = attempt.usage, record.cost, record.call.identity.budget
    found: dict[str, object] = {
        "cost": usd(cost) if cost is not None else None,
        "usage": None
        if usage is None
        else {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "cached_tokens": usage.cached_tokens,
        },
        **_estimated(record, attempt),
        "model": attempt.target.model,
        "ttft": attempt.ttft,
        "budget_remaining": usd(budget - cost) if budget is not None and cost is not None else None,
    }
    return orjson.dumps(found).decode()


def _estimated(record: Record, attempt: Attempt) -> dict[str, object]:
    """What stands in for what no provider reported; nothing when it reported all."""
    guess, cost = attempt.guess, record.guessed_cost
    if guess is None:
        return {}
    tokens = {"prompt_tokens": guess.input_tokens, "completion_tokens": guess.output_tokens}
    return {"estimated": {"cost": usd(cost) if cost is not None else None, **tokens}}


def priced(record: Record) -> dict[str, str]:
    """What the call has cost so far, and what is left, as far as it is known; a cost that is an estimate has a name of its own."""
    cost, budget = record.cost, record.call.identity.budget
    if cost is None:
        guessed = record.guessed_cost
        return {} if guessed is None else {"x-fw-estimated-cost": usd(guessed)}
    found = {"x-fw-cost": usd(cost)}
    if budget is not None:
        found["x-fw-budget-remaining"] = usd(budget - cost)
    return found


def whole(record: Record, found: Opened, body: bytes) -> Reply:
    """An answer that is there whole: as it came, or, of a stream that was held, all of its events at once."""
    headers = {**headers_of(record), **priced(record)}
    headers["Content-Type"] = found.content_type
    headers |= served(record, found.attempt)
    if found.tail:
        headers["Cache-Control"] = "no-cache"
        if record.call.receipt:
            body += comment(f"fw-receipt {receipt(record, found.attempt)}")
        body += found.tail
    return Reply(found.status, headers, body, record)


def nobody(plan: Plan, endpoints: Mapping[str, Endpoint]) -> str:
    """What is missing, for a plan that nothing may serve. `endpoints`: by deployment."""
    lines = []
    for candidate in plan.candidates:
        if candidate.excluded:
            row = endpoints[candidate.target.deployment].row
            missing = candidate.excluded == "no_credential" and row.key_env
            why = f"set {row.key_env}" if missing else candidate.why or candidate.excluded
            lines.append(f"{candidate.target.deployment}: {why}")
    what = f"No target may serve {plan.policy or 'this model'}{'/' + plan.step if plan.step else ''} now"
    return f"{what}: {'; '.join(lines[:8]) or 'no model is configured'}."
