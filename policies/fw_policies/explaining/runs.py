"""A whole run as a tree: its steps, their calls, what each attempt took and cost; sums follow from their parts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fw_policies.explaining.numbers import money, seconds
from fw_policies.explaining.text import NAMES, about, title, used

SUMMED = ("input_tokens", "output_tokens", "cost")


def run_mapping(run_id: str, agent: str, decisions: list[dict[str, Any]]) -> dict[str, Any]:
    """A run from its decisions, each as `mapping` made it with its `actual`, in the order they began."""
    steps: list[dict[str, Any]] = []
    for decision in decisions:
        name = decision["step"]
        if not steps or steps[-1]["step"] != name:
            steps.append({"step": name, "decisions": []})
        steps[-1]["decisions"].append(decision)
    for step in steps:
        step.update(_totals(step["decisions"]))
    excluded: dict[str, dict[str, str]] = {}
    for decision in decisions:
        for candidate in decision["candidates"]:
            if candidate["excluded"]:
                excluded.setdefault(
                    candidate["deployment"], {"excluded": candidate["excluded"], "why": candidate["why"]}
                )
    served = {target["deployment"] for decision in decisions for target in decision["targets"]}
    out = [{"deployment": name, **why} for name, why in excluded.items() if name not in served]
    return {"run": run_id, "agent": agent or None, "steps": steps, **_totals(decisions), "excluded": out}


def _totals(decisions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over calls; unknown as soon as one part is."""
    actuals = [decision["actual"] for decision in decisions if decision["actual"] is not None]
    found: dict[str, Any] = {"calls": len(actuals), "latency": sum(actual["latency"] for actual in actuals)}
    for name in SUMMED:
        values = [actual[name] for actual in actuals]
        found[name] = None if None in values or not values else sum(values)
    guessed = {name for actual in actuals for name in actual.get("estimated", ())}
    found["estimated"] = [name for name in SUMMED if name in guessed and found[name] is not None]
    found["failed"] = sum(actual["outcome"] == "failed" for actual in actuals)
    return found


def run_text(found: Mapping[str, Any]) -> str:
    """The run for a terminal."""
    name = f"{found['agent'] or 'run'}"
    head = (
        f"{name}   run {found['run']}   {found['calls']} calls   {seconds(found['latency'])}   "
        f"{about(found, 'cost', money)}"
    )
    lines = [head, *_steps(found["steps"])]
    lines += [
        "",
        f"{'total':<10}  {used(found)}   {about(found, 'cost', money)}"
        + (f"   {found['failed']} failed" if found["failed"] else ""),
    ]
    if found["excluded"]:
        lines.append(f"{'rejected':<10}  {len(found['excluded'])} of the other targets:")
        width = max(len(item["deployment"]) for item in found["excluded"])
        for item in found["excluded"]:
            reason = NAMES.get(item["excluded"], item["excluded"])
            lines.append(f"{'':<10}    {item['deployment']:<{width}}  excluded: {reason}")
    return "\n".join(line.rstrip() for line in lines)


def _steps(steps: list[Mapping[str, Any]]) -> Iterator[str]:
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        yield f"{'└─' if last else '├─'} {step['step']:<22} {seconds(step['latency']):>9}   {about(step, 'cost', money)}"
        stem = "   " if last else "│  "
        for index, decision in enumerate(step["decisions"]):
            end = index == len(step["decisions"]) - 1
            yield from _decision(decision, f"{stem}{'└─' if end else '├─'} ", f"{stem}{'   ' if end else '│  '}")


def _decision(decision: Mapping[str, Any], first: str, rest: str) -> Iterator[str]:
    goal = f"  {decision['objective']}" if decision["objective"] else ""
    who = f"{decision['policy']} {decision['version']}" if decision["policy"] else "pinned"
    yield f"{first}{title(decision)}{goal}   {who}   decision {decision['decision_id']}"
    planned = decision["planned"]
    plan = f"planned   latency {_mean(planned['latency'], seconds)}   ttft {_mean(planned['ttft'], seconds)}"
    yield f"{rest}{plan}   cost {_mean(planned['cost'], money)}"
    actual = decision["actual"]
    if actual is None:
        return
    line = f"actual    latency {seconds(actual['latency'])}   ttft {seconds(actual['ttft'])}   "
    line += f"cost {about(actual, 'cost', money)}"
    yield f"{rest}{line}"
    for number, attempt in enumerate(actual["attempts"]):
        branch = "└─" if number == len(actual["attempts"]) - 1 else "├─"
        state = (
            attempt["outcome"] if attempt["outcome"] == "success" else f"{attempt['outcome']} {attempt['error_type']}"
        )
        yield f"{rest}{branch} {attempt['number']} {attempt['deployment']}   {state}   {seconds(attempt['latency'])}   {used(attempt)}"


def _mean(found: Mapping[str, Any] | None, form: Any) -> str:
    return "unknown" if found is None else str(form(found["mean"]))
