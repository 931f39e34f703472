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
    requirements,
    verify,
    whole,
)
from fw_policies.rules.ask import Ask, Screen, is_hard
from fw_policies.spec import Policy

Rule = Callable[[Plan, Ask], Plan]
SCREENS: tuple[Screen, ...] = (
    hard.fitting,
    hard.capability,
    hard.context,
    hard.available,
    hard.budget,
    hard.deadline,
    requirements.proven,
)
"""What may not serve and what is not proven: each candidate is out for the first reason."""
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
    outcome = policy.quality.outcome if policy.quality is not None else ""
    ask = Ask(policy, rules, facts, world)
    if ask.checked:
        ask = replace(ask, followers=_followers(ask))
    candidates, screened = _screened(ask, outcome)
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
        notes=screened,
    )
    if observe is not None:
        observe("screens", plan)
    for rule in RULES:
        before, plan = plan, rule(plan, ask)
        if plan.targets is not before.targets or plan.candidates is not before.candidates:
            _hold(plan, rule)
        if observe is not None:
            observe(rule.__name__, plan)
    return plan


def _followers(ask: Ask) -> tuple[Target, ...]:
    """Where the baseline may run, the place listed first in front."""
    judges = [judge for screen in SCREENS[:-1] if (judge := screen(ask)) is not None]
    looked, size = ask.world.estimates.looking(ask.facts, confidence=ask.policy.confidence), ask.facts.input_tokens
    mine = [one for one in ask.world.targets if one.model == ask.policy.baseline]
    able = [one for one in mine if not any(judge(Candidate(one, looked(one), size=size)) for judge in judges)]
    return tuple(sorted(able, key=lambda one: (one.order, one.deployment)))


def _screened(ask: Ask, outcome: str) -> tuple[tuple[Candidate, ...], tuple[Note, ...]]:
    """Every target as a candidate, each with the first reason that is against it; and what each screen kept out."""
    world, size, priors, name = ask.world, ask.facts.input_tokens, ask.world.priors, ask.policy.name
    looked = world.estimates.looking(ask.facts, outcome=outcome, confidence=ask.policy.confidence)
    judges = [(screen.__name__, judge) for screen in SCREENS if (judge := screen(ask)) is not None]
    counts: dict[str, int] = {}
    found = []
    for target in world.targets:
        rank = priors.get((name, target.model), priors.get(("*", target.model))) if priors else None
        candidate = Candidate(target, looked(target), "", "", rank, size)
        for screen, judge in judges:
            verdict = judge(candidate)
            if verdict is not None:
                candidate = Candidate(target, candidate.known, verdict[0], verdict[1], rank, size)
                counts[screen] = counts.get(screen, 0) + 1
                break
        found.append(candidate)
    notes = tuple(Note(screen, f"{count} of {len(found)} candidates") for screen, count in counts.items())
    return tuple(found), notes


def _hold(plan: Plan, rule: Rule) -> None:
    """No target is invented, and none serves that a hard rule excludes."""
    out = {candidate.target.deployment: candidate.excluded for candidate in plan.candidates}
    for target in plan.targets:
        if target.deployment not in out:
            raise Broken(f"{rule.__name__} invented {target.deployment}")
        if is_hard(out[target.deployment]):
            raise Broken(f"{rule.__name__} lets {target.deployment} serve against `{out[target.deployment]}`")


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
