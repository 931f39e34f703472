"""Worlds whose calls have texts: what is said has something to do with which model is good at it, or nothing, or misleads."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fw_policies.by_text import SIZE
from fw_policies.certify.runs import Seen
from fw_policies.certify.texts import Rule
from fw_policies.search import readout

Vector = NDArray[np.float64]
TONGUES = ("texts matter", "texts say nothing", "texts mislead", "draws depend on texts")
ASKED = 20_000
"""Texts on which a rule's true quality is worked out."""


@dataclass(frozen=True)
class Tongue:
    """Kinds of texts, and what each model is worth on each of them."""

    share: Vector
    """Of each kind."""
    quality: Vector
    """Shape (models, kinds); the baseline is the first."""
    centre: Vector
    """Shape (kinds, numbers of a text)."""
    spread: float
    """Of the texts of a kind about their centre: 0.05 sets kinds apart, 0.3 hardly."""
    odds: Vector
    """Shape (models, kinds): the chance with which each model is drawn for each kind."""

    def texts(self, kinds: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int8]:
        """One text of each kind asked for, embedded."""
        found = self.centre[kinds] + self.spread * rng.normal(size=(len(kinds), SIZE))
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return np.clip(np.rint(found * 169), -127, 127).astype(np.int8)


def tongue(name: str, base: float, rng: np.random.Generator) -> Tongue:
    """Four kinds and four models; what is true of them is the name's."""
    models, kinds = 4, 4
    odds = np.full((models, kinds), 1 / models)
    spread, centre = 0.05, rng.normal(size=(kinds, SIZE)) / math.sqrt(SIZE)
    quality = np.repeat(base + rng.uniform(-0.06, 0.02, (models, 1)), kinds, axis=1)
    if name in {"texts matter", "draws depend on texts"}:
        quality[1:] = rng.choice([0.3, 0.6, base + 0.03], (models - 1, kinds))
    if name == "draws depend on texts":
        odds = rng.dirichlet(np.full(models, 3.0), kinds).T
    if name == "texts mislead":  # they say how hard a call is for all, and hardly which model to give it
        quality = quality + rng.uniform(-0.3, 0.1, kinds) + rng.uniform(-0.04, 0.04, (models, kinds))
        spread = 0.15
    return Tongue(rng.dirichlet(np.full(kinds, 3.0)), np.clip(quality, 0.02, 0.99), centre, spread, odds)


def runs(tongue: Tongue, costs: Vector, each: int, rng: np.random.Generator) -> dict[str, list[Seen]]:
    """So many runs for each of the models, drawn as the world draws them."""
    models, kinds = tongue.quality.shape
    kind = rng.choice(kinds, each * models, p=tongue.share)
    model = np.array([rng.choice(models, p=tongue.odds[:, found]) for found in kind])
    value, text = rng.random(len(kind)) < tongue.quality[model, kind], tongue.texts(kind, rng)
    seen: dict[str, list[Seen]] = {f"m{m}": [] for m in range(models)}
    for at, m in enumerate(model):
        one = Seen(f"{rng.random()}", float(value[at]), costs[m], text[at].tobytes(), float(tongue.odds[m, kind[at]]))
        seen[f"m{m}"].append(one)
    return seen


def given(tongue: Tongue, rule: Rule, rng: np.random.Generator) -> float:
    """What a rule is truly worth."""
    kinds = rng.choice(len(tongue.share), ASKED, p=tongue.share)
    chosen = readout.chosen(rule.by_text, tongue.texts(kinds, rng).astype(float))
    models = np.array([int(model[1:]) for model in rule.models])
    return float(tongue.quality[models[chosen], kinds].mean())
