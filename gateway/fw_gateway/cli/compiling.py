"""What `fw policy compile` computes: certificates from the ledger's randomised calls, as a lock."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from fw_gateway import clock
from fw_gateway.config import Config
from fw_gateway.ledger.history import Past
from fw_policies.certify.samples import Certified, Floor, Seen, certify
from fw_policies.lock import Arm, Certificate, Lock, LockedStep
from fw_policies.model import Facts, Requirement
from fw_policies.spec import Policy

DAYS = 14
"""For which a certificate is good."""
NOT_DRAWN = "no call of this step was drawn at random; `explore` does that, and only then are models comparable"


@dataclass(frozen=True, slots=True)
class How:
    """How a lock is made."""

    since: str
    """ISO date of the oldest call."""
    seed: int = 0
    days: int = DAYS


def lock(config: Config, policy: Policy, past: Sequence[Past], how: How) -> Lock:
    """The lock of a policy from its calls."""
    mine = [one for one in past if one.policy == policy.name]
    by_step: dict[str, list[Past]] = {}
    for one in mine:
        by_step.setdefault(one.step, []).append(one)
    today = clock.today()
    ends = (date.fromisoformat(today) + timedelta(days=how.days)).isoformat()
    named = [(one.decision_id, sorted(one.outcomes.items()), sorted(one.run_outcomes.items())) for one in mine]
    return Lock(
        policy=policy.name,
        version=policy.digest,
        baseline=policy.baseline,
        made=today,
        data=hashlib.sha256(repr(named).encode()).hexdigest()[:12],
        since=how.since,
        until=today,
        prices=config.prices,
        seed=how.seed,
        steps={step: _step(policy, step, calls, how.seed, ends=ends) for step, calls in sorted(by_step.items())},
    )


def _step(policy: Policy, step: str, calls: Sequence[Past], seed: int, *, ends: str) -> LockedStep:
    line = _line(policy, step)
    if line is None or policy.quality is None:
        return LockedStep((), reason="no line about quality: there is nothing to certify")
    drawn = [one for one in calls if one.propensity is not None and 0 < one.propensity < 1]
    if not drawn:
        return LockedStep((), reason=NOT_DRAWN)
    seen = _seen(drawn, policy.quality.outcome)
    floor = Floor(line.limit, line.relative if line.relative is not None else 1.0, line.margin or 0.0)
    found = certify(seen, policy.baseline, floor, confidence=policy.confidence, seed=seed)
    if not found.weights or found.quality is None or found.bound is None:
        return LockedStep((), reason=found.reason, more=found.more)
    certificate = Certificate(
        line.text,
        policy.quality.outcome,
        policy.quality.of,
        policy.confidence,
        found.quality,
        found.bound,
        found.tested,
        ends,
    )
    return LockedStep(_arms(found), certificate, found.cost, found.saved)


def _line(policy: Policy, step: str) -> Requirement | None:
    """The step's requirement of quality, where no case holds."""
    rules = policy.rules(Facts(agent=policy.name, step=step))
    return next((line for line in rules.require if line.measure == "quality"), None)


def _arms(found: Certified) -> tuple[Arm, ...]:
    total = sum(found.weights.values())
    order = sorted(found.weights.items(), key=lambda one: -one[1])
    return tuple(Arm((model,), weight / total) for model, weight in order)


def _seen(drawn: Sequence[Past], outcome: str) -> Mapping[str, list[Seen]]:
    """One value per run and step: the model that its first call drew, the newest outcome, the cost of all its calls there."""
    runs: dict[str, list[Past]] = {}
    for one in drawn:
        runs.setdefault(one.run or one.decision_id, []).append(one)
    seen: dict[str, list[Seen]] = {}
    for run, mine in runs.items():
        values = [{**one.run_outcomes, **one.outcomes}.get(outcome) for one in mine]
        known = [value for value in values if value is not None]
        if not known:
            continue
        costs = [one.cost for one in mine]
        cost = None if any(each is None for each in costs) else float(sum(each for each in costs if each is not None))
        seen.setdefault(mine[0].model, []).append(Seen(run, min(1.0, max(0.0, known[-1])), cost))
    return seen
