"""What an audit says, as plain mappings: spend, prices, promises, what is missing. Money in nano-USD, times in seconds."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from fw_gateway.audit.collect import RUN, Collector, Evidences, Group
from fw_gateway.audit.prices import Prices
from fw_gateway.audit.prove import LEAST, Evidence, Proven, each, prove, runs_needed
from fw_gateway.audit.read import Reading
from fw_gateway.catalog.models import price_version

MONTH = 30 * 86400.0
SHORTEST = 86400.0
"""Seconds that calls must span for a month to be reckoned from them."""
RATIOS = (0.98, 0.95)
CONFIDENCE = 0.9
GUESS = 0.9
"""Quality that is taken, and said, where nothing is known, to say how many outcomes a proof would need."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for beside the files."""

    baseline: str = ""
    """Model to count against; empty: for each agent the one that most was spent on."""
    outcome: str = ""
    """Which outcome is quality; empty: the one that is there most often."""
    randomised: bool = False
    """Whether models were assigned to runs at random, as the user says."""


def build(found: Collector, prices: Prices, reading: Reading, wanted: Wanted) -> dict[str, Any]:
    """The whole report."""
    groups = list(found.groups.values())
    span = found.last - found.first
    month = MONTH / span if span >= SHORTEST else None
    outcome = wanted.outcome or next((name for name, _ in found.names.most_common(1)), "")
    evidence = found.evidence(outcome)
    total = _sum(groups, month, whole=sum(group.cost for group in groups))
    return {
        "formats": sorted(set(reading.formats)),
        "records": reading.records,
        "unread": dict(reading.problems.most_common()),
        "window": _window(found, span),
        "runs": found.runs,
        "total": total,
        "steps": _cut(groups, month, lambda group: (group.agent, group.step), ("agent", "step")),
        "models": _cut(groups, month, lambda group: (group.model, group.provider), ("model", "provider")),
        "prices": {
            "table": price_version(),
            "unknown": [{"provider": p, "model": m, "calls": n} for (p, m), n in prices.unknown.most_common()],
            "tiered": sorted(prices.tiered),
        },
        "outcomes": dict(found.names.most_common()),
        "outcome": outcome or None,
        "unused_outcomes": {
            "several_models_in_the_run": evidence.mixed,
            "of_calls_not_in_the_files": evidence.unplaced,
            "outside_0_to_1": evidence.out_of_range,
        },
        "agents": [_agent(agent, groups, evidence, wanted) for agent in _agents(groups)],
    }


def _agents(groups: Iterable[Group]) -> list[str]:
    spent: dict[str, int] = {}
    for group in groups:
        spent[group.agent] = spent.get(group.agent, 0) + group.cost
    return sorted(spent, key=lambda agent: (-spent[agent], agent))


def _window(found: Collector, span: float) -> dict[str, Any] | None:
    if span < 0:
        return None
    dates = [datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in (found.first, found.last)]
    return {"from": dates[0], "to": dates[1], "days": span / 86400}


def _cut(
    groups: Sequence[Group], month: float | None, key: Callable[[Group], tuple[str, str]], names: tuple[str, str]
) -> list[dict[str, Any]]:
    """Sums by a key, the dearest first."""
    parts: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        parts.setdefault(key(group), []).append(group)
    whole = sum(group.cost for group in groups)
    rows = [dict(zip(names, name, strict=True)) | _sum(own, month, whole=whole) for name, own in parts.items()]
    return sorted(rows, key=lambda row: (-row["cost"], -row["calls"], row[names[0]], row[names[1]]))


def _sum(groups: Sequence[Group], month: float | None, *, whole: int) -> dict[str, Any]:
    calls = sum(group.calls for group in groups)
    unpriced = sum(group.unpriced for group in groups)
    cost = sum(group.cost for group in groups)
    cached_of = sum(group.cached_of for group in groups)
    return {
        "calls": calls,
        "failed": sum(group.failed for group in groups),
        "cost": cost,
        "calls_of_unknown_cost": unpriced,
        "calls_priced_from_the_table": sum(group.listed for group in groups),
        "share": cost / whole if whole else None,
        "month": None if month is None or unpriced == calls else round(cost * month),
        "input_tokens": sum(group.input_tokens for group in groups),
        "output_tokens": sum(group.output_tokens for group in groups),
        "calls_without_tokens": sum(group.untold for group in groups),
        "cache_share": sum(group.cached_tokens for group in groups) / cached_of if cached_of else None,
        "latency": _times([group.latency for group in groups]),
        "ttft": _times([group.ttft for group in groups]),
    }


def _times(parts: Iterable[Iterable[float]]) -> dict[str, Any]:
    """Observed percentiles by nearest rank; the 95th only of twenty or more."""
    values = sorted(value for part in parts for value in part)
    n = len(values)
    return {
        "p50": values[(n - 1) // 2] if n else None,
        "p95": values[-(-95 * n // 100) - 1] if n >= 20 else None,
        "n": n,
    }


def _agent(agent: str, groups: Sequence[Group], evidence: Evidences, wanted: Wanted) -> dict[str, Any]:
    own = [group for group in groups if group.agent == agent]
    spent: dict[str, int] = {}
    for group in own:
        spent[group.model] = spent.get(group.model, 0) + group.cost
    seen: Evidence = evidence.seen.get(agent, {})
    baseline = wanted.baseline or max(spent, key=lambda model: (spent[model], model))
    return {
        "agent": agent,
        "baseline": baseline,
        "runs_with_outcome": sum(len(runs) for models in seen.values() for runs in models.values()),
        "promises": promises(seen, baseline, randomised=wanted.randomised) if seen else [],
        "missing": missing([group.step for group in own], seen, baseline),
    }


def promises(evidence: Evidence, baseline: str, *, randomised: bool, seed: int = 0) -> list[dict[str, Any]]:
    """For each ratio what holds over all steps together, and what holds at every step by itself."""
    return [
        {
            "ratio": ratio,
            "confidence": CONFIDENCE,
            "together": shown(
                prove(evidence, baseline, ratio=ratio, confidence=CONFIDENCE, seed=seed), randomised=randomised
            ),
            "each": {
                step: shown(proven, randomised=randomised)
                for step, proven in each(evidence, baseline, ratio=ratio, confidence=CONFIDENCE, seed=seed).items()
            },
        }
        for ratio in RATIOS
    ]


def shown(proven: Proven, *, randomised: bool) -> dict[str, Any]:
    """A finding as a mapping. `stands` says whether it is a promise: models compared on the same tasks, or assigned at random.

    Otherwise whoever chose the models may have given the easy runs to the cheap one, and the figure is only what would be proven
    if they did not.
    """
    found: dict[str, Any] = asdict(proven)
    found["stands"] = proven.saved is not None and (proven.paired or randomised)
    return found


def missing(steps: Iterable[str], evidence: Evidence, baseline: str) -> list[dict[str, Any]]:
    """Per step: outcomes that are there, of the baseline and of the best seen other model, and about how many a proof needs."""
    found = []
    every = dict.fromkeys(steps)
    for step in every if RUN not in evidence else [RUN]:
        models = evidence.get(step, {})
        have = len(models.get(baseline, ()))
        other = max((len(runs) for model, runs in models.items() if model != baseline), default=0)
        mean = sum(run.value for run in models[baseline]) / have if have >= LEAST else GUESS
        needed = runs_needed(min(max(mean, 0.05), 0.98), RATIOS[0], CONFIDENCE)
        found.append({
            "step": step,
            "baseline_has": have,
            "other_has": other,
            "baseline_needs": max(needed - have, 0),
            "other_needs": max(needed - other, 0),
            "quality": mean,
            "quality_is_a_guess": have < LEAST,
        })  # fmt: skip
    return found
