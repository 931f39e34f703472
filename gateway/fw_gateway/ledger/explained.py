"""Rows of the ledger, explained: the same mapping and text that EXPLAIN prints, with what became of it beside the estimate."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fw_gateway import clock
from fw_gateway.ledger.port import Decision, Ledger
from fw_policies import explain
from fw_policies.lock import Lock, coverage
from fw_policies.model import Plan

WEEK = 7 * 86_400 * 10**9
"""Nanoseconds that trust and coverage are counted over."""

_SAID = (
    "trace_id",
    "request_id",
    "operation",
    "agent",
    "step",
    "run",
    "thread",
    "model",
    "served_model",
    "served_deployment",
)


def trust(ledger: Ledger, plan: Plan | None) -> dict[str, Any] | None:
    """How the calls of a plan's step in the last week compare with what was planned for them; None for a call that was pinned.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    if plan is None or not plan.policy:
        return None
    found = ledger.trust(plan.policy, plan.step, clock.wall_ns() - WEEK)
    held = found.held / found.n if found.n else None
    return {"n": found.n, "held": held, "cost": found.cost_ratio, "latency": found.latency_ratio}


def covered(ledger: Ledger, plan: Plan, lock: Lock | None) -> Plan:
    """The plan, with the share of its step's calls in the last week that are like the data of its certificate, where that is known.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    step = None if lock is None else lock.steps.get(plan.step)
    if plan.certificate is None or lock is None or step is None or plan.certificate["lock"] != lock.digest:
        return plan
    if step.mix is None:
        return plan
    recent = ledger.like((plan.policy, plan.step), clock.wall_ns() - WEEK, step.mix.labels)
    share = coverage(step, recent)
    return plan if share is None else replace(plan, certificate={**plan.certificate, "covers": share})


def decision(found: Decision, trusted: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One call as a mapping, for `GET /v1/decisions/{id}`; `fw_policies.explain.text` prints it."""
    said = {name: found.row[name] for name in _SAID if found.row[name] != ""}
    if found.plan is None:
        return {"decision_id": found.decision_id, "plan": None, "actual": found.actual, "call": said}
    mapping = explain.mapping(found.plan, decision_id=found.decision_id, actual=found.actual, trust=trusted)
    return {**mapping, "call": said}


def run(run_id: str, found: tuple[Decision, ...]) -> dict[str, Any]:
    """A whole run as a mapping, for `GET /v1/runs/{id}`; `fw_policies.explain.run_text` prints it."""
    agent = next((str(one.row["agent"]) for one in found if one.row["agent"]), "")
    return explain.run_mapping(run_id, agent, [decision(one) for one in found if one.plan is not None])
