"""How what serves stands to each requirement, and what binds: for EXPLAIN, and for nothing else."""

from collections.abc import Sequence
from dataclasses import replace

from fw_policies.model import Candidate, Near, Plan, Proof, Requirement
from fw_policies.rules.ask import Ask, Judge, is_hard, serving
from fw_policies.rules.requirements import check, proof
from fw_policies.rules.whole import means

GIVES = 0.5
"""Share of a limit that nobody would give up: what misses it by more is not near."""
_CHOSEN = frozenset({"best_score", "only_eligible"})


def proofs(plan: Plan, ask: Ask) -> Plan:
    """Put the proven bounds of what serves into the plan; under a certificate, its line about quality is the certificate's.

    Of a mixture they are the worst of its arms: what each of them keeps, all of them keep.
    """
    if plan.arms:
        arms = tuple((weight, proofs(arm, ask)) for weight, arm in plan.arms)
        return replace(plan, arms=arms, proofs=_worst([arm.proofs for _, arm in arms], plan))
    if not plan.targets or not plan.requirements:
        return plan
    first = serving(plan, ask)
    if first is None:
        return plan
    found = tuple(_proof(line, first, plan, ask) for line in plan.requirements)
    return replace(plan, proofs=found, near=_near(plan, first, ask))


def _proof(line: Requirement, candidate: Candidate, plan: Plan, ask: Ask) -> Proof:
    certificate = plan.certificate
    if certificate is not None and line.measure == "quality":
        quality, slack = float(certificate["quality"]), float(certificate["slack"])
        if line.limit is not None and line.relative is None and line.margin is None:
            return Proof(True, line.limit + slack, line.limit)
        return Proof(True, quality, quality - slack)
    return proof(line, candidate, ask)


def _worst(arms: Sequence[Sequence[Proof]], plan: Plan) -> tuple[Proof, ...]:
    """Line by line the worst proof; none where an arm has none."""
    if any(len(each) != len(plan.requirements) for each in arms):
        return ()
    found = []
    for line, each in zip(plan.requirements, zip(*arms, strict=True), strict=True):
        values = [one.value for one in each if one.value is not None]
        worst = min if line.measure == "quality" else max
        value = worst(values) if len(values) == len(each) else None
        found.append(Proof(all(one.holds for one in each), value, each[0].limit))
    return tuple(found)


def _near(plan: Plan, first: Candidate, ask: Ask) -> Near | None:
    """The cheapest candidate that one requirement alone keeps out, and that would cost less than what serves."""
    if plan.reason not in _CHOSEN or plan.certificate is not None or ask.rules.objective != "cost":
        return None
    mean = means(ask)
    mine = mean(first, "cost")
    if mine is None:
        return None
    best: Near | None = None
    judges: list[tuple[Requirement, Judge]] = []
    for candidate in plan.candidates:
        if not candidate.excluded or is_hard(candidate.excluded):
            continue
        cost = mean(candidate, "cost")
        saves = 0.0 if cost is None else mine - cost
        if saves <= 0 or (best is not None and saves <= best.saves):
            continue
        judges = judges or [(line, check(line, ask)) for line in plan.requirements]
        missed = [line for line, judge in judges if judge(candidate) is not None]
        found = proof(missed[0], candidate, ask) if len(missed) == 1 else None
        if (
            found is not None
            and found.value is not None
            and found.limit
            and abs(found.value - found.limit) <= GIVES * found.limit
        ):
            best = Near(missed[0].text, candidate.target.deployment, abs(found.value - found.limit), saves)
    return best
