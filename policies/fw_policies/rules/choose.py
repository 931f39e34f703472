"""The choice: the best of what is proven, else the baseline, else what `otherwise` says; then what follows when it fails."""

from collections.abc import Callable
from dataclasses import replace

from fw_policies.model import Candidate, Plan, Reason, Target
from fw_policies.rules.ask import Ask, is_hard, kept, note, of_model, ready
from fw_policies.rules.requirements import requirements
from fw_policies.rules.whole import means

INFINITY = float("inf")
SEEN = 20
"""Calls from which two models may be compared where nothing must be proven."""


def choose(plan: Plan, ask: Ask) -> Plan:
    """Put the best proven candidate first."""
    if plan.targets:
        return plan  # compiled and certified
    if ask.rules.use_baseline:
        return note(plan, "choose", "the policy says: use the baseline")
    proven = _ranked(plan, ask) if plan.requirements else _measured(plan, ask)
    if not proven:
        return plan
    best = proven[0]
    if best.target.model == ask.policy.baseline and len({c.target.model for c in proven}) == 1:
        # It meets all that is asked, so `otherwise` has no say: nothing is refused and nothing given up.
        said = f"{best.target.deployment} serves: nothing else is proven yet"
        return note(plan, "baseline", said, targets=(best.target,), reason="baseline", outlook=best.outlook)
    reason: Reason = "best_score" if len(proven) > 1 else "only_eligible"
    said = f"{best.target.deployment} is best by {ask.rules.objective} of {len(proven)} proven"
    return note(plan, "choose", said, targets=(best.target,), reason=reason, outlook=best.outlook)


def _measured(plan: Plan, ask: Ask) -> list[Candidate]:
    """Where nothing is asked: the best first of those whose objective was seen often enough; none unless the baseline is one of them.

    With a word for quality and nothing asked of it there is no reason to leave the baseline.
    """
    if ask.policy.quality is not None:
        return []
    known = [c for c in _ranked(plan, ask) if c.known.count(ask.rules.objective) >= SEEN]
    return known if ask.policy.baseline in {c.target.model for c in known} else []


def _ranked(plan: Plan, ask: Ask) -> list[Candidate]:
    """What nothing speaks against, the best first; one choice and what follows it have the same candidates."""
    return kept(ask.scratch, "ranked", (plan.candidates,), lambda: sorted(ready(plan), key=_order(ask)))


def _order(ask: Ask) -> Callable[[Candidate], tuple[object, ...]]:
    """By the objective, ties by cost, then latency, of the whole walk; unknown comes last; the name settles the rest.

    Of all that, only the cost depends on the size of the request.
    """
    measure, mean = ask.rules.objective, means(ask)
    lasting: dict[str, tuple[float, tuple[object, ...]]] = kept(ask.memory, "order", (ask.world.priors,), dict)

    def known(candidate: Candidate, name: str) -> float:
        found = mean(candidate, name)
        return INFINITY if found is None else -found if name == "quality" else found

    def order(candidate: Candidate) -> tuple[object, ...]:
        found = lasting.get(candidate.target.deployment)
        if found is None:
            main = 0.0 if measure == "cost" else known(candidate, measure)
            rest = (known(candidate, "latency"), -(candidate.rank or 0.0), *_place(candidate))
            found = lasting[candidate.target.deployment] = (main, rest)
        cost = mean(candidate, "cost")
        return found[0], INFINITY if cost is None else cost, found[1]

    return order


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
    found = _able(plan, ask.policy.baseline, ask)
    if (
        ask.rules.otherwise == "refuse"
        and not ask.rules.use_baseline
        and (found is None or found.excluded not in {"", "unknown"})
    ):
        text = "cannot run" if found is None else f"misses what is required ({found.why})"
        said = f"the baseline {ask.policy.baseline} {text}, and the policy says: refuse"
        return note(plan, "baseline", said, reason="infeasible")
    if found is not None:
        text = "the policy asks for it" if ask.rules.use_baseline else "nothing else is proven yet"
        said = f"{found.target.deployment} serves: {text}"
        return note(plan, "baseline", said, targets=(found.target,), reason="baseline", outlook=found.outlook)
    return plan


def stand_in(plan: Plan, ask: Ask) -> Plan:
    """The baseline cannot run at all: the config's stand-in serves, and says so."""
    if plan.targets or plan.reason == "infeasible":
        return plan
    name = ask.world.stand_in
    found = _able(plan, name, ask)
    said = f"the baseline {ask.policy.baseline} cannot run now"
    if found is None:
        return note(plan, "stand_in", said, reason="infeasible")
    said = f"{found.target.deployment} stands in: {said}"
    return note(plan, "stand_in", said, targets=(found.target,), reason="degraded", outlook=found.outlook)


def _able(plan: Plan, model: str | None, ask: Ask) -> Candidate | None:
    """The first deployment of a model that no hard rule excludes, the quickest known first."""
    able = of_model(plan, model, ask)
    return min(able, key=lambda c: (c.mean("latency") or INFINITY, *_place(c)), default=None)


def fall_back(plan: Plan, ask: Ask) -> Plan:
    """What is tried when the first fails: the same model elsewhere, then what is proven, then the baseline; failure domains apart first.

    Under `verify` the baseline follows at once: what a walk takes and costs was judged for the two.
    """
    if not plan.targets or plan.certificate is not None:
        return plan
    first = plan.targets[0]
    same = sorted((c for c in of_model(plan, first.model, ask) if _may_follow(c, plan)), key=_place)
    others = (
        [c for c in _ranked(plan, ask) if c.target.model != first.model]
        if plan.reason in {"best_score", "only_eligible"} and not ask.checked
        else []
    )
    last = sorted(of_model(plan, ask.policy.baseline, ask), key=_place)
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
    said = f"then {len(ordered) - 1} more"
    return note(plan, "fall_back", said, targets=tuple(ordered), strategy="fall_back", failure_domains=domains)


def _place(candidate: Candidate) -> tuple[int, str]:
    """What settles a tie: who is listed first, then the name."""
    return candidate.target.order, candidate.target.deployment


def _may_follow(candidate: Candidate, plan: Plan) -> bool:
    """Whether another deployment of the model that serves may take over: same quality, but a price of its own."""
    return candidate.excluded != "cost" or plan.reason not in {"best_score", "only_eligible"}


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
