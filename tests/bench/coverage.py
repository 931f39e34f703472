"""Whether intervals and certificates hold as often as they say, in synthetic worlds whose truth is known.

Intervals: nominal 90 % ones of quality, latency and cost, as decisions get them; their width against that of an interval which knows the
family: Clopper–Pearson for successes, else the true sampling distribution of the mean. Certificates and proofs at 90 %: broken when the
true quality of what was chosen is below the floor. A world in which nothing is certified breaks nothing, so that share is printed too.

usage: coverage.py [--worlds 1000] [--seed 0] [--only intervals|certificates|proofs] [--out FILE.json]
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fw_policies.certify.samples import Floor, Seen, certify
from fw_policies.estimate import Observation, OutcomeSeen, Statistics
from fw_policies.model import NANO_USD, Estimate, Facts, Target, TokenPrice, World
from fw_policies.optimize import optimize
from fw_policies.spec import parse

Vector = NDArray[np.float64]
CONFIDENCE = 0.90
COVERS, WIDER, BREAKS = 0.88, 1.2, 0.12
"""What must hold: at least this coverage, at most this width over the exact one's, at most this share broken."""
DRAWS = 400
"""Samples that the true sampling distribution of a mean is read from."""
FACTS = Facts("coding", "edit", input_tokens=1000)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    share: float
    """Intervals: how many hold; certificates: how many are broken."""
    other: float
    """Intervals: mean width over the exact one's; certificates: in how many worlds something was certified."""
    passed: bool


# --- intervals ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """A kind of quantity: its parameters, values, and true mean."""

    kind: str
    parameters: Callable[[np.random.Generator], tuple[float, ...]]
    values: Callable[[np.random.Generator, tuple[float, ...], tuple[int, ...]], Vector]
    mean: Callable[[tuple[float, ...]], float]


def _two_peaks(rng: np.random.Generator, p: tuple[float, ...], size: tuple[int, ...]) -> Vector:
    slow = rng.random(size) < p[2]
    return np.where(slow, rng.lognormal(p[0] + 1.8, 0.3, size), rng.lognormal(p[0], p[1], size))


def _three_grades(rng: np.random.Generator, p: tuple[float, ...], size: tuple[int, ...]) -> Vector:
    return rng.choice([0.0, 0.5, 1.0], p=[(1 - p[0]) * 0.7, (1 - p[0]) * 0.3, p[0]], size=size)


FAMILIES = {
    "quality, right or wrong": Family(
        "quality", lambda r: (r.uniform(0.3, 0.99),), lambda r, p, n: (r.random(n) < p[0]).astype(float), lambda p: p[0]
    ),
    "quality, three grades": Family(
        "quality", lambda r: (r.uniform(0.3, 0.95),), _three_grades, lambda p: p[0] + 0.15 * (1 - p[0])
    ),
    "quality, any grade": Family(
        "quality",
        lambda r: (r.uniform(0.3, 0.95), r.uniform(1, 8)),
        lambda r, p, n: r.beta(p[1] * p[0], p[1] * (1 - p[0]), n),
        lambda p: p[0],
    ),
    "latency, log-normal": Family(
        "latency",
        lambda r: (r.uniform(-1, 3), r.uniform(0.2, 1.0)),
        lambda r, p, n: r.lognormal(p[0], p[1], n),
        lambda p: math.exp(p[0] + p[1] ** 2 / 2),
    ),
    "latency, gamma": Family(
        "latency",
        lambda r: (r.uniform(0.6, 6), r.uniform(0.2, 5)),
        lambda r, p, n: r.gamma(p[0], p[1], n),
        lambda p: p[0] * p[1],
    ),
    "latency, two peaks": Family(
        "latency",
        lambda r: (r.uniform(-1, 3), r.uniform(0.2, 0.6), r.uniform(0.05, 0.3)),
        _two_peaks,
        lambda p: p[2] * math.exp(p[0] + 1.845) + (1 - p[2]) * math.exp(p[0] + p[1] ** 2 / 2),
    ),
    "cost, log-normal output": Family(
        "cost",
        lambda r: (r.uniform(3, 7), r.uniform(0.3, 1.0)),
        lambda r, p, n: r.lognormal(p[0], p[1], n),
        lambda p: math.exp(p[0] + p[1] ** 2 / 2),
    ),
}
PRICE = TokenPrice(NANO_USD, 10 * NANO_USD)
TARGET = Target("model", "model@here", "openai", "model", price=PRICE)
FIXED = 1000 * NANO_USD / 1e6
"""Nano-USD of the input: known, so that the interval is that of the output."""


def observed(kind: str, values: Vector, rng: np.random.Generator) -> Estimate | None:
    """The estimate that a decision would get from these values; one call in twenty fails besides, where calls can."""
    statistics = Statistics()
    for value in values:
        if kind == "quality":
            statistics.outcome(OutcomeSeen("coding", "edit", "model", "right", float(value)))
            continue
        seen = {"latency": float(value)} if kind == "latency" else {"output_tokens": max(1, round(float(value)))}
        statistics.observe(Observation("coding", "edit", "model", "model@here", ok=True, **seen))  # type: ignore[arg-type]
        if kind == "latency" and rng.random() < 0.05:
            statistics.observe(Observation("coding", "edit", "model", "model@here", ok=False))
    outlook = statistics.freeze().outlook(FACTS, TARGET, outcome="right", confidence=CONFIDENCE)
    found: Estimate | None = getattr(outlook, kind)
    return found


def exact(family: Family, p: tuple[float, ...], values: Vector, rng: np.random.Generator) -> float:
    """Width of the interval that knows the family."""
    tail, n = (1 - CONFIDENCE) / 2, len(values)
    if set(np.unique(values)) <= {0.0, 1.0}:
        k = float(values.sum())
        low = stats.beta.ppf(tail, k, n - k + 1) if k else 0.0
        high = stats.beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0
        return float(high - low)
    means = family.values(rng, p, (DRAWS, n)).mean(1)
    return float(np.quantile(means, 1 - tail) - np.quantile(means, tail))


def intervals(name: str, family: Family, worlds: int, rng: np.random.Generator) -> Row:
    """How often the intervals of one family hold, and how wide they are."""
    held, widths, exacts = 0, 0.0, 0.0
    for _ in range(worlds):
        p, n = family.parameters(rng), int(np.exp(rng.uniform(np.log(20), np.log(250))))
        values = family.values(rng, p, (n,))
        found, scale, offset = observed(family.kind, values, rng), 1.0, 0.0
        if found is None:
            continue
        if family.kind == "cost":
            scale, offset = PRICE.output / 1e6, FIXED
        truth = family.mean(p) * scale + offset
        held += found.low <= truth <= found.high
        widths += (found.high - found.low) / (truth - offset)
        exacts += exact(family, p, values, rng) * scale / (truth - offset)
    share, ratio = held / worlds, widths / exacts
    return Row(name, share, ratio, share >= COVERS and ratio <= WIDER)


# --- certificates ------------------------------------------------------------------------------------------------------------


def _plain(rng: np.random.Generator) -> tuple[dict[str, float], dict[str, Vector]]:
    """Five models of any quality, 200 runs each."""
    truth = {f"m{k}": float(rng.uniform(0.6, 0.95)) for k in range(5)}
    return truth, {m: (rng.random(200) < q).astype(float) for m, q in truth.items()}


def _near_equal(rng: np.random.Generator) -> tuple[dict[str, float], dict[str, Vector]]:
    """Thirty that are nearly equal: the best of them looks better than it is."""
    centre = rng.uniform(0.75, 0.85)
    truth = {f"m{k}": float(centre + rng.normal(0, 0.005)) for k in range(30)}
    return truth, {m: (rng.random(100) < q).astype(float) for m, q in truth.items()}


def _unbalanced(rng: np.random.Generator) -> tuple[dict[str, float], dict[str, Vector]]:
    """From 25 runs of one to 2,000 of another."""
    truth = {f"m{k}": float(rng.uniform(0.6, 0.95)) for k in range(6)}
    sizes = np.exp(rng.uniform(np.log(25), np.log(2000), 6)).astype(int)
    return truth, {m: (rng.random(n) < q).astype(float) for (m, q), n in zip(truth.items(), sizes, strict=True)}


def _correlated(rng: np.random.Generator) -> tuple[dict[str, float], dict[str, Vector]]:
    """Several steps of a run share its luck: a run's value is the mean of its steps, so that values are graded and few."""
    truth, values = {}, {}
    for k in range(5):
        q, tie = float(rng.uniform(0.6, 0.95)), 6.0
        luck = rng.beta(tie * q, tie * (1 - q), 120)
        truth[f"m{k}"], values[f"m{k}"] = q, rng.binomial(4, luck) / 4
    return truth, values


def _run_level(rng: np.random.Generator) -> tuple[dict[str, float], dict[str, Vector]]:
    """One outcome of the whole run, in which another step fails by itself one time in four."""
    truth = {f"m{k}": float(rng.uniform(0.6, 0.95) * 0.75) for k in range(5)}
    return truth, {m: (rng.random(200) < q).astype(float) for m, q in truth.items()}


WORLDS = {
    "plain": _plain,
    "correlated steps": _correlated,
    "unbalanced n": _unbalanced,
    "run-level outcomes": _run_level,
    "30 near-equal models": _near_equal,
}


def floor_of(kind: str, truth: dict[str, float], rng: np.random.Generator) -> tuple[Floor, float]:
    """A floor that is hard to meet, absolute or relative to m0, and its true level."""
    best = max(truth.values())
    if kind != "plain" and rng.random() < 0.5:
        ratio = float(rng.uniform(0.9, 1.0))
        return Floor(ratio=ratio), ratio * truth["m0"]
    level = float(best - rng.uniform(-0.02, 0.06))
    return Floor(level=min(level, 0.99)), min(level, 0.99)


def certificates(name: str, worlds: int, rng: np.random.Generator) -> Row:
    """How often a compiled plan is worse than it promised."""
    broken = certified = 0
    for number in range(worlds):
        truth, values = WORLDS[name](rng)
        floor, level = floor_of(name, truth, rng)
        costs = {m: float(rng.uniform(0.1, 1) * 1e6) for m in truth}
        seen = {
            m: [Seen(f"{number}-{m}-{i}", float(v), costs[m]) for i, v in enumerate(found)]
            for m, found in values.items()
        }
        done = certify(seen, "m0", floor, confidence=CONFIDENCE, seed=number)
        if done.weights:
            certified += 1
            broken += sum(w * truth[m] for m, w in done.weights.items()) < level - 1e-12
    return Row(f"certificate, {name}", broken / worlds, certified / worlds, broken / worlds <= BREAKS)


def proofs(name: str, worlds: int, rng: np.random.Generator) -> Row:
    """How often online proofs, looked at again and again while outcomes come in, ever let a model serve that is not good enough."""
    broken = moved = 0
    for _ in range(worlds):
        truth, values = WORLDS[name](rng)
        level = float(max(truth.values()) - rng.uniform(-0.02, 0.06))
        costs = {m: float(rng.uniform(0.1, 1)) for m in truth}
        asked = parse(
            {
                "policy": "coding",
                "baseline": "base",
                "quality": {"outcome": "right", "of": "step"},
                "default": {"minimize": "cost", "require": [f"quality >= {min(level, 0.99):.4f}"]},
            }
        )
        targets = tuple(
            Target(m, f"{m}@here", "openai", m, price=TokenPrice(int(c * NANO_USD), int(c * NANO_USD)))
            for m, c in ({"base": 2.0} | costs).items()
        )
        wrong, left = _looks(asked, targets, truth, values)
        broken += wrong
        moved += left
    return Row(f"online proof, {name}", broken / worlds, moved / worlds, broken / worlds <= BREAKS)


def _looks(
    asked: object, targets: tuple[Target, ...], truth: dict[str, float], values: dict[str, Vector]
) -> tuple[bool, bool]:
    """Whether anything not good enough ever served, and whether anything but the baseline did: a look at every tenth outcome."""
    statistics, left, wrong = Statistics(), False, False
    level = float(asked.default.require[0].limit)  # type: ignore[attr-defined]
    for m in truth:
        statistics.observe(Observation("coding", "edit", m, f"{m}@here", ok=True, latency=1.0, output_tokens=100))
    longest = max(len(v) for v in values.values())
    for start in range(0, longest, 10):
        for m, found in values.items():
            for value in found[start : start + 10]:
                statistics.outcome(OutcomeSeen("coding", "edit", m, "right", float(value)))
        world = World(targets, {}, statistics.freeze(), "2026-11-23")
        served = optimize(asked, FACTS, world).targets[0].model  # type: ignore[arg-type]
        if served != "base":
            left = True
            wrong = wrong or truth[served] < level
    return wrong, left


def table(rows: list[Row], headings: tuple[str, str]) -> None:
    """Print rows."""
    print(f"\n{'':<34}{headings[0]:>10}{headings[1]:>12}")
    for row in rows:
        print(f"{row.name:<34}{row.share:>10.3f}{row.other:>12.3f}   {'met' if row.passed else 'MISSED'}")


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["intervals", "certificates", "proofs"])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows: list[Row] = []
    if asked.only in {None, "intervals"}:
        found = [
            intervals(name, family, asked.worlds, np.random.default_rng((asked.seed, i)))
            for i, (name, family) in enumerate(FAMILIES.items())
        ]
        table(found, ("holds", "width ×"))
        rows += found
    for kind, simulate in (("certificates", certificates), ("proofs", proofs)):
        if asked.only in {None, kind}:
            found = [
                simulate(name, asked.worlds, np.random.default_rng((asked.seed, 9, i))) for i, name in enumerate(WORLDS)
            ]
            table(found, ("broken", "answered"))
            rows += found
    if asked.out is not None:
        asked.out.write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")
    sys.exit(not all(row.passed for row in rows))


if __name__ == "__main__":
    main()
