"""How many plans a step has, and how many of them are left after each sieve: for people, and to say what is not known."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fw_gateway.ledger.history import Past
from fw_policies.estimate import quantise
from fw_policies.model import Facts, Plan, World
from fw_policies.optimize import optimize
from fw_policies.rules.ask import Ask, is_hard
from fw_policies.rules.whole import failing, rejected
from fw_policies.search.space import Counts, Parts, space
from fw_policies.spec import Policy


def of_steps(policy: Policy, past: Sequence[Past], world: World) -> Mapping[str, Counts]:
    """The plans of each step, for a request of its median size by the agent that called it most."""
    found = {}
    for step in sorted({one.step for one in past if one.policy == policy.name}):
        mine = [one for one in past if one.policy == policy.name and one.step == step]
        agent = Counter(one.agent for one in mine).most_common(1)[0][0]
        sizes = sorted(one.input_tokens for one in mine if one.input_tokens is not None)
        size = quantise(sizes[len(sizes) // 2]) if sizes else 0
        found[step] = counted(policy, Facts(agent, step, input_tokens=size), world)
    return found


def counted(policy: Policy, facts: Facts, world: World) -> Counts:
    """The plans of one request: its models, their places and efforts, and under `verify` cascades.

    Efforts that are not asked for have no estimates of their own, so that they are possible, and not known.
    """
    plan = optimize(policy, facts, world)
    rules = policy.rules(facts)
    ask = Ask(policy, rules, facts, world)
    parts, allowed = _parts(plan, rules.effort or (None,), ask)
    if not len(parts.model):
        return Counts(0, 0, 0, 0, 0)
    return space(parts, allowed, verify=bool(rules.verify)).counts


def _parts(plan: Plan, efforts: tuple[str | None, ...], ask: Ask) -> tuple[Parts, NDArray[np.bool_]]:
    models: dict[str, int] = {}
    rows, numbers, allowed = [], [], []
    for candidate in plan.candidates:
        number = models.setdefault(candidate.target.model, len(models))
        outlook = candidate.outlook
        turned = rejected(candidate.target, ask)
        known = (
            *(np.nan if one is None else float(one.mean) for one in (outlook.quality, outlook.cost, outlook.latency)),
            np.nan if turned is None else 1 - turned.mean,
            _or_nan(failing(candidate.target, ask)),
        )
        for effort in efforts:
            rows.append(known if len(efforts) == 1 or effort == plan.effort else (np.nan,) * len(known))
            numbers.append(number)
            allowed.append(not is_hard(candidate.excluded))
    table = np.array(rows, dtype=float).reshape(-1, 5)
    unknown = np.full(len(table), np.nan)
    quality, cost, latency, accepted, fails = table.T
    parts = Parts(
        np.array(numbers, dtype=np.int64),
        quality,
        cost,
        latency,
        unknown,
        accepted,
        unknown,
        fails,
        np.zeros((0, len(table))),
    )
    return parts, np.array(allowed, dtype=bool)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
