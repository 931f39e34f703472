"""What is left to chance in a plan, and with which probability: the draws are arguments, so that equal draws give equal plans.

`propensity` is exact: the probability of the plan that was drawn, given the facts, the world, and what could be afforded.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import log

from fw_policies.estimate.cost import MILLION
from fw_policies.model import Candidate, Plan, Target, TokenPrice
from fw_policies.rules import explore
from fw_policies.rules.ask import note

PAYS = 0.1
"""Share of its cost by which another model must be cheaper to take over: less is not worth a change."""


def uniform(*parts: str) -> float:
    """A draw from [0, 1) that is the same for the same texts: 53 bits of their BLAKE2b."""
    digest = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


def pick(weights: Iterable[float], draw: float) -> int:
    """The index that `draw` falls on; `weights` sum to 1, and rounding is the last one's."""
    last = 0
    for index, weight in enumerate(weights):
        if weight <= 0:
            continue
        last = index
        if draw < weight:
            return index
        draw -= weight
    return last


def tried(plan: Plan, draw: float, affordable: Callable[[Target], bool], *, pace: float = 1.0) -> Plan | None:
    """The plan that is explored instead of `plan`, or None: this call is not one of them. `pace` of the share is explored.

    What cannot be afforded takes no part: the share is spread over the others, and when there are none, nothing is explored.
    """
    found = plan.exploration
    if found is None or draw >= found.share * pace:
        return None
    trials = [trial for trial in found.trials if affordable(trial[1])]
    total = sum(weight for weight, _ in trials)
    if total <= 0:
        return None
    weights = [weight / total for weight, _ in trials]
    share = found.share * pace
    index = pick(weights, draw / share)
    return replace(explore.trial(plan, trials[index][1]), propensity=share * weights[index])


def kept(
    plan: Plan, affordable: Callable[[Target], bool], *, pace: float = 1.0, shadows: frozenset[str] = frozenset()
) -> float:
    """The probability that `plan` itself serves: nothing is explored, or only `shadows`, deployments that are asked beside it."""
    found = plan.exploration
    if found is None:
        return 1.0
    if not shadows:
        return (
            1.0 - found.share * pace if any(weight > 0 and affordable(trial) for weight, trial in found.trials) else 1.0
        )
    trials = [(weight, trial) for weight, trial in found.trials if weight > 0 and affordable(trial)]
    total = sum(weight for weight, _ in trials)
    if total <= 0:
        return 1.0
    live = sum(weight for weight, trial in trials if trial.deployment not in shadows)
    return 1.0 - found.share * pace * live / total


def weighed(plan: Plan, share: float) -> Plan:
    """The plan with its propensity times `share`: something else could have been drawn before it was."""
    return plan if share == 1.0 else replace(plan, propensity=plan.propensity * share)


def arm(plan: Plan, draw: float) -> Plan:
    """The arm of a mixture that `draw` falls on; a plan without arms is its own."""
    return armed(plan, drawn(plan, draw)) if plan.arms else plan


def drawn(plan: Plan, draw: float) -> int:
    """The number of that arm."""
    return pick([weight for weight, _ in plan.arms], draw)


def sticky_arm(plan: Plan, *key: str) -> Plan:
    """The arm that `key` (a run, a thread) is given: always the same while it is there, whatever else comes and goes.

    Weighted rendezvous hashing: the least of −ln(u)/w, with u drawn from key and arm, falls on each arm with probability w
    (Schindelhauer and Schomaker 2005).
    """
    return armed(plan, given(plan, *key)) if plan.arms else plan


def given(plan: Plan, *key: str) -> int:
    """The number of that arm."""
    scores = [
        (-log(1 - uniform(*key, name(found))) / weight, index)
        for index, (weight, found) in enumerate(plan.arms)
        if weight > 0
    ]
    return min(scores)[1]


def arm_by_text(plan: Plan, text: bytes) -> Plan:
    """The arm that the plan's rule gives to a text, for sure."""
    return plan if plan.by_text is None else _given(plan, plan.by_text.choose(text))


def arm_again(plan: Plan, known: str) -> Plan | None:
    """The arm of this name, which the first text of a run was given; None: the plan has it no more."""
    names = [name(found) for _, found in plan.arms]
    return _given(plan, names.index(known)) if known in names else None


def stay(plan: Plan, model: str) -> Plan:
    """The plan with the model that a run or a thread began with in front, as long as nothing speaks against it; else the plan.

    A cascade is what it is: its order is its point. What is cheaper even when it must read everything anew pays for the cache that
    is lost, and takes over.
    """
    if plan.strategy in {"cascade", "mixture"} or not plan.targets or plan.targets[0].model == model:
        return plan
    mine = [candidate for candidate in plan.candidates if candidate.target.model == model]
    may = [one for one in mine if not one.excluded or (one.excluded == "unknown" and model == plan.baseline)]
    if not may:
        return plan
    if _pays(plan, may[0]):
        return note(
            plan, "sticky", f"{plan.targets[0].model} takes over from {model}: it pays for the cache that is lost"
        )
    front = [one.target for one in may]
    targets = (*front, *(target for target in plan.targets if target not in front))
    plan = replace(
        plan, targets=targets, strategy="fall_back" if len(targets) > 1 else "single", outlook=may[0].outlook,
        reason="baseline" if may[0].excluded else plan.reason, notes=explore.unchosen(plan), **explore.UNPROVEN,
    )  # fmt: skip
    return note(plan, "sticky", f"{model} stays: it is what this began with")


def _pays(plan: Plan, mine: Candidate) -> bool:
    """Whether what would serve is cheaper, by PAYS at least, reading all of the input anew, than the model that has it in its cache."""
    head = next((c for c in plan.candidates if c.target is plan.targets[0]), None)
    warm, cold = mine.outlook.cost, head.outlook.cost if head is not None else None
    if head is None or warm is None or cold is None or plan.objective != "minimize cost" or mine.cached is None:
        return False
    price = head.target.price
    again = 0.0
    if isinstance(price, TokenPrice) and price.cached_input is not None:
        again = (head.cached or 0.0) * head.size * (price.input - price.cached_input) / MILLION
    return cold.mean + again < (1 - PAYS) * warm.mean


def name(plan: Plan) -> str:
    """What an arm is known by, for as long as it tries the same models in the same way."""
    return ">".join([*dict.fromkeys(target.model for target in plan.targets), plan.effort or "", *plan.verify])


def _given(plan: Plan, index: int) -> Plan:
    rule = None if plan.by_text is None else replace(plan.by_text, reads=())
    said = f"arm {index + 1} of {len(plan.arms)}, by the text that it began with"
    return note(replace(plan.arms[index][1], propensity=1.0, by_text=rule), "mixture", said)


def armed(plan: Plan, index: int) -> Plan:
    """The arm of this number, with the probability that it had."""
    weight, found = plan.arms[index]
    total = sum(share for share, _ in plan.arms)
    share = weight / total
    said = f"arm {index + 1} of {len(plan.arms)}, drawn with probability {share:.3g}"
    return note(found, "mixture", said, propensity=share)
