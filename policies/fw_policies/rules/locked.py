"""The plan that was compiled and certified for this step serves, as long as everything it was proven under still holds."""

from collections.abc import Mapping
from dataclasses import replace

from fw_policies.lock import Arm, Certificate, Lock, LockedStep
from fw_policies.model import Candidate, Plan
from fw_policies.rules.ask import Ask, is_hard, note, of_model
from fw_policies.rules.requirements import requirements
from fw_policies.rules.whole import mixed, of_walk


def locked(plan: Plan, ask: Ask) -> Plan:
    """Put the lock's plan of this step in place, or say why it does not serve.

    The certificate stands for the line about quality alone; every other requirement is judged by what the calls show now.
    """
    lock = ask.world.locks.get(plan.policy)
    if lock is None or ask.rules.use_baseline:
        return plan
    why = lock.why_not(plan.step, plan.version, ask.world.today) or ask.world.voids.get((plan.policy, plan.step), "")
    step = lock.steps.get(plan.step)
    certificate = step.certificate if step is not None else None
    if why or step is None or certificate is None:
        return note(plan, "lock", f"lock {lock.digest} does not serve this step: {why}")
    if certificate.promise not in {line.text for line in plan.requirements if line.measure == "quality"}:
        return note(plan, "lock", f"lock {lock.digest} does not serve this case: it proves `{certificate.promise}`")
    able = _able(plan, ask)
    why = _unable(plan, step, able, ask)
    if why:
        return note(plan, "lock", f"lock {lock.digest} does not serve this {why}")
    proof = _proof(lock, certificate, step.dual)
    plan = replace(plan, certificate=proof)
    arms = [(arm.weight, _arm(plan, arm, able, ask)) for arm in step.arms]
    first = arms[0][1]
    told = f"compiled as lock {lock.digest}: {certificate.promise}, proven on {certificate.tested} runs"
    if len(arms) == 1:
        found = replace(first, notes=plan.notes)
    else:
        found = replace(
            plan, strategy="mixture", reason="best_score", targets=first.targets, arms=tuple(arms), outlook=mixed(arms),
            by_text=step.by_text,
        )  # fmt: skip
    return note(found, "lock", told)


def _unable(plan: Plan, step: LockedStep, able: Mapping[str, Candidate], ask: Ask) -> str:
    """Why the step's plan cannot be walked as it was proven; empty when it can."""
    if step.verify != ask.rules.verify:
        return "case: it was proven under other checks"
    if step.by_text is not None and step.by_text.embedding != ask.world.embedding:
        return f"step: it was made with the text embedding {step.by_text.embedding}, and {ask.world.embedding or 'none'} is here"
    gone = [arm.models[0] for arm in step.arms if arm.models[0] not in able]
    if gone:
        return f"step: {', '.join(gone)} may not serve now"
    present = {c.target.model for c in plan.candidates if not is_hard(c.excluded)}
    lost = [model for arm in step.arms for model in arm.models[1:] if model not in present]
    if lost:
        return f"step: {lost[0]} may not follow now"
    if ask.checked and any(set(arm.models[1:]) - {ask.policy.baseline} for arm in step.arms):
        return "step: what follows a rejected answer is not the baseline, and time and money are judged for that"
    return ""


def _able(plan: Plan, ask: Ask) -> dict[str, Candidate]:
    """By model, its best deployment that no hard rule excludes and that meets every requirement but quality."""
    fresh = tuple(
        c._replace(excluded="", why="") if c.excluded and not is_hard(c.excluded) else c for c in plan.candidates
    )
    rest = tuple(line for line in plan.requirements if line.measure != "quality")
    judged = requirements(replace(plan, candidates=fresh, requirements=rest), ask, measured=False)
    found: dict[str, Candidate] = {}
    for candidate in judged.candidates:
        if not candidate.excluded:
            known = found.get(candidate.target.model)
            if known is None or _cost(candidate) < _cost(known):
                found[candidate.target.model] = candidate
    return found


def _cost(candidate: Candidate) -> float:
    cost = candidate.mean("cost")
    return float("inf") if cost is None else cost


def _arm(plan: Plan, arm: Arm, able: Mapping[str, Candidate], ask: Ask) -> Plan:
    """One arm: its models in order, then the baseline when all of them fail."""
    chosen = [able[model] for model in arm.models if model in able]
    same, last = of_model(plan, arm.models[0], ask), of_model(plan, ask.policy.baseline, ask)
    targets = tuple(dict.fromkeys(c.target for c in (*chosen, *same, *last)))
    return replace(
        plan,
        strategy="single" if len(targets) == 1 else "fall_back",
        reason="best_score",
        targets=targets,
        outlook=of_walk(chosen[0], ask),
        effort=arm.effort,
    )


def _proof(lock: Lock, found: Certificate, dual: float | None) -> dict[str, float | str]:
    proof: dict[str, float | str] = {
        "lock": lock.digest,
        "promise": found.promise,
        "outcome": found.outcome,
        "of": found.of,
        "confidence": found.confidence,
        "quality": found.quality,
        "slack": found.slack,
        "tested": found.tested,
        "expires": found.expires,
    }
    return proof if dual is None else {**proof, "dual": dual}
