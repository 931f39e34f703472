"""The audit of the outcomes that come with the package: what the best single model costs, what could be saved, what is refused."""

from typing import Any

from fw_gateway.audit import sample
from fw_gateway.audit import text as words
from fw_gateway.audit.prove import LEAST, Evidence, best_single
from fw_gateway.audit.report import promises
from fw_policies.explaining.numbers import money


def report() -> dict[str, Any]:
    """The findings. All are computed from the outcomes when asked.

    Raises:
        ValueError: the outcomes name no model that was seen in nearly all tasks.
    """
    evidence, source = sample.load()
    baseline = best_single(evidence)
    if baseline is None:
        raise ValueError("no model was seen in nearly all tasks")
    return {
        "sample": source,
        "models": len({model for models in evidence.values() for model in models}),
        "tasks": {step: _tasks(evidence, step) for step in evidence},
        "baseline": baseline,
        "baseline_cost": {step: _cost(evidence, step, baseline) for step in evidence},
        "baseline_quality": {step: _quality(evidence, step, baseline) for step in evidence},
        "promises": promises(evidence, baseline, randomised=False),
    }


def _tasks(evidence: Evidence, step: str) -> int:
    return len({run.run for runs in evidence[step].values() for run in runs})


def _cost(evidence: Evidence, step: str, model: str) -> float | None:
    """Mean nano-USD of a task, of those whose cost is known."""
    costs = [run.cost for run in evidence[step].get(model, ()) if run.cost is not None]
    return sum(costs) / len(costs) if costs else None


def _quality(evidence: Evidence, step: str, model: str) -> float | None:
    values = [run.value for run in evidence[step].get(model, ())]
    return sum(values) / len(values) if values else None


def pay(found: dict[str, Any]) -> float | None:
    """Nano-USD for a thousand tasks of this mix with the best single model."""
    tasks = found["tasks"]
    costs = [(tasks[step], cost) for step, cost in found["baseline_cost"].items()]
    if any(cost is None for _, cost in costs):
        return None
    return float(1000 * sum(count * cost for count, cost in costs if cost is not None) / sum(tasks.values()))


def resolved(found: dict[str, Any]) -> float:
    """Share of all tasks that the best single model resolves."""
    tasks = found["tasks"]
    whole = float(sum(tasks.values()))
    return (
        float(sum(tasks[step] * value for step, value in found["baseline_quality"].items() if value is not None))
        / whole
    )


def text(found: dict[str, Any]) -> list[str]:
    """At most 15 lines."""
    tasks = found["tasks"]
    lines = [
        f"AUDIT   {sum(tasks.values()):,} agent tasks of {len(tasks)} kinds, {found['models']} models each, real outcomes and costs (OpenHands, MIT)",
        f"you pay     {money(pay(found))} per 1,000 tasks with the best single model, {found['baseline']}: {resolved(found) * 100:.0f}% resolved",
    ]
    for promise in found["promises"]:
        lines += words.promised(promise)
        saved, price = promise["together"]["saved"], pay(found)
        if saved is not None and price is not None:
            least, mean, most = (money(price * (1 - saved[name])) for name in ("high", "mean", "low"))
            lines.append(f"{'':<{words.NAME}} {mean} [{least}, {most}] per 1,000 tasks")
    small = [f"{step} ({count} tasks)" for step, count in tasks.items() if count < LEAST]
    if small:
        lines.append(
            f"{'refused':<{words.NAME}} anything at {', '.join(small)}: {LEAST} outcomes of a model are the least"
        )
    lines.append(
        f"{'refused':<{words.NAME}} latency, and your own traffic: neither is in these outcomes; `fw audit FILE` reads your export"
    )
    return lines
