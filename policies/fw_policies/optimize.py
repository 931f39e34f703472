"""From what a step needs to a plan: rules applied one after the other, the invariants checked after each."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from fw_policies.model import Candidate, Facts, Note, Outlook, Plan, Target, World
from fw_policies.rules import (
    balance,
    choose,
    effort,
    evidence,
    explore,
    hard,
    hedge,
    locked,
    proofs,
    verify,
    whole,
)
from fw_policies.rules.ask import Ask, is_hard
from fw_policies.rules.screens import able, screened
from fw_policies.spec import Policy

Rule = Callable[[Plan, Ask], Plan]
RULES: tuple[Rule, ...] = (
    locked.locked,
    choose.choose,
    choose.relax,
    choose.baseline,
    choose.stand_in,
    choose.fall_back,
    balance.balance,
    evidence.evidence,
    effort.effort,
    verify.verify,
    hedge.hedge,
    whole.whole,
    explore.explore,
    proofs.proofs,
)
"""In the order they are applied, after the screens: what is chosen, what follows when it fails."""

Observer = Callable[[str, Plan], None]


class Broken(AssertionError):
    """A rule broke an invariant: a bug of the rule, never of the policy."""


def optimize(policy: Policy, facts: Facts, world: World, *, observe: Observer | None = None) -> Plan:
    """The plan for a request. `observe` is told the plan after each rule.

    Raises:
        Broken: a rule broke an invariant.
    """
    rules = policy.rules(facts)
    ask = Ask(policy, rules, facts, world)
    if ask.checked:
        ask = replace(ask, followers=_followers(ask))
    candidates, notes = screened(ask)
    plan = Plan(
        policy=policy.name,
        version=policy.digest,
        step=facts.step,
        objective=rules.goal,
        strategy="single",
        reason="default",
        targets=(),
        candidates=candidates,
        requirements=rules.require,
        confidence=policy.confidence,
        baseline=policy.baseline,
        prices=world.prices,
        otherwise=rules.otherwise,
        lossless=rules.lossless,
        priority=rules.priority,
        notes=notes,
    )
    if observe is not None:
        observe("screens", plan)
    for rule in RULES:
        before, plan = plan, rule(plan, ask)
        if plan.targets is not before.targets or plan.candidates is not before.candidates:
            _hold(plan, rule, ask)
        if observe is not None:
            observe(rule.__name__, plan)
    return plan


def _followers(ask: Ask) -> tuple[Target, ...]:
    """Where the baseline may run, the place listed first in front."""
    mine = able([ask.world.targets[number] for number in ask.models.get(ask.policy.baseline, ())], ask)
    return tuple(sorted(mine, key=lambda one: (one.order, one.deployment)))


def _hold(plan: Plan, rule: Rule, ask: Ask) -> None:
    """No target is invented, and none serves that a hard rule excludes."""
    numbers = ask.numbers
    for target in plan.targets:
        number = numbers.get(target.deployment)
        if number is None:
            raise Broken(f"{rule.__name__} invented {target.deployment}")
        excluded = plan.candidates[number].excluded
        if excluded and is_hard(excluded):
            raise Broken(f"{rule.__name__} lets {target.deployment} serve against `{excluded}`")


def pinned(facts: Facts, world: World) -> Plan:
    """The plan of a caller who named a configured model: its deployments in order, with no test but whether they may be tried.

    When all of them rest, they are tried all the same: the caller asked for nothing else.
    """
    mine = [target for target in world.targets if target.model == facts.model]
    candidates = tuple(_pinned(target, facts, world) for target in mine)
    able = [candidate.target for candidate in candidates if not candidate.excluded]
    resting = [candidate.target for candidate in candidates if candidate.excluded not in {"", "no_credential"}]
    targets = tuple(able or resting)
    first = next((c.outlook for c in candidates if targets and c.target == targets[0]), Outlook())
    plan = Plan(
        policy="",
        version="",
        step=facts.step,
        objective="",
        strategy="fall_back" if len(targets) > 1 else "single",
        reason="pinned" if targets else "infeasible",
        targets=targets,
        candidates=candidates,
        outlook=first,
        notes=(Note("pinned", f"the caller named {facts.model}"),),
        prices=world.prices,
        otherwise="refuse",
    )
    return verify.declared(balance.spread(plan), facts)


def _pinned(target: Target, facts: Facts, world: World) -> Candidate:
    reason = world.blocked.get(target.deployment, "")
    known = world.estimates.looking(facts)(target)
    why = hard.WORDS.get(reason, "") if reason else ""
    return Candidate(target, known, reason, why, size=facts.input_tokens)


def names(rules: Iterable[Rule] = RULES) -> tuple[str, ...]:
    """What an observer is told of, in order."""
    return ("screens", *(rule.__name__ for rule in rules))
