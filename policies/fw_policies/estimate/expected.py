"""What quality to expect of a model at a step, from all that the agent's other steps and public priors say: for order, never for proof."""

from collections.abc import Mapping
from dataclasses import dataclass

from fw_policies.estimate.outcomes import Outcomes

PSEUDO = 10.0
"""Outcomes that a public prior, or what is usual among the models, counts like."""
LEAST = 1e-4
"""Variance between steps at least: a hundredth of a point squared, so that enough outcomes always have the last word."""

Cell = tuple[str, str]
"""Step and model."""


@dataclass(frozen=True, slots=True)
class Kinship:
    """What the steps and models of one agent have in common, in 0..1."""

    usual: float
    """Mean over all outcomes."""
    models: Mapping[str, float]
    """Each model's mean over its steps, drawn towards its prior."""
    steps: Mapping[str, float]
    """By how much a step is easier than others."""
    spread: float
    """τ²: variance of a model's mean at a step around what its kin say."""


def kinship(cells: Mapping[Cell, Outcomes], priors: Mapping[str, float]) -> Kinship | None:
    """From the outcomes of one agent by step and model, and public priors by model; None when there are neither.

    Hierarchical empirical Bayes in closed form (Efron and Morris, 1973): μ(m) = (Σ y + k·prior) / (Σ n + k); a step's ease is the mean of
    what its models are above theirs, drawn towards 0 by the same k; τ² by moments, E(own mean − kin)² = τ² + p(1 − p)/n.
    """
    seen = [(step, model, one.n, one.total) for (step, model), one in cells.items() if one.n]
    count = sum(n for _, _, n, _ in seen)
    if not count and not priors:
        return None
    usual = sum(total for _, _, _, total in seen) / count if count else sum(priors.values()) / len(priors)
    sums = {model: [PSEUDO * priors.get(model, usual), PSEUDO] for model in (*priors, *(one[1] for one in seen))}
    for _, model, n, total in seen:
        of_model = sums[model]
        of_model[0] += total
        of_model[1] += n
    models = {model: total / n for model, (total, n) in sums.items()}
    above = {step: [0.0, PSEUDO] for step, _, _, _ in seen}
    for step, model, n, total in seen:
        of_step = above[step]
        of_step[0] = of_step[0] + total - n * models[model]
        of_step[1] += n
    steps = {step: total / n for step, (total, n) in above.items()}
    left = []
    for step, model, n, total in seen:
        kin = _kin(models[model], steps[step])
        left.append((total / n - kin) ** 2 - _noise(kin) / n)
    return Kinship(usual, models, steps, max(sum(left) / len(left) if left else 0.0, LEAST))


def expected(
    found: Kinship, step: str, model: str, own: Outcomes | None = None, *, prior: float | None = None
) -> float:
    """Mean quality to expect of `model` at `step`: a·(own mean) + (1 − a)·(what its kin say), a = τ² / (τ² + p(1 − p)/n).

    `own`: its outcomes at this step. `prior`: a public one, for a model that the agent has never met.
    """
    kin = _kin(found.models.get(model, found.usual if prior is None else prior), found.steps.get(step, 0.0))
    if own is None or not own.n:
        return kin
    weight = found.spread / (found.spread + _noise(kin) / own.n)
    return kin + weight * (own.total / own.n - kin)


def _kin(model: float, ease: float) -> float:
    kin = model + ease
    return 0.0 if kin < 0.0 else 1.0 if kin > 1.0 else kin


def _noise(mean: float) -> float:
    """Variance of one outcome: that of right or wrong, which no graded one exceeds."""
    noise = mean * (1 - mean)
    return noise if noise > 0.01 else 0.01
