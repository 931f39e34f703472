"""What the learning commands compute: the ledger's calls held against policies. Plain values in and out; the commands print them."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fw_gateway import clock
from fw_gateway.cli import output, whatif
from fw_gateway.config import Config
from fw_gateway.config.policies import parse_text
from fw_gateway.config.problems import Problems, near
from fw_gateway.ledger import LedgerError
from fw_gateway.ledger.history import Past, calls, oldest
from fw_gateway.ledger.sqlite import FILE
from fw_gateway.ledger.walks import Walk, walks
from fw_policies.estimate import quantise
from fw_policies.model import Facts, Plan, World
from fw_policies.optimize import optimize
from fw_policies.spec import Policy

NOTHING = "(nothing)"
SEED = 0
"""Deals rows to the folds of cross-fitting: the same ledger gives the same answer."""
DAY = 86_400 * 10**9
MONTH = 30.0
"""Days."""


def ago(seconds: int) -> int:
    """Nanoseconds since the epoch, so many seconds ago."""
    return clock.wall_ns() - seconds * 10**9


def policy(config: Config, name: str) -> Policy:
    """A policy of the config, or the one in a file.

    Raises:
        Fail: there is none, or the file cannot be used.
    """
    if name in config.policies:
        return config.policies[name]
    path = Path(name)
    if not path.is_file():
        raise output.Fail(f"there is no policy `{name}`.", near(name, config.policies), code=output.USAGE)
    problems = Problems()
    try:
        found = parse_text(path.read_text(encoding="utf-8"), name, problems)
    except (OSError, UnicodeDecodeError):
        raise output.Fail(f"{name} cannot be read.", code=output.USAGE) from None
    if problems.found:
        details = [f"  {problem}" for problem in problems.found]
        raise output.Fail(f"{name} would be refused.", code=output.USAGE, details=details)
    if len(found) != 1:
        raise output.Fail(f"{name} holds {len(found)} policies, one is needed.", code=output.USAGE)
    return found[0]


def history(config: Config, since_ns: int) -> tuple[Past, ...]:
    """The calls of the state directory since then.

    Raises:
        Fail: there is no ledger, or it cannot be read.
    """
    path = Path(config.server.state_dir) / FILE
    if not path.is_file():
        hint = "Start `fw up` and make calls, or name the gateway's config with -c so that its state folder is found."
        raise output.Fail(f"there is no ledger in {config.server.state_dir}.", hint)
    try:
        return calls(path, since_ns)
    except LedgerError as fault:
        raise output.Fail(str(fault)) from None


def how_walked(config: Config, since_ns: int) -> dict[str, Walk]:
    """How the calls since then were walked, by decision.

    Raises:
        Fail: the ledger cannot be read.
    """
    try:
        return walks(Path(config.server.state_dir) / FILE, since_ns)
    except LedgerError as fault:
        raise output.Fail(str(fault)) from None


def what_if(
    config: Config,
    chosen: Policy,
    of: str,
    *,
    since_ns: int,
    use: Mapping[str, str],
    outcome: str | None,
) -> dict[str, Any]:
    """What `chosen`, with the models of `use` in place of its own, would have given on the calls of policy or agent `of`.

    Raises:
        Fail: there are no such calls.
    """
    from fw_policies.learn import traffic  # noqa: PLC0415 - numpy, for these commands alone

    # What a rule by text chose says nothing of what else could have been drawn for that text.
    past = [one for one in history(config, since_ns) if not one.by_text]
    mine = [one for one in past if of in {one.policy, one.agent} and one.propensity]
    if not mine and of != chosen.name:
        mine = [one for one in past if one.policy == chosen.name and one.propensity]
    if not mine:
        known = {one.policy for one in past} | {one.agent for one in past if one.agent}
        hint = near(of, known) or "Make the window longer with --since."
        raise output.Fail(f"the ledger has no call of `{of}` in this window.", hint)
    contexts, would = _contexts(chosen, mine, whatif.world(config), use)
    name = outcome or (chosen.quality.outcome if chosen.quality is not None else "")
    whole = chosen.quality is not None and chosen.quality.of == "run" and outcome is None
    whole = whole or not any(name in one.outcomes for one in mine)

    def evaluated(
        values: Callable[[Past], float | None], runs: Mapping[str, float], *, bounded: bool
    ) -> dict[str, Any]:
        given = [
            traffic.Call(context, one.model, one.propensity or 1.0, one.run, values(one))
            for one, context in zip(mine, contexts, strict=True)
        ]
        if whole and runs:
            return _answer(traffic.per_run(given, runs, would, seed=SEED, bounded=bounded), "run")
        return _answer(traffic.per_call(given, would, seed=SEED, bounded=bounded), "call")

    quality = evaluated(
        lambda one: _clipped(one.outcomes.get(name)),
        {one.run: min(1.0, max(0.0, one.run_outcomes[name])) for one in mine if one.run and name in one.run_outcomes},
        bounded=True,
    )
    cost = evaluated(lambda one: None if one.cost is None else float(one.cost), _run_costs(mine), bounded=False)
    return {
        "policy": chosen.name,
        "version": chosen.digest,
        "of": of,
        "outcome": name,
        "calls": len(mine),
        "runs": len({one.run for one in mine if one.run}),
        "steps": _steps(mine, contexts, would),
        "quality": quality,
        "cost": cost,
    }


def _clipped(value: float | None) -> float | None:
    return None if value is None else min(1.0, max(0.0, value))


def _answer(found: Any, unit: str) -> dict[str, Any]:
    plain = asdict(found)
    if "reason" in plain:
        return {"refused": plain.pop("reason"), "unit": unit, **plain}
    return {"refused": "", "unit": unit, "interval": [plain.pop("low"), plain.pop("high")], **plain}


def _run_costs(past: Iterable[Past]) -> dict[str, float]:
    """Run -> nano-USD over its calls; a run with a call of unknown cost is not in it."""
    total: dict[str, float] = {}
    unknown: set[str] = set()
    for one in past:
        if one.cost is None:
            unknown.add(one.run)
        total[one.run] = total.get(one.run, 0.0) + (one.cost or 0)
    return {run: cost for run, cost in total.items() if run and run not in unknown}


def _contexts(
    chosen: Policy, past: Sequence[Past], world: World, use: Mapping[str, str]
) -> tuple[list[str], dict[str, dict[str, float]]]:
    """The context of each call, and what `chosen` would draw there now."""
    sizes = _sizes(past)
    plans: dict[tuple[Any, ...], dict[str, float]] = {}
    contexts: list[str] = []
    would: dict[str, dict[str, float]] = {}
    for one in past:
        key = (one.agent, one.step, one.attempt, one.labels)
        if key not in plans:
            forced = use.get(one.step, use.get("*"))
            facts = Facts(
                agent=one.agent,
                step=one.step,
                attempt=max(1, one.attempt),
                labels=one.labels,
                input_tokens=sizes.get((one.agent, one.step), 0),
            )
            plan = optimize(chosen, facts, world)
            if plan.by_text is not None and forced is None:
                hint = f"Name a model for it with --use {one.step}=MODEL, or read its certificate: fw explain {one.agent}/{one.step}"
                raise output.Fail(f"a lock serves {one.step} by text, and a what-if does not look at texts.", hint)
            plans[key] = {forced: 1.0} if forced is not None else models(plan)
        drawn = plans[key]
        context = "\x1f".join(
            [one.agent, one.step, *(f"{name}={chance:.6f}" for name, chance in sorted(drawn.items()))]
        )
        would[context] = drawn
        contexts.append(context)
    return contexts, would


def _sizes(past: Iterable[Past]) -> dict[tuple[str, str], int]:
    """(agent, step) -> mean input tokens, on the grid of sizes."""
    seen: dict[tuple[str, str], list[int]] = {}
    for one in past:
        if one.input_tokens is not None:
            seen.setdefault((one.agent, one.step), []).append(one.input_tokens)
    return {key: quantise(round(sum(values) / len(values))) for key, values in seen.items()}


def models(plan: Plan) -> dict[str, float]:
    """Model that is tried first -> probability, under a plan."""
    parts = plan.arms or ((1.0, plan),)
    found: dict[str, float] = {}
    for weight, part in parts:
        name = part.targets[0].model if part.targets else NOTHING
        found[name] = found.get(name, 0.0) + weight
    return found


def _steps(
    past: Sequence[Past], contexts: Sequence[str], would: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Per step: what served, what would, and how much of it is the same."""
    several = len({one.agent for one in past}) > 1
    rows: dict[str, list[tuple[Past, Mapping[str, float]]]] = {}
    for one, context in zip(past, contexts, strict=True):
        rows.setdefault(f"{one.agent}/{one.step}" if several else one.step, []).append((one, would[context]))
    found = []
    for step, mine in sorted(rows.items(), key=lambda item: -len(item[1])):
        served = Counter(one.model for one, _ in mine)
        drawn: Counter[str] = Counter()
        for _, chances in mine:
            for name, chance in chances.items():
                drawn[name] += chance  # type: ignore[assignment]  # a Counter counts fractions too
        n = len(mine)
        found.append(
            {
                "step": step,
                "calls": n,
                "served": {name: count / n for name, count in served.items()},
                "would": {name: count / n for name, count in drawn.items()},
                "same": sum(chances.get(one.model, 0.0) for one, chances in mine) / n,
            }
        )
    return found


def compare(
    config: Config,
    sides: tuple[str, str],
    *,
    since_ns: int,
    margins: tuple[float, float | None],
    outcome: str | None,
) -> dict[str, Any]:
    """B against A over the ledger's runs. `margins`: of quality, and of a run's cost in nano-USD (None: not tested).

    Raises:
        Fail: one side has no runs, or nobody says which outcome is quality.
    """
    from fw_policies.learn import compare as comparing  # noqa: PLC0415 - numpy, for these commands alone

    past = history(config, since_ns)
    chosen = [_select(past, side) for side in sides]
    named = [config.policies[side] for side in sides if side in config.policies]
    names = [found.quality.outcome for found in named if found.quality is not None]
    name = outcome or (names[0] if names else "")
    known = sorted({key for one in past for key in (*one.outcomes, *one.run_outcomes)})
    if not name:
        raise output.Fail(
            "which outcome is quality?", f"Write --outcome NAME. {near('', known)}".strip(), code=output.USAGE
        )
    grouped: dict[str, list[Past]] = {}
    for one in past:
        grouped.setdefault(one.run or one.decision_id, []).append(one)
    runs: tuple[list[Any], list[Any]] = ([], [])
    mixed = 0
    for run, mine in grouped.items():
        member = [any(belongs(one) for one in mine) for belongs in chosen]
        if all(member):
            mixed += 1
        elif any(member):
            runs[member.index(True)].append(_run(comparing.Run, run, mine, name))
    confidence = named[0].confidence if named else 0.90
    found = comparing.compare(*runs, margin=margins[0], cost_margin=margins[1], confidence=confidence)
    plain = asdict(found)
    return {**plain, "outcome": name, "sides": list(sides), "runs": [len(side) for side in runs], "mixed": mixed}


def _run(make: Any, run: str, mine: Sequence[Past], name: str) -> Any:
    """A run's own outcome, else the mean of its calls'."""
    own = [one.run_outcomes[name] for one in mine if name in one.run_outcomes]
    each = own[-1:] or [one.outcomes[name] for one in mine if name in one.outcomes]
    quality = _clipped(sum(each) / len(each)) if each else None
    costs = [one.cost for one in mine]
    cost = None if any(each is None for each in costs) else float(sum(each for each in costs if each is not None))
    task = next((one.task for one in mine if one.task), run)
    return make(task, quality, cost)


def _select(past: Sequence[Past], side: str) -> Callable[[Past], bool]:
    """Which calls a side means: a label NAME=VALUE, a policy, or a version of one."""
    name, equals, value = side.partition("=")
    if equals:
        pair = (name.removeprefix("label."), value)
        if not any(pair in one.labels for one in past):
            known = {"=".join(label) for one in past for label in one.labels}
            raise output.Fail(f"no call has the label `{side}` in this window.", near(side, known))
        return lambda one: pair in one.labels
    if not any(side in {one.policy, one.version} for one in past):
        known = {word for one in past for word in (one.policy, one.version)}
        raise output.Fail(f"the ledger has no call under `{side}` in this window.", near(side, known))
    return lambda one: side in {one.policy, one.version}


def diff(config: Config, a: Policy, b: Policy, *, since_ns: int) -> dict[str, Any]:
    """Per step: the plan under A and under B, what the change costs a month at the volume so far, and the promise of quality."""
    world = whatif.world(config)
    path = Path(config.server.state_dir) / FILE
    every = history(config, since_ns) if path.is_file() else ()
    past = [one for one in every if one.policy == a.name] or [one for one in every if one.policy == b.name]
    agents = sorted({one.agent for one in past}) or [
        next((agent for agent, name in config.agents.items() if name == a.name), a.name)
    ]
    seen = Counter((one.agent, one.step) for one in past)
    steps = list(dict.fromkeys([*a.steps, *b.steps]))
    pairs = list(dict.fromkeys([*((agents[0], step) for step in steps), *seen])) or [(agents[0], "*")]
    sizes = _sizes(past)
    span = days(config, since_ns) if past else 1.0
    rows = []
    for agent, step in pairs:
        facts = Facts(agent=agent, step=step, input_tokens=sizes.get((agent, step), 0))
        before, after = optimize(a, facts, world), optimize(b, facts, world)
        count = seen[agent, step]
        rows.append(
            {
                "step": f"{agent}/{step}" if len(agents) > 1 else step,
                "calls": count,
                "before": _shape(before),
                "after": _shape(after),
                "changed": _shape(before) != _shape(after),
                "monthly": _monthly(before, after, count / span * MONTH),
                "promise": _promise(before, after),
            }
        )
    return {"sides": [a.name, b.name], "versions": [a.digest, b.digest], "steps": rows}


def days(config: Config, since_ns: int) -> float:
    """Days of the window that the ledger has seen, at least one."""
    first = oldest(Path(config.server.state_dir) / FILE) or since_ns
    return max(1.0, (clock.wall_ns() - max(since_ns, first)) / DAY)


def _shape(plan: Plan) -> dict[str, Any]:
    """What a reader compares: how it is walked, and over which models."""
    if plan.arms:
        names = [f"{name} {weight:.0%}" for name, weight in models(plan).items()]
    else:
        names = list(dict.fromkeys(target.model for target in plan.targets))
    return {"strategy": plan.strategy, "models": names, "verify": list(plan.verify), "effort": plan.effort}


def _monthly(before: Plan, after: Plan, volume: float) -> tuple[float, float | None, float | None] | None:
    """Nano-USD a month: change and bounds at the plans' confidence (MOVER); None when a cost is unknown or there were no calls."""
    if volume <= 0:
        return None
    if models(before) == models(after) and _shape(before) == _shape(after):
        return 0.0, 0.0, 0.0
    old, new = before.outlook.cost, after.outlook.cost
    if old is None or new is None:
        return None
    change = new.mean - old.mean
    down = math.hypot(new.mean - new.low, old.high - old.mean)
    up = math.hypot(new.high - new.mean, old.mean - old.low)
    bounds = [volume * (change - down), volume * (change + up)]
    low, high = (bound if math.isfinite(bound) else None for bound in bounds)
    return volume * change, low, high


def _promise(before: Plan, after: Plan) -> str:
    """What happens to the promise of quality; empty when nothing does."""
    old, new = ({line.text for line in plan.requirements if line.measure == "quality"} for plan in (before, after))
    if old == new:
        return ""
    if not new:
        return "lost"
    if not old:
        return f"gained: {', '.join(sorted(new))}"
    return f"changed: {', '.join(sorted(old))} → {', '.join(sorted(new))}"
