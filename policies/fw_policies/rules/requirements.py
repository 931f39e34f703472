"""Requirements, proven with the policy's confidence or not at all: what is unknown satisfies nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from fw_policies.estimate.intervals import always_above, always_under, needed
from fw_policies.estimate.snapshot import Snapshot
from fw_policies.model import NANO_USD, Candidate, Estimate, Exclusion, Plan, Proof, Requirement
from fw_policies.rules.ask import Ask, Judge, Verdict, exclude, remembered
from fw_policies.rules.walks import dearest, longest, payer, second, split, timed, walks, worst_cost


def requirements(plan: Plan, ask: Ask, *, measured: bool = True) -> Plan:
    """Exclude every candidate that does not prove every requirement; the first that fails names the reason.

    `measured`: what is chosen by its quality must have been measured.
    """
    return exclude(plan, judge(plan.requirements, ask, measured=measured), "requirements")


def proven(ask: Ask) -> Judge:
    """The judge of all that the step requires."""
    return judge(ask.rules.require, ask)


def judge(lines: Sequence[Requirement], ask: Ask, *, measured: bool = True) -> Judge:
    """What says which of these requirements a candidate does not prove.

    Whatever holds for every request of the step comes first, and is remembered as one verdict.
    """
    lasting = [line for line in lines if line.measure != "cost"]
    checks = [check(line, ask) for line in lasting]
    if measured and ask.rules.objective == "quality":
        checks.append(_measured)
    name = " · ".join([str(measured), *(line.text for line in lasting)])
    once = remembered(_first(checks), ask.memory.setdefault(f"lines {name}", {}))
    costs = [check(line, ask) for line in lines if line.measure == "cost"]
    return _first([once, *costs]) if costs else once


def _first(checks: Sequence[Judge]) -> Judge:
    """The first verdict that says no; else the first that does not know."""

    def verdict(candidate: Candidate) -> Verdict:
        unknown: Verdict = None
        for one in checks:
            found = one(candidate)
            if found is not None:
                if found[0] != "unknown":
                    return found
                unknown = unknown or found
        return unknown

    return verdict


def _measured(candidate: Candidate) -> Verdict:
    return ("unknown", "quality was never measured here") if candidate.known.quality is None else None


def check(line: Requirement, ask: Ask) -> Judge:
    """The judge of one requirement. All but those about cost hold for every request of the step, and are remembered."""
    if line.measure == "cost":
        return _capped(line, ask) if line.percentile is None else _paid(line, ask)
    verdicts: dict[str, Verdict] = ask.memory.setdefault(f"line {line.text}", {})
    return remembered(_good(line, ask) if line.measure == "quality" else _timed(line, ask), verdicts)


def proof(line: Requirement, candidate: Candidate, ask: Ask) -> Proof:
    """How a candidate stands to a requirement: the bound that is proven, against what it is held."""
    verdict = check(line, ask)(candidate)
    if line.measure == "quality":
        bar = _bar(line, ask)
        found = candidate.known.quality
        exempt = candidate.target.model == ask.policy.baseline and line.limit is None
        low = None if found is None or exempt else always_above(found.n, found.mean * found.n, bar.delta)
        return Proof(verdict is None, low, bar.floor)
    if line.measure != "cost":
        return Proof(verdict is None, longest(line.measure, level(line), candidate.target, ask), line.limit)
    if line.percentile is None:
        return Proof(verdict is None, worst_cost(candidate.target, ask), line.limit)
    return Proof(verdict is None, dearest(level(line), candidate.target, ask), line.limit)


@dataclass(frozen=True, slots=True)
class _Bar:
    """What quality is held against at a step."""

    floor: float | None
    delta: float
    """Risk that each model's bound may take."""


def _bar(line: Requirement, ask: Ask) -> _Bar:
    """The floor, and each model's share of the risk (Bonferroni over all that are tested).

    Evidence grows with every call and is looked at with every call, so the bounds hold at all sizes at once. A relative floor uses the
    baseline's upper bound: it has half of δ, the models share the other half.
    """
    known = f"bar {line.text}"
    found: _Bar | None = ask.memory.get(known)
    if found is not None:
        return found
    models = _qualities(ask)
    base = models.get(ask.policy.baseline)
    risk = 1 - ask.policy.confidence
    delta = risk / max(1, len(models.keys() - {ask.policy.baseline}))
    if line.limit is not None:
        found = _Bar(line.limit, delta)
    elif base is None:
        found = _Bar(None, delta / 2)
    else:
        top = always_under(base.n, base.mean * base.n, risk / 2)
        floor = top * line.relative if line.relative is not None else top - (line.margin or 0.0)
        found = _Bar(floor, delta / 2)
    ask.memory[known] = found
    return found


def _qualities(ask: Ask) -> dict[str, Estimate]:
    """By model, the quality that was reported at this step."""
    found: dict[str, Estimate] = {}
    if ask.policy.quality is not None:
        looked = ask.world.estimates.looking(
            ask.facts, outcome=ask.policy.quality.outcome, confidence=ask.policy.confidence
        )
        for target in ask.world.targets:
            if target.model not in found:
                quality = looked(target).quality
                if quality is not None:
                    found[target.model] = quality
    return found


def _good(line: Requirement, ask: Ask) -> Judge:
    """The lower bound of quality against the floor."""
    bar = _bar(line, ask)
    outcome = ask.policy.quality.outcome if ask.policy.quality is not None else "quality"

    def verdict(candidate: Candidate) -> Verdict:
        if candidate.target.model == ask.policy.baseline and line.limit is None:
            return None
        found = candidate.known.quality
        if found is None:
            return "unknown", f"{outcome} was never reported for this model at this step"
        if bar.floor is None:
            return "unknown", f"the baseline's {outcome} was never reported at this step"
        low, high = (bound(found.n, found.mean * found.n, bar.delta) for bound in (always_above, always_under))
        if low >= bar.floor:
            return None
        words = f"quality {found.mean:.2f} [{low:.2f}, {high:.2f}] < {bar.floor:.3f}"
        if high < bar.floor:
            return "quality", words
        return "unknown", f"{words}: not proven with {found.n:.0f} outcomes"

    return verdict


def _timed(line: Requirement, ask: Ask) -> Judge:
    """P(X > limit) <= 1 − percentile, by the calls seen above it, whenever anybody looks."""
    estimates, share, limit = ask.world.estimates, level(line), line.limit or 0.0
    measure = timed(line.measure, ask)
    reason: Exclusion = "ttft" if line.measure == "ttft" else "latency"

    def verdict(candidate: Candidate) -> Verdict:
        if not isinstance(estimates, Snapshot):
            return "unknown", "nothing was observed"
        walk = walks(candidate.target, ask)[0]
        least = needed(1 - split(share, walk), split(ask.policy.confidence, walk))
        histogram = estimates.histogram(measure, ask.facts, candidate.target)
        if histogram is None or not histogram.total:
            return "unknown", f"0 of {least} {measure} observations"
        above, total = histogram.above(limit), histogram.total
        if above / total > 1 - share and total >= least:
            return reason, f"{line.measure} > {limit:g} s in {above} of {total} calls"
        if len(walk) == 1:
            held = histogram.proves(limit, 1 - share, ask.policy.confidence)
            words = f"{total} of {least} {measure} observations, {above} above {limit:g} s"
            return None if held else ("unknown", words)
        seconds = longest(line.measure, share, candidate.target, ask)
        if seconds is None:
            return "unknown", _lacks(candidate, line, ask, least)
        return None if seconds <= limit else (reason, f"{line.measure} of both answers {seconds:.3g} s > {limit:g} s")

    return verdict


def _lacks(candidate: Candidate, line: Requirement, ask: Ask, least: int) -> str:
    """Which part of a walk is not proven, and how much of it was seen."""
    estimates, measure = ask.world.estimates, timed(line.measure, ask)
    for walk in walks(candidate.target, ask):
        for one in walk:
            if second(line.measure, level(line), one, walk, ask) is None and isinstance(estimates, Snapshot):
                found = estimates.histogram(measure, ask.facts, one)
                return f"{0 if found is None else found.total} of {least} {measure} observations of {one.deployment}"
    return f"{measure} is not proven"


def level(line: Requirement) -> float:
    """The share of calls that a line about a percentile speaks of."""
    return line.percentile or 0.95


def _paid(line: Requirement, ask: Ask) -> Judge:
    """The proven percentile of cost against the limit."""
    limit, share = line.limit or 0.0, level(line)
    pay = payer(share, ask)

    def verdict(candidate: Candidate) -> Verdict:
        paid = pay(candidate.target)
        if paid is not None:
            return (
                None
                if paid <= limit
                else ("cost", f"p{share * 100:g} cost ${paid / NANO_USD:.4g} > ${limit / NANO_USD:.4g}")
            )
        walk = walks(candidate.target, ask)[0]
        unpriced = next((one for one in walk if one.price is None), None)
        if unpriced is not None:
            return "unknown", "its price is not known" if unpriced is walk[0] else f"no price of {unpriced.deployment}"
        least, found = needed(1 - split(share, walk), split(ask.policy.confidence, walk)), candidate.outlook.cost
        return "unknown", f"{0 if found is None else found.n:.0f} of {least} cost observations"

    return verdict


def _capped(line: Requirement, ask: Ask) -> Judge:
    """The most that a call may cost against a hard cap."""
    limit = line.limit or 0.0

    def verdict(candidate: Candidate) -> Verdict:
        worst = worst_cost(candidate.target, ask)
        if worst is None:
            return "unknown", "its worst cost is not known: no price, or no limit on the output"
        return ("cost", f"may cost ${worst / NANO_USD:.4g} > ${limit / NANO_USD:.4g}") if worst > limit else None

    return verdict
