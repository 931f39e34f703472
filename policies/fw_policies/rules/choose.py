"""The choice: the best of what is proven, else the baseline, else what `otherwise` says; then what follows when it fails."""

from dataclasses import replace

from fw_policies.model import Candidate, Estimate, Plan, Reason, Target
from fw_policies.rules.ask import Ask, is_hard, note, ready
from fw_policies.rules.requirements import requirements
from fw_policies.rules.whole import of_walk

INFINITY = float("inf")
SEEN = 20
"""Calls from which two models may be compared where nothing must be proven."""


def choose(plan: Plan, ask: Ask) -> Plan:
    """Put the best proven candidate first."""
    if plan.targets:
        return plan  # compiled and certified
    if ask.rules.use_baseline:
        return note(plan, "choose", "the policy says: use the baseline")
    able = ready(plan) if plan.requirements else _measured(plan, ask)
    proven = sorted(able, key=lambda candidate: _order(candidate, ask))
    if not proven:
        return plan
    best = proven[0]
    if best.target.model == ask.policy.baseline and len({c.target.model for c in proven}) == 1:
        # It meets all that is asked, so `otherwise` has no say: nothing is refused and nothing given up.
        plan = replace(plan, targets=(best.target,), reason="baseline", outlook=best.outlook)
        return note(plan, "baseline", f"{best.target.deployment} serves: nothing else is proven yet")
    reason: Reason = "best_score" if len(proven) > 1 else "only_eligible"
    plan = replace(plan, targets=(best.target,), reason=reason, outlook=best.outlook)
    return note(plan, "choose", f"{best.target.deployment} is best by {ask.rules.objective} of {len(proven)} proven")


def _measured(plan: Plan, ask: Ask) -> list[Candidate]:
    """Where nothing is asked: those whose objective was seen often enough to be compared; none unless the baseline is one of them.

    With a word for quality and nothing asked of it there is no reason to leave the baseline.
    """
    if ask.policy.quality is not None:
        return []
    found = [(c, getattr(c.outlook, ask.rules.objective)) for c in ready(plan)]
    known = [c for c, estimate in found if estimate is not None and estimate.n >= SEEN]
    return known if ask.policy.baseline in {c.target.model for c in known} else []


def _of_walk(candidate: Candidate, measure: str, ask: Ask) -> float | None:
    """What the whole walk comes to, unknown while nobody knows how often checks reject."""
    return _mean(getattr(of_walk(candidate, ask), measure)) if ask.checked else _value(candidate, measure)


def _value(candidate: Candidate, measure: str) -> float | None:
    return _mean(getattr(candidate.outlook, measure))


def _mean(found: Estimate | None) -> float | None:
    return None if found is None else found.mean


def _order(candidate: Candidate, ask: Ask) -> tuple[float, float, float, float, int, str]:
    """By the objective, ties by cost, then latency; unknown comes last; the name settles the rest."""
    measure = ask.rules.objective
    main, cost, latency = (_of_walk(candidate, name, ask) for name in (measure, "cost", "latency"))
    if main is not None and measure == "quality":
        main = -main
    values = [INFINITY if value is None else value for value in (main, cost, latency)]
    return values[0], values[1], values[2], -(candidate.rank or 0.0), *_place(candidate)


def relax(plan: Plan, ask: Ask) -> Plan:
    """`otherwise: relax [...]`: give up the named measures, one after the other, until something is proven."""
    if plan.targets or ask.rules.otherwise != "relax" or ask.rules.use_baseline:
        return plan
    given_up: list[str] = []
    for measure in ask.rules.relax:
        given_up.append(measure)
        left = tuple(line for line in plan.requirements if line.measure not in given_up)
        fresh = tuple(
            c._replace(excluded="", why="") if c.excluded and not is_hard(c.excluded) else c for c in plan.candidates
        )
        tried = choose(requirements(replace(plan, candidates=fresh, requirements=left), ask), ask)
        if tried.targets:
            return note(tried, "relax", f"given up: {', '.join(given_up)}")
    return plan


def baseline(plan: Plan, ask: Ask) -> Plan:
    """Nothing is proven: today's model serves. It needs no proof, but hard rules bind it.

    `otherwise: refuse` refuses when it cannot run, or is seen to miss a requirement; while that is unknown it serves, for
    otherwise nothing would ever become known.
    """
    if plan.targets:
        return plan
    found = _able(plan, ask.policy.baseline)
    if (
        ask.rules.otherwise == "refuse"
        and not ask.rules.use_baseline
        and (found is None or found.excluded not in {"", "unknown"})
    ):
        text = "cannot run" if found is None else f"misses what is required ({found.why})"
        plan = note(plan, "baseline", f"the baseline {ask.policy.baseline} {text}, and the policy says: refuse")
        return replace(plan, reason="infeasible")
    if found is not None:
        text = "the policy asks for it" if ask.rules.use_baseline else "nothing else is proven yet"
        plan = replace(plan, targets=(found.target,), reason="baseline", outlook=found.outlook)
        return note(plan, "baseline", f"{found.target.deployment} serves: {text}")
    return plan


def stand_in(plan: Plan, ask: Ask) -> Plan:
    """The baseline cannot run at all: the config's stand-in serves, and says so."""
    if plan.targets or plan.reason == "infeasible":
        return plan
    name = ask.world.stand_in
    found = _able(plan, name) if name is not None else None
    if found is None:
        return replace(
            note(plan, "stand_in", f"the baseline {ask.policy.baseline} cannot run now"), reason="infeasible"
        )
    plan = replace(plan, targets=(found.target,), reason="degraded", outlook=found.outlook)
    return note(
        plan, "stand_in", f"{found.target.deployment} stands in: the baseline {ask.policy.baseline} cannot run now"
    )


def _able(plan: Plan, model: str | None) -> Candidate | None:
    """The first deployment of a model that no hard rule excludes, the quickest known first."""
    able = [c for c in plan.candidates if c.target.model == model and not is_hard(c.excluded)]
    return min(able, key=lambda c: (_value(c, "latency") or INFINITY, *_place(c)), default=None)


def fall_back(plan: Plan, ask: Ask) -> Plan:
    """What is tried when the first fails: the same model elsewhere, then what is proven, then the baseline; failure domains apart first.

    Under `verify` the baseline follows at once: what a walk takes and costs was judged for the two.
    """
    if not plan.targets or plan.certificate is not None:
        return plan
    first = plan.targets[0]
    proven = sorted(ready(plan), key=lambda candidate: _order(candidate, ask))
    same = sorted((c for c in plan.candidates if c.target.model == first.model and _may_follow(c, plan)), key=_place)
    others = (
        [c for c in proven if c.target.model != first.model]
        if plan.reason in {"best_score", "only_eligible"} and not ask.checked
        else []
    )
    base = (c for c in plan.candidates if c.target.model == ask.policy.baseline and not is_hard(c.excluded))
    last = sorted(base, key=_place)
    ordered, taken = [first], {first.deployment}
    for candidate in (*same, *others, *last):
        if candidate.target.deployment not in taken:
            taken.add(candidate.target.deployment)
            ordered.append(candidate.target)
    if len(ordered) == 1:
        return plan
    domains = ask.rules.failure_domains
    if domains > 1:
        ordered = apart(ordered, domains)
    return note(
        replace(plan, targets=tuple(ordered), strategy="fall_back", failure_domains=domains),
        "fall_back",
        f"then {len(ordered) - 1} more",
    )


def _place(candidate: Candidate) -> tuple[int, str]:
    """What settles a tie: who is listed first, then the name."""
    return candidate.target.order, candidate.target.deployment


def _may_follow(candidate: Candidate, plan: Plan) -> bool:
    """Whether another deployment of the model that serves may take over: same quality, but a price of its own."""
    proven = plan.reason in {"best_score", "only_eligible"}
    return not is_hard(candidate.excluded) and not (proven and candidate.excluded == "cost")


def apart(targets: list[Target], domains: int) -> list[Target]:
    """The same targets, so that the first `domains` share no provider and no zone where that can be."""
    front = [targets[0]]
    for target in targets[1:]:
        if len(front) >= domains:
            break
        if all(target.provider != t.provider and _zones_differ(target, t) for t in front):
            front.append(target)
    return front + [target for target in targets if target not in front]


def _zones_differ(one: Target, other: Target) -> bool:
    return one.zone is None or other.zone is None or one.zone != other.zone
