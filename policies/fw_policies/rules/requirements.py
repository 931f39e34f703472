"""Requirements, proven with the policy's confidence or not at all: what is unknown satisfies nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from fw_policies.estimate.intervals import always_above, always_under, needed
from fw_policies.model import NANO_USD, Candidate, Exclusion, Plan, Proof, Requirement, Target
from fw_policies.rules.ask import Ask, Judge, Lasting, Passing, Verdict, exclude, first, kept, remembered
from fw_policies.rules.walks import (
    after,
    biller,
    bills_after,
    bounded,
    dearest,
    edge,
    longest,
    longest_after,
    observed,
    parts,
    payer,
    room,
    split,
    timed,
    worst_cost,
)


def requirements(plan: Plan, ask: Ask, *, measured: bool = True) -> Plan:
    """Exclude every candidate that does not prove every requirement; the first that fails names the reason.

    `measured`: what is chosen by its quality must have been measured.
    """
    return exclude(plan, judge(plan.requirements, ask, measured=measured), "requirements")


def lasting(ask: Ask) -> Lasting | None:
    """The judge of what the step requires whatever the size of the request; that a cost is not known is part of it."""
    lines = [line for line in ask.rules.require if line.measure != "cost"]
    judges = _lasting(lines, ask, measured=True)
    judges.extend(_proven(line, ask) for line in takewhile(_is_percentile, _costs(ask)))
    grounds = tuple(_rest(line, ask) for line in ask.rules.require if line.measure != "quality")
    good = [_of_models(line, ask) for line in lines if line.measure == "quality"]
    of_target = (lambda target: [verdicts[target.model] for verdicts in good]) if good else None
    return Lasting(first(judges), grounds, of_target) if judges else None


def passing(ask: Ask) -> Passing | None:
    """The judge of what a call may cost, which grows with its input."""
    costs = _costs(ask)
    return Passing(first([check(line, ask) for line in costs]), ask.facts.input_tokens) if costs else None


def reach(candidate: Candidate, ask: Ask) -> float:
    """Tokens of input up to which no percentile of cost is above its limit; a hard cap depends on more than the input."""
    costs = _costs(ask)
    if not all(map(_is_percentile, costs)):
        return -math.inf
    return min(room(level(line), line.limit or 0.0, candidate.target, ask) for line in costs) if costs else math.inf


def _costs(ask: Ask) -> list[Requirement]:
    return [line for line in ask.rules.require if line.measure == "cost"]


def _is_percentile(line: Requirement) -> bool:
    return line.percentile is not None


def _lasting(lines: Sequence[Requirement], ask: Ask, *, measured: bool) -> list[Judge]:
    found = [check(line, ask) for line in lines]
    return [*found, _measured] if measured and ask.rules.objective == "quality" else found


def judge(lines: Sequence[Requirement], ask: Ask, *, measured: bool = True) -> Judge:
    """What says which of these requirements a candidate does not prove: those that hold for every size first."""
    lasting = [line for line in lines if line.measure != "cost"]
    costs = [check(line, ask) for line in lines if line.measure == "cost"]
    return first([*_lasting(lasting, ask, measured=measured), *costs])


def _measured(candidate: Candidate) -> Verdict:
    return ("unknown", "quality was never measured here") if candidate.known.judged is None else None


def check(line: Requirement, ask: Ask) -> Judge:
    """The judge of one requirement. All but those about cost hold for every request of the step, and are remembered."""
    if line.measure == "cost":
        return _capped(line, ask) if line.percentile is None else _paid(line, ask)
    if line.measure == "quality":
        verdicts = _of_models(line, ask)
        return lambda candidate: verdicts[candidate.target.model]
    slot = ("line", line.text, ask.policy.digest, ask.checked)
    return remembered(_timed(line, ask), slot, (ask.policy, line, _rest(line, ask)))


def _rest(line: Requirement, ask: Ask) -> object:
    """What a verdict of time or cost follows from beside what is known of its target: from what may follow, under checks."""
    share = level(line)
    if line.measure == "cost":
        found: object = bills_after(share, ask)
    else:
        found = longest_after(line.measure, share, ask)
    return after(ask) if found is None else found


def _of_models(line: Requirement, ask: Ask) -> Mapping[str, Verdict]:
    """By model, the verdict of its quality: wherever it runs, that is the same."""
    return kept(ask.memory, ("line", id(line)), (line,), lambda: _all_good(line, ask))


def _all_good(line: Requirement, ask: Ask) -> dict[str, Verdict]:
    judge, places = _good(line, ask), {one.model: one for one in ask.world.targets}
    return {model: judge(Candidate(one, ask.looked(one))) for model, one in places.items()}


def proof(line: Requirement, candidate: Candidate, ask: Ask) -> Proof:
    """How a candidate stands to a requirement: the bound that is proven, against what it is held."""
    verdict = check(line, ask)(candidate)
    if line.measure == "quality":
        bar = _bar(line, ask)
        found = candidate.known.judged
        exempt = candidate.target.model == ask.policy.baseline and line.limit is None
        low = None if found is None or exempt else always_above(*found, bar.delta)
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
    return kept(ask.memory, ("bar", id(line)), (line,), lambda: _raised(line, ask))


def _raised(line: Requirement, ask: Ask) -> _Bar:
    models = _qualities(ask)
    base = models.get(ask.policy.baseline)
    risk = 1 - ask.policy.confidence
    delta = risk / max(1, len(models.keys() - {ask.policy.baseline}))
    if line.limit is not None:
        return _Bar(line.limit, delta)
    if base is None:
        return _Bar(None, delta / 2)
    top = always_under(*base, risk / 2)
    floor = top * line.relative if line.relative is not None else top - (line.margin or 0.0)
    return _Bar(floor, delta / 2)


def _qualities(ask: Ask) -> dict[str, tuple[float, float]]:
    """By model, how much was reported of its quality at this step: how often, and the sum."""
    found: dict[str, tuple[float, float]] = {}
    if ask.policy.quality is not None:
        for target in ask.world.targets:
            if target.model not in found:
                judged = ask.looked(target).judged
                if judged is not None:
                    found[target.model] = judged
    return found


def _good(line: Requirement, ask: Ask) -> Judge:
    """The lower bound of quality against the floor."""
    bar = _bar(line, ask)
    outcome = ask.policy.quality.outcome if ask.policy.quality is not None else "quality"

    def verdict(candidate: Candidate) -> Verdict:
        if candidate.target.model == ask.policy.baseline and line.limit is None:
            return None
        judged = candidate.known.judged
        if judged is None:
            return "unknown", f"{outcome} was never reported for this model at this step"
        if bar.floor is None:
            return "unknown", f"the baseline's {outcome} was never reported at this step"
        (count, total), low = judged, always_above(*judged, bar.delta)
        if low >= bar.floor:
            return None
        high = always_under(*judged, bar.delta)
        words = f"quality {total / count:.2f} [{low:.2f}, {high:.2f}] < {bar.floor:.3f}"
        if high < bar.floor:
            return "quality", words
        return "unknown", f"{words}: not proven with {count:.0f} outcomes"

    return verdict


def _timed(line: Requirement, ask: Ask) -> Judge:
    """P(X > limit) <= 1 − percentile, by the calls seen above it, whenever anybody looks."""
    share, limit = level(line), line.limit or 0.0
    measure, sure = timed(line.measure, ask), ask.policy.confidence
    reason: Exclusion = "ttft" if line.measure == "ttft" else "latency"

    def verdict(candidate: Candidate) -> Verdict:
        count = parts(candidate.target, ask)
        least = needed(1 - split(share, count), split(sure, count))
        histogram = observed(line.measure, candidate.target, ask)
        if histogram is None or not histogram.total:
            return "unknown", f"0 of {least} {measure} observations"
        above, total = histogram.above(limit), histogram.total
        if above / total > 1 - share and total >= least:
            return reason, f"{line.measure} > {limit:g} s in {above} of {total} calls"
        if count == 1:
            if histogram.proves(limit, 1 - share, sure):
                return None
            return "unknown", f"{total} of {least} {measure} observations, {above} above {limit:g} s"
        seconds = longest(line.measure, share, candidate.target, ask)
        if seconds is None:
            return "unknown", _lacks(candidate.target, line, ask, least)
        return None if seconds <= limit else (reason, f"{line.measure} of both answers {seconds:.3g} s > {limit:g} s")

    return verdict


def _lacks(target: Target, line: Requirement, ask: Ask, least: int) -> str:
    """Which part of a walk is not proven, and how much of it was seen."""
    share, sure = split(level(line), 2), split(ask.policy.confidence, 2)
    lacking = (one for one in ask.followers if edge(line.measure, share, sure, one, ask) is None)
    one = target if edge(line.measure, share, sure, target, ask) is None else next(lacking, target)
    found = observed(line.measure, one, ask)
    seen = 0 if found is None else found.total
    return f"{seen} of {least} {timed(line.measure, ask)} observations of {one.deployment}"


def level(line: Requirement) -> float:
    """The share of calls that a line about a percentile speaks of."""
    return line.percentile or 0.95


def _paid(line: Requirement, ask: Ask) -> Judge:
    """The proven percentile of cost against the limit."""
    limit, share = line.limit or 0.0, level(line)
    pay = payer(share, ask)
    said: dict[float, Verdict] = {}

    def verdict(candidate: Candidate) -> Verdict:
        paid = pay(candidate.target, candidate.known)
        if paid is None:
            return _unpaid(candidate, share, ask)
        if paid > limit:
            paid = bounded(paid, candidate.target, ask)
        if paid <= limit:
            return None
        if paid not in said:
            said[paid] = "cost", f"p{share * 100:g} cost ${paid / NANO_USD:.4g} > ${limit / NANO_USD:.4g}"
        return said[paid]

    return verdict


def _proven(line: Requirement, ask: Ask) -> Judge:
    """Whether a percentile of cost is proven at all, whatever it is."""
    share, bill = level(line), biller(level(line), ask)

    def verdict(candidate: Candidate) -> Verdict:
        return _unpaid(candidate, share, ask) if bill(candidate.target, candidate.known) is None else None

    return verdict


def _unpaid(candidate: Candidate, share: float, ask: Ask) -> Verdict:
    """Why nothing is proven of a cost."""
    slot, grounds = ("unpaid", share, ask.policy.digest), (ask.policy, ask.followers)
    return kept(candidate.known.memory, slot, grounds, lambda: _lacking(candidate, share, ask))


def _lacking(candidate: Candidate, share: float, ask: Ask) -> Verdict:
    count = parts(candidate.target, ask)
    walk = (candidate.target, *ask.followers[: count - 1])
    unpriced = next((one for one in walk if one.price is None), None)
    if unpriced is not None:
        return "unknown", "its price is not known" if unpriced is walk[0] else f"no price of {unpriced.deployment}"
    least = needed(1 - split(share, count), split(ask.policy.confidence, count))
    return "unknown", f"{candidate.known.count('cost'):.0f} of {least} cost observations"


def _capped(line: Requirement, ask: Ask) -> Judge:
    """The most that a call may cost against a hard cap."""
    limit = line.limit or 0.0

    def verdict(candidate: Candidate) -> Verdict:
        worst = worst_cost(candidate.target, ask)
        if worst is None:
            return "unknown", "its worst cost is not known: no price, or no limit on the output"
        return ("cost", f"may cost ${worst / NANO_USD:.4g} > ${limit / NANO_USD:.4g}") if worst > limit else None

    return verdict
