"""Requirements, proven with the policy's confidence or not at all: what is unknown satisfies nothing."""

from fw_policies.estimate import cost as money
from fw_policies.estimate.intervals import always_above, always_under, needed
from fw_policies.estimate.statistics import Snapshot
from fw_policies.model import NANO_USD, Candidate, Exclusion, MachinePrice, Outlook, Plan, Requirement
from fw_policies.rules.ask import Ask, exclude

Verdict = tuple[Exclusion, str] | None


def requirements(plan: Plan, ask: Ask) -> Plan:
    """Exclude every candidate that does not prove every requirement; the first that fails names the reason."""
    baseline = _baseline(plan, ask)
    tested = _tested(plan, ask)

    def judge(candidate: Candidate) -> Verdict:
        unknown: Verdict = None
        for requirement in plan.requirements:
            verdict = _holds(requirement, candidate, (baseline, tested), ask)
            if verdict is not None and verdict[0] != "unknown":
                return verdict
            unknown = unknown or verdict
        if unknown is None and ask.rules.objective == "quality" and candidate.outlook.quality is None:
            return "unknown", "quality was never measured here"
        return unknown

    return exclude(plan, judge, "requirements")


def _baseline(plan: Plan, ask: Ask) -> Outlook | None:
    for candidate in plan.candidates:
        if candidate.target.model == ask.policy.baseline and candidate.outlook.quality is not None:
            return candidate.outlook
    return None


def _tested(plan: Plan, ask: Ask) -> int:
    """How many models are tested against the floor of quality: each gets its share of the risk (Bonferroni)."""
    models = {c.target.model for c in plan.candidates if c.outlook.quality is not None}
    return max(1, len(models - {ask.policy.baseline}))


def _holds(requirement: Requirement, candidate: Candidate, known: tuple[Outlook | None, int], ask: Ask) -> Verdict:
    """Why a requirement is not proven; None when it is."""
    if requirement.measure == "quality":
        return _quality(requirement, candidate, known, ask)
    if requirement.measure == "cost":
        return _cost(requirement, candidate, ask)
    return _time(requirement, candidate, ask)


def _quality(requirement: Requirement, candidate: Candidate, known: tuple[Outlook | None, int], ask: Ask) -> Verdict:
    """The lower bound against the floor, at 1 − δ over all models that are tested and over all times that anybody looks.

    Evidence grows with every call and is looked at with every call, so the bounds hold at all sizes at once. A relative floor uses the
    baseline's upper bound: it has half of δ, the models share the other half.
    """
    baseline, tested = known
    found = candidate.outlook.quality
    if candidate.target.model == ask.policy.baseline and requirement.limit is None:
        return None
    if found is None:
        return "unknown", f"{_outcome(ask)} was never reported for this model at this step"
    floor, delta = requirement.limit, (1 - ask.policy.confidence) / tested
    if floor is None:
        if baseline is None or baseline.quality is None:
            return "unknown", f"the baseline's {_outcome(ask)} was never reported at this step"
        delta /= 2
        base = baseline.quality
        top = always_under(base.n, base.mean * base.n, (1 - ask.policy.confidence) / 2)
        floor = top * requirement.relative if requirement.relative is not None else top - (requirement.margin or 0.0)
    low, high = (bound(found.n, found.mean * found.n, delta) for bound in (always_above, always_under))
    if low >= floor:
        return None
    words = f"quality {found.mean:.2f} [{low:.2f}, {high:.2f}] < {floor:.3f}"
    return ("quality", words) if high < floor else ("unknown", f"{words}: not proven with {found.n:.0f} outcomes")


def _outcome(ask: Ask) -> str:
    return ask.policy.quality.outcome if ask.policy.quality is not None else "quality"


def _time(requirement: Requirement, candidate: Candidate, ask: Ask) -> Verdict:
    """P(X > limit) <= 1 − percentile, by the Clopper–Pearson bound of the calls seen above it."""
    estimates, share, limit = ask.world.estimates, requirement.percentile or 0.95, requirement.limit or 0.0
    if not isinstance(estimates, Snapshot):
        return "unknown", "nothing was observed"
    histogram = estimates.histogram(requirement.measure, ask.facts, candidate.target)
    least = needed(1 - share, ask.policy.confidence)
    if histogram is None or not histogram.total:
        return "unknown", f"0 of {least} {requirement.measure} observations"
    if histogram.proves(limit, 1 - share, ask.policy.confidence):
        return None
    above, total = histogram.above(limit), histogram.total
    if above / total > 1 - share and total >= least:
        reason: Exclusion = "ttft" if requirement.measure == "ttft" else "latency"
        return reason, f"{requirement.measure} > {limit:g} s in {above} of {total} calls"
    return "unknown", f"{total} of {least} {requirement.measure} observations, {above} above {limit:g} s"


def _cost(requirement: Requirement, candidate: Candidate, ask: Ask) -> Verdict:
    limit = requirement.limit or 0.0
    if requirement.percentile is None:
        worst = worst_cost(candidate, ask)
        if worst is None:
            return "unknown", "its worst cost is not known: no price, or no limit on the output"
        return ("cost", f"may cost ${worst / NANO_USD:.4g} > ${limit / NANO_USD:.4g}") if worst > limit else None
    found = candidate.outlook.cost
    if candidate.target.price is None:
        return "unknown", "its price is not known"
    share, estimates = requirement.percentile, ask.world.estimates
    proven = (
        estimates.cost_percentile(ask.facts, candidate.target, share, ask.policy.confidence)
        if isinstance(estimates, Snapshot)
        else None
    )
    if proven is None:
        least = needed(1 - share, ask.policy.confidence)
        return "unknown", f"{0 if found is None else found.n:.0f} of {least} cost observations"
    if proven <= limit:
        return None
    return "cost", f"p{share * 100:g} cost ${proven / NANO_USD:.4g} > ${limit / NANO_USD:.4g}"


def worst_cost(candidate: Candidate, ask: Ask) -> int | None:
    """Nano-USD that a call may cost at most: all of its input uncached, and as much output as it may have."""
    target, facts = candidate.target, ask.facts
    price = target.price
    limits = [limit for limit in (facts.max_output_tokens, target.max_output) if limit is not None]
    if price is None or isinstance(price, MachinePrice) or not limits:
        return None
    return money.tokens(facts.input_tokens, price.input) + money.tokens(min(limits), price.output)
