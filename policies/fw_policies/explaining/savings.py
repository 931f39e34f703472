"""What a plan saves against the baseline, and what to ask next."""

import math
from typing import Any

from fw_policies.model import Estimate, Plan, Requirement


def saves(plan: Plan) -> dict[str, Any] | None:
    """Cost against the baseline's, when both are known and the baseline is not what serves.

    The interval of the ratio is had from those of its two parts on the scale of logarithms, as if they were independent: the
    half-widths add up in squares (the method of variance estimates recovery, Zou and Donner, 2008).
    """
    heads = [arm.targets[:1] for _, arm in plan.arms] or [plan.targets[:1]]
    if not plan.targets or plan.baseline is None or all(one.model == plan.baseline for head in heads for one in head):
        return None
    base = next((c.outlook.cost for c in plan.candidates if c.target.model == plan.baseline and c.outlook.cost), None)
    mine = plan.outlook.cost
    if base is None or mine is None or base.mean <= 0:
        return None
    found = {"share": 1 - mine.mean / base.mean, "per_call": base.mean - mine.mean, "against": plan.baseline}
    return {**found, **_between(mine, base)}


def _between(mine: Estimate, base: Estimate) -> dict[str, float | None]:
    values = (mine.low, mine.mean, mine.high, base.low, base.mean, base.high)
    if any(value <= 0 or not math.isfinite(value) for value in values):
        return {"low": None, "high": None}
    least, mean, most, b_least, b_mean, b_most = (math.log(value) for value in values)
    ratio = mean - b_mean
    up = math.hypot(most - mean, b_mean - b_least)
    down = math.hypot(mean - least, b_most - b_mean)
    return {"low": 1 - math.exp(ratio + up), "high": 1 - math.exp(ratio - down)}


def attempt(plan: Plan) -> str | None:
    """The command that shows what giving way would bring; else the one that lists what was left out."""
    if not plan.policy:
        return None
    what = f"fw explain {plan.policy}/{plan.step}"
    line = next((one for one in plan.requirements if plan.near is not None and one.text == plan.near.text), None)
    looser = None if line is None else _looser(line, plan)
    return f"{what} --all" if looser is None else f"{what} --set '{looser}'"


def _looser(line: Requirement, plan: Plan) -> str | None:
    """The requirement with a limit that what is near would meet."""
    number = plan.requirements.index(line)
    proof = plan.proofs[number] if number < len(plan.proofs) else None
    if plan.near is None or proof is None or not proof.limit:
        return None
    gap, head = plan.near.gap, line.text.rpartition("=")[0] + "="
    if line.relative is not None:
        return f"{head} {math.floor(100 * line.relative * (1 - gap / proof.limit)):d}% of baseline"
    if line.measure == "cost" or line.limit is None:
        return None
    if line.measure == "quality":
        return f"{head} {math.floor(100 * (line.limit - gap)) / 100:g}"
    size = 10 ** (math.floor(math.log10(line.limit + gap)) - 1)
    return f"{head} {math.ceil((line.limit + gap) / size) * size:.6g}s"
