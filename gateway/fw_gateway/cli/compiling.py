"""What `fw policy compile` computes: certificates from the ledger's randomised calls, put together into one lock.

Prices of shared machines first (a programme over estimates of the fitting halves), then certificates per step with plans chosen at
these prices, then one programme over what was certified: any mixture of plans that passed keeps the promise, so that machines and a
run's budget can be shared out among them without another test.
"""

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from fw_gateway import clock
from fw_gateway.catalog import text
from fw_gateway.cli.drawn import HOUR, Drawn, Frame, drawn, tokens
from fw_gateway.config import Config
from fw_gateway.ledger.history import Past
from fw_gateway.ledger.walks import Walk
from fw_policies.certify import samples
from fw_policies.certify.runs import Floor
from fw_policies.certify.samples import Certified, certify
from fw_policies.certify.texts import Rule
from fw_policies.lock import Arm, Certificate, Lock, LockedStep, Machine
from fw_policies.model import Facts, Requirement
from fw_policies.search.steps import Answer, Shared, Step, solve
from fw_policies.spec import Policy

Vector = NDArray[np.float64]
DAYS = 14
"""For which a certificate is good."""
PER_POINT = 10.0
"""From nano-USD per run and unit of quality to nano-USD per 1,000 runs and point."""
SMALL = 0.005
"""Share of the calls below which an arm is left out of a mixture."""
LEFT = 1e-6
"""So far below a plan's quality its dual is taken: giving way is what it speaks of."""


@dataclass(frozen=True, slots=True)
class How:
    """How a lock is made."""

    since: str
    """ISO date of the oldest call."""
    seed: int = 0
    days: int = DAYS


@dataclass(frozen=True, slots=True)
class Log:
    """What the ledger says."""

    past: Sequence[Past]
    """Calls that policies decided."""
    walks: Mapping[str, Walk]
    """Decision -> how it was walked; pinned calls too."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A lock, and what people want to know beside it."""

    lock: Lock
    before: Mapping[str, tuple[Arm, ...]]
    """What served each step until now; empty: the baseline."""
    told: Mapping[str, tuple[str, ...]]
    """Step -> what was left out, and why."""
    notes: tuple[str, ...] = ()
    """What is said of all of it."""


@dataclass
class _Work:
    """What is being put together."""

    frame: Frame
    stated: Vector
    """Capacity of each machine, output tokens per second."""
    capacity: Vector
    """What everything else leaves of it."""
    drawn: dict[str, Drawn] = field(default_factory=dict)
    certified: dict[str, Certified] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def compiled(config: Config, policy: Policy, log: Log, how: How) -> Compiled:
    """The lock of a policy from its calls."""
    mine = [one for one in log.past if one.policy == policy.name]
    machines = {e.target.deployment: e.capacity for e in config.endpoints if e.capacity is not None}
    work = _work(policy, mine, log.walks, machines)
    prices = _prices(work, policy)
    for step, one in work.drawn.items():
        dearer = {name: float(np.nansum(prices * use)) * _ratio(one) for name, use in one.use.items()}
        floor = _floor(one.rules.require)
        work.certified[step] = certify(
            one.seen, one.baseline, floor, confidence=policy.confidence, seed=how.seed, dearer=dearer,
            embedding=work.frame.embedding,
        )  # fmt: skip
    today = clock.today()
    ends = (date.fromisoformat(today) + timedelta(days=how.days)).isoformat()
    steps, answer = _together(work, policy, ends, how.seed)
    named = [(one.decision_id, sorted(one.outcomes.items()), sorted(one.run_outcomes.items())) for one in mine]
    lock = Lock(
        policy=policy.name,
        version=policy.digest,
        baseline=policy.baseline,
        made=today,
        data=hashlib.sha256(repr(named).encode()).hexdigest()[:12],
        since=how.since,
        until=today,
        prices=config.prices,
        seed=how.seed,
        steps={**{step: LockedStep((), reason=why) for step, why in work.reasons.items()}, **steps},
        machines=_machines(work, answer),
    )
    old = config.locks.get(policy.name)
    before = {step: old.steps[step].arms if old is not None and step in old.steps else () for step in lock.steps}
    told = {step: (*one.told, *filter(None, [work.certified[step].text])) for step, one in work.drawn.items()}
    return Compiled(lock, before, {step: each for step, each in told.items() if each}, tuple(work.notes))


def _work(policy: Policy, mine: Sequence[Past], walks: Mapping[str, Walk], machines: Mapping[str, float]) -> _Work:
    """The arms of each step, and what is left of the machines for them."""
    names = tuple(sorted(machines))
    starts = [walk.started for walk in walks.values()]
    seconds = max(HOUR, max(starts) - min(starts)) if starts else HOUR
    stated = np.array([machines[name] for name in names])
    embedding = text.digest() if any(one.text is not None for one in mine) else ""
    frame = Frame(policy, walks, names, seconds, len({one.run or one.decision_id for one in mine}), embedding)
    work = _Work(frame, stated, stated)
    by_step: dict[str, list[Past]] = {}
    for one in mine:
        by_step.setdefault(one.step, []).append(one)
    for step, calls in sorted(by_step.items()):
        found = _comparable(policy, step, calls, frame)
        if isinstance(found, str):
            work.reasons[step] = found
        else:
            work.drawn[step] = found
    own = {one.decision_id for one in mine if one.step in work.drawn}
    work.capacity = np.maximum(stated - _taken(own, walks, names), 0.0)
    return work


def _taken(own: Container[str], walks: Mapping[str, Walk], machines: Sequence[str]) -> Vector:
    """Tokens per second of each machine, in its busiest hour, by all calls but `own` and what was asked beside those.

    Other policies' calls and pinned ones keep what they take; what is asked beside a call ends when it is proven.
    """
    hours: dict[int, Vector] = {}
    if machines:
        for decision, walk in walks.items():
            if decision not in own and walk.beside not in own:
                hour = int(walk.started // HOUR)
                hours[hour] = hours.get(hour, np.zeros(len(machines))) + np.nan_to_num(tokens(walk, machines))
    taken: Vector = np.max([*hours.values(), np.zeros(len(machines))], axis=0) / HOUR
    return taken


def _comparable(policy: Policy, step: str, calls: Sequence[Past], frame: Frame) -> Drawn | str:
    rules = policy.rules(Facts(agent=policy.name, step=step))
    if policy.quality is None or _line(rules.require) is None:
        return "no line about quality: there is nothing to certify"
    if rules.objective != "cost":
        return f"it is to {rules.goal}: locks are made for steps that minimize cost"
    return drawn(calls, rules, frame)


def _line(lines: Sequence[Requirement]) -> Requirement | None:
    return next((line for line in lines if line.measure == "quality"), None)


def _floor(lines: Sequence[Requirement]) -> Floor:
    line = _line(lines)
    if line is None:
        return Floor(1.0)
    return Floor(line.limit, line.relative if line.relative is not None else 1.0, line.margin or 0.0)


def _ratio(one: Drawn) -> float:
    """Times that a run in the busiest hour weighs for each run on average."""
    return one.peak / one.volume if one.volume > 0 else 1.0


def _shared(work: _Work, policy: Policy) -> Shared:
    return Shared(work.capacity, None if policy.run_cost is None else float(policy.run_cost))


def _prices(work: _Work, policy: Policy) -> Vector:
    """Nano-USD per token of each machine at the optimum of estimates; 0 where it does not bind, or nothing is feasible."""
    none = np.zeros(len(work.capacity))
    if not len(work.capacity):
        return none
    steps = []
    for one in work.drawn.values():
        known = {name: found for name in one.arms if (found := samples.fitting(one.seen[name])) is not None}
        base = known.get(one.baseline or "")
        floor = _floor(one.rules.require)
        wanted = floor.level
        if wanted is None and base is not None:
            wanted = floor.ratio * base[0] - floor.margin
        if wanted is None or not known:
            continue
        quality, cost = np.array(list(known.values())).T
        steps.append(_step(one, cost, quality, np.stack([one.use[name] for name in known], axis=1), floor=wanted))
    answer = solve(steps, _shared(work, policy))
    return none if answer is None else answer.price_of_capacity


def _step(one: Drawn, cost: Vector, quality: Vector, use: Vector, *, floor: float | None = None) -> Step:
    return Step(cost, quality, one.volume, one.per_run, one.peak, floor, use=use if len(use) else None)


def _together(work: _Work, policy: Policy, ends: str, seed: int) -> tuple[dict[str, LockedStep], Answer | None]:
    """Shares of what was certified, and of the baseline, within machines and budget; every step of the policy at once."""
    able = {step: _options(work.drawn[step], found) for step, found in work.certified.items()}
    entered = {step: options for step, options in able.items() if options}
    answer = _solved(work, policy, entered)
    while answer is not None and (step := _halved(entered, answer)):
        work.notes.append(
            f"{step}: what is shared has room for a part of the rule by text, which serves whole or not at all"
        )
        rest = [one for one in entered.pop(step) if one.rule is None]
        entered.update({step: rest} if rest else {})
        answer = _solved(work, policy, entered)
    if answer is None and policy.run_cost is not None:
        answer = _solved(work, policy, entered, budget=False)
        if answer is not None:
            work.notes.append("no certified plan keeps a run within its cost on average: the cheapest is taken")
    out: dict[str, LockedStep] = {}
    for step, found in work.certified.items():
        if step not in entered or answer is None:
            full = "the machines cannot carry it beside everything else" if step in entered and found.passed else ""
            out[step] = LockedStep((), reason=full or found.reason, more=found.more)
            continue
        shares = answer.weights[list(entered).index(step)]
        chosen = _Chosen(entered[step], shares, answer.price_of_capacity)
        out[step] = _locked(work.drawn[step], found, chosen, policy=policy, ends=ends, seed=seed)
    return out, answer


def _solved(
    work: _Work, policy: Policy, entered: Mapping[str, Sequence["Option"]], *, budget: bool = True
) -> Answer | None:
    steps = []
    for step, options in entered.items():
        one = work.drawn[step]
        use = [
            sum((share * one.use[name] for name, share in option.weights.items()), np.zeros(len(work.capacity)))
            for option in options
        ]
        cost = np.array([option.cost for option in options])
        steps.append(_step(one, cost, np.zeros(len(cost)), np.stack(use, axis=1)))
    shared = _shared(work, policy)
    return solve(steps, shared if budget else replace(shared, budget=None))


def _halved(entered: Mapping[str, Sequence["Option"]], answer: Answer) -> str:
    """A step whose rule by text got a share that is neither nothing nor all; empty: there is none."""
    for (step, options), shares in zip(entered.items(), answer.weights, strict=True):
        if any(one.rule is not None and SMALL < part < 1 - SMALL for one, part in zip(options, shares, strict=True)):
            return step
    return ""


@dataclass(frozen=True, slots=True)
class Option:
    """What may serve a step, or a share of it."""

    weights: Mapping[str, float]
    """Of its arms."""
    bound: float
    """Lower bound of quality − floor."""
    quality: float
    """As seen in the tests."""
    cost: float
    """Nano-USD a run."""
    rule: Rule | None = None


def _options(one: Drawn, found: Certified) -> list[Option]:
    """What may be mixed: the plans that passed and, under a floor that is relative, the baseline, which keeps it by itself."""
    means = _means(one)
    floor = _floor(one.rules.require)
    options = []
    for plan in found.passed:
        if all(name in means for name in plan.weights):
            cost = sum(share * means[name][1] for name, share in plan.weights.items())
            options.append(Option(plan.weights, plan.bound, plan.quality, plan.cost or cost, plan.rule))
    relative = floor.level is None and floor.ratio <= 1 and floor.margin >= 0
    if one.baseline is not None and one.baseline in means and (relative or not options):
        options.append(Option({one.baseline: 1.0}, floor.margin, *means[one.baseline]))
    return options


def _means(one: Drawn) -> dict[str, tuple[float, float]]:
    """Mean outcome and cost of the arms whose costs are all known."""
    found = {}
    for name, runs in one.seen.items():
        costs = [run.cost for run in runs if run.cost is not None]
        if runs and len(costs) == len(runs):
            found[name] = (sum(run.value for run in runs) / len(runs), sum(costs) / len(runs))
    return found


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What the programme says of one step."""

    options: Sequence[Option]
    shares: Vector
    prices: Vector
    """Nano-USD per token of each machine."""


def _locked(one: Drawn, found: Certified, chosen: _Chosen, *, policy: Policy, ends: str, seed: int) -> LockedStep:
    """The arms that result, with their certificate, or why the baseline stays."""
    options, shares, prices = chosen.options, chosen.shares, chosen.prices
    weights: dict[str, float] = {}
    for option, share in zip(options, shares, strict=True):
        for name, part in option.weights.items():
            weights[name] = weights.get(name, 0.0) + part * float(share)
    rule = next((o.rule for o, share in zip(options, shares, strict=True) if o.rule and share >= 1 - SMALL), None)
    weights = {
        name: part for name, part in weights.items() if part > SMALL or (rule is not None and name in rule.models)
    }
    line = _line(one.rules.require)
    if not found.passed or set(weights) == {one.baseline} or line is None or policy.quality is None:
        reason = found.reason or "nothing that is certified is cheaper, or fits what is shared"
        return LockedStep((), reason=reason, more=found.more)
    # Each part keeps the promise, so that the mixture does; by how much is bounded for it as a whole too.
    least = sum(option.bound * float(share) for option, share in zip(options, shares, strict=True))
    quality = sum(option.quality * float(share) for option, share in zip(options, shares, strict=True))
    proof = Certificate(
        line.text, policy.quality.outcome, policy.quality.of, policy.confidence, quality, least, found.tested, ends
    )
    if rule is not None:
        arms = tuple(replace(one.arms[name], weight=weights[name]) for name in rule.models)
        return LockedStep(
            arms, proof, found.cost, found.saved, verify=one.rules.verify, dual=PER_POINT * rule.by_text.price,
            mix=one.mix, by_text=rule.by_text,
        )  # fmt: skip
    total = sum(weights.values())
    weights = {name: part / total for name, part in sorted(weights.items(), key=lambda each: -each[1])}
    floor = _floor(one.rules.require)
    cost, saved = samples.money(one.seen, weights, one.baseline, np.random.default_rng(seed))
    whole = samples.bound(one.seen, weights, one.baseline, floor, confidence=policy.confidence, seed=seed)
    arms = tuple(replace(one.arms[name], weight=part) for name, part in weights.items())
    dual = _dual(one, weights, prices)
    proof = replace(proof, slack=max(least, whole))
    return LockedStep(arms, proof, cost, saved, verify=one.rules.verify, dual=dual, mix=one.mix)


def _dual(one: Drawn, weights: Mapping[str, float], prices: Vector) -> float | None:
    """What one point less would save, by the arms as they were seen: the slope of their frontier at this plan.

    An arm that takes a machine from others is as dear as that makes it.
    """
    means = {name: found for name, found in _means(one).items() if np.isfinite(one.use[name]).all()}
    quality, cost = np.array(list(means.values())).T
    cost = cost + np.array([float(prices @ one.use[name]) * _ratio(one) for name in means])
    floor = sum(part * means[name][0] for name, part in weights.items()) - LEFT
    found = solve([Step(cost, quality, 1.0, floor=floor)], Shared(np.zeros(0)))
    return None if found is None else PER_POINT * found.price_of_quality[0]


def _machines(work: _Work, answer: Answer | None) -> dict[str, Machine]:
    """Load with everything else's, and what an hour of a second such machine would save."""
    found = {}
    for at, name in enumerate(work.frame.machines):
        stated, others = float(work.stated[at]), float(work.stated[at] - work.capacity[at])
        load = others + (0.0 if answer is None else float(answer.load[at]))
        price = 0.0 if answer is None else float(answer.price_of_capacity[at]) * stated * HOUR
        found[name] = Machine(stated, load, price)
    return found
