"""What calls that were drawn at random say of a step: its arms, each a model with what follows it, and the runs that tried it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fw_gateway.ledger.features import numbers
from fw_gateway.ledger.history import Past
from fw_gateway.ledger.walks import Walk
from fw_policies.certify.runs import Seen
from fw_policies.lock import Arm, Mix, cell
from fw_policies.spec import Policy, Rules

HOUR = 3600.0
NOT_DRAWN = "no call of this step was drawn at random; `explore` does that, and only then are models comparable"
LABEL = "label."


@dataclass(frozen=True, slots=True)
class Drawn:
    """A step's arms and what became of them. The unit is a run of the step: all calls that one run makes there."""

    rules: Rules
    arms: Mapping[str, Arm]
    """Name -> what is served, with weight 1."""
    seen: Mapping[str, Sequence[Seen]]
    baseline: str | None
    """Name of the baseline's arm; None: it was never drawn."""
    use: Mapping[str, NDArray[np.float64]]
    """Name -> output tokens per run on each shared machine; NaN: it did not say."""
    volume: float
    """Runs per second over the time that was looked at."""
    peak: float
    """Runs per second in the busiest hour."""
    per_run: float
    """Runs of the step for each run of the policy."""
    mix: Mix
    told: tuple[str, ...]
    """What was left out, and why."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What all steps are looked at with."""

    policy: Policy
    walks: Mapping[str, Walk]
    machines: tuple[str, ...]
    """Deployments with a stated capacity."""
    seconds: float
    """From the first call to the last."""
    runs: int
    """Of the policy."""
    embedding: str = ""
    """Digest of the embedding whose texts are looked at; empty: none is."""


def drawn(calls: Sequence[Past], rules: Rules, frame: Frame) -> Drawn | str:
    """The arms of a step; or why there are none."""
    chosen = [one for one in calls if _by_chance(one)]
    if not chosen:
        return NOT_DRAWN
    policy, walks = frame.policy, frame.walks
    same = [one for one in chosen if one.decision_id in walks and walks[one.decision_id].verify == rules.verify]
    if not same:
        return "no call that was drawn at random was walked under the step's checks as they are now"
    told = _told(chosen, same, rules, walks)
    runs: dict[str, list[Past]] = {}
    for one in same:
        runs.setdefault(one.run or one.decision_id, []).append(one)
    arms: dict[str, Arm] = {}
    members: dict[str, dict[str, list[Past]]] = {}
    for run, mine in runs.items():
        arm = _arm(mine[0], walks[mine[0].decision_id], policy)
        name = " > ".join(arm.models) + (f" ({arm.effort})" if arm.effort else "")
        arms[name] = arm
        members.setdefault(name, {})[run] = mine
    late = {name: why for name in members if (why := _misses(members[name], rules))}
    told += [f"{name}: {why}" for name, why in late.items() if arms[name].models[0] != policy.baseline]
    kept = {name: by_run for name, by_run in members.items() if name not in late or _is_base(arms[name], policy)}
    outcome = policy.quality.outcome if policy.quality is not None else ""
    all_runs: dict[str, list[Past]] = {}
    for one in calls:
        all_runs.setdefault(one.run or one.decision_id, []).append(one)
    bases = [name for name in kept if _is_base(arms[name], policy)]
    return Drawn(
        rules,
        {name: arms[name] for name in kept},
        {name: _seen(by_run, outcome, frame.embedding) for name, by_run in kept.items()},
        max(bases, key=lambda name: len(kept[name]), default=None),
        {name: _use(by_run, frame) for name, by_run in kept.items()},
        len(all_runs) / frame.seconds,
        _busiest([walks[mine[0].decision_id].started for mine in all_runs.values() if mine[0].decision_id in walks]),
        len(all_runs) / max(frame.runs, 1),
        mix(same, policy),
        tuple(told),
    )


def _by_chance(one: Past) -> bool:
    """Whether the model was drawn whatever the call says: what a text was given, even when little was explored beside it, is no sample."""
    return one.propensity is not None and 0 < one.propensity < 1 and (one.explored or not one.by_text)


def labels(policy: Policy) -> tuple[str, ...]:
    """Names of the labels that the policy's cases look at."""
    return tuple(sorted(fact.removeprefix(LABEL) for fact in policy.uses if fact.startswith(LABEL)))


def mix(calls: Sequence[Past], policy: Policy) -> Mix:
    """What calls are like, counted."""
    names = labels(policy)
    return Mix(names, Counter(cell(one.input_tokens, one.labels, names) for one in calls))


def _is_base(arm: Arm, policy: Policy) -> bool:
    return arm.models[0] == policy.baseline


def _arm(one: Past, walk: Walk, policy: Policy) -> Arm:
    """The model that was drawn; under checks the whole cascade, whose outcome and cost were seen."""
    after = walk.models[walk.models.index(one.model) + 1 :] if one.model in walk.models else ()
    follows = after[:1] if walk.verify and one.model != policy.baseline else ()
    return Arm((one.model, *follows), 1.0, walk.effort)


def _told(chosen: Sequence[Past], same: Sequence[Past], rules: Rules, walks: Mapping[str, Walk]) -> list[str]:
    told = []
    if len(same) < len(chosen):
        told.append(f"{len(chosen) - len(same)} drawn calls were walked under other checks and count for nothing")
    tried = {walks[one.decision_id].effort for one in same}
    rest = [effort for effort in rules.effort if effort not in tried]
    if rest:
        told.append(f"effort {', '.join(rest)}: not varied, so not certified")
    return told


def _misses(by_run: Mapping[str, Sequence[Past]], rules: Rules) -> str:
    """Which line about a percentile of its own calls an arm misses as observed: the gateway would not let it serve."""
    calls = [one for mine in by_run.values() for one in mine]
    for line in rules.require:
        if line.percentile is None or line.limit is None or line.measure not in {"latency", "cost"}:
            continue
        values = [one.latency if line.measure == "latency" else one.cost for one in calls]
        over = sum(value is not None and value > line.limit for value in values)
        if over > (1 - line.percentile) * len(values):
            return f"{over} of {len(values)} calls miss `{line.text}`"
    return ""


def _seen(by_run: Mapping[str, Sequence[Past]], outcome: str, embedding: str) -> list[Seen]:
    """One value per run: the newest outcome, the cost of all its calls at the step, the text of the first."""
    found = []
    for run, mine in by_run.items():
        values = [{**one.run_outcomes, **one.outcomes}.get(outcome) for one in mine]
        known = [value for value in values if value is not None]
        if not known:
            continue
        costs = [one.cost for one in mine if one.cost is not None]
        cost = float(sum(costs)) if len(costs) == len(mine) else None
        said, chance = numbers(mine[0].text, embedding), mine[0].propensity or 1.0
        found.append(Seen(run, min(1.0, max(0.0, known[-1])), cost, said, chance))
    return found


def _use(by_run: Mapping[str, Sequence[Past]], frame: Frame) -> NDArray[np.float64]:
    """Mean output tokens of a run on each machine."""
    total = np.zeros(len(frame.machines))
    for mine in by_run.values():
        for one in mine:
            total += tokens(frame.walks[one.decision_id], frame.machines)
    return total / max(len(by_run), 1)


def tokens(walk: Walk, machines: Sequence[str]) -> NDArray[np.float64]:
    """Output tokens of one call on each machine; NaN where it did not say."""
    written = [walk.tokens.get(machine, 0) for machine in machines]
    return np.array([np.nan if count is None else float(count) for count in written])


def _busiest(starts: Sequence[float]) -> float:
    """Runs per second in the hour that had most of them."""
    counts = Counter(int(start // HOUR) for start in starts)
    return max(counts.values(), default=0) / HOUR
