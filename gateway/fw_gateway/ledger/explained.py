"""Rows of the ledger, explained: the same mapping and text that EXPLAIN prints, with what became of it beside the estimate."""

from typing import Any

from fw_gateway.ledger.port import Decision
from fw_policies import explain

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


def decision(found: Decision) -> dict[str, Any]:
    """One call as a mapping, for `GET /v1/decisions/{id}`; `fw_policies.explain.text` prints it."""
    said = {name: found.row[name] for name in _SAID if found.row[name] != ""}
    if found.plan is None:
        return {"decision_id": found.decision_id, "plan": None, "actual": found.actual, "call": said}
    mapping = explain.mapping(found.plan, decision_id=found.decision_id, actual=found.actual)
    return {**mapping, "call": said}


def run(run_id: str, found: tuple[Decision, ...]) -> dict[str, Any]:
    """A whole run as a mapping, for `GET /v1/runs/{id}`; `fw_policies.explain.run_text` prints it."""
    agent = next((str(one.row["agent"]) for one in found if one.row["agent"]), "")
    return explain.run_mapping(run_id, agent, [decision(one) for one in found if one.plan is not None])
