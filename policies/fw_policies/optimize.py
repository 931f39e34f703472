"""From what a step needs to a plan: rules applied one after the other, the invariants checked after each."""

from collections.abc import Callable, Iterable

from fw_policies.model import Candidate, Facts, Note, Outlook, Plan, Target, World
from fw_policies.rules import choose, effort, evidence, explore, hard, locked, requirements, verify
from fw_policies.rules.ask import Ask, is_hard
from fw_policies.spec import Policy

Rule = Callable[[Plan, Ask], Plan]
RULES: tuple[Rule, ...] = (
    hard.patterns,
    hard.kind,
    hard.capability,
    hard.context,
    hard.data,
    hard.models,
    hard.retired,
    hard.available,
    hard.budget,
    hard.deadline,
    requirements.requirements,
    locked.locked,
    choose.choose,
    choose.relax,
    choose.baseline,
    choose.stand_in,
    choose.fall_back,
    evidence.evidence,
    effort.effort,
    verify.verify,
    explore.explore,
)
"""In the order they are applied: what may not serve, what is proven, what is chosen, what follows when it fails."""

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
    looked = world.estimates.outlook
    candidates = tuple(
        Candidate(
            target,
            looked(facts, target, outcome=outcome, confidence=policy.confidence),
            rank=world.priors.get((policy.name, target.model), world.priors.get(("*", target.model))),
        )
        for target in world.targets
    )
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
    )
    known = frozenset(target.deployment for target in world.targets)
    for rule in RULES:
        plan = rule(plan, ask)
        _hold(plan, known, rule)
        if observe is not None:
            observe(rule.__name__, plan)
    return plan


def _hold(plan: Plan, known: frozenset[str], rule: Rule) -> None:
    """No target is invented, and none serves that a hard rule excludes."""
    out = {candidate.target.deployment: candidate.excluded for candidate in plan.candidates}
    for target in plan.targets:
        if target.deployment not in known or target.deployment not in out:
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
    return verify.declared(plan, facts)


def _pinned(target: Target, facts: Facts, world: World) -> Candidate:
    reason = world.blocked.get(target.deployment, "")
    outlook = world.estimates.outlook(facts, target)
    return Candidate(target, outlook, reason, hard.WORDS.get(reason, "") if reason else "")


def names(rules: Iterable[Rule] = RULES) -> tuple[str, ...]:
    """The rules' names, in order."""
    return tuple(rule.__name__ for rule in rules)
