"""Calls as they were logged, made ready for `ope`: per call where a step has outcomes of its own, per run where only the run has."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fw_policies.learn.ope import Answer, Log, Refused, evaluate


@dataclass(frozen=True, slots=True)
class Call:
    """One decision."""

    context: str
    """What the target policy looks at: its plan is the same for all calls of one context."""
    arm: str
    """The model that was drawn."""
    propensity: float
    run: str
    """Empty: it belongs to none."""
    value: float | None
    """Its own outcome or cost; None: unknown."""


Would = Mapping[str, Mapping[str, float]]
"""Context -> model -> probability under the target policy."""


def per_call(
    calls: Iterable[Call], would: Would, *, seed: int, bounded: bool, confidence: float = 0.95
) -> Answer | Refused:
    """What a call would have given; calls whose value is unknown are left out, calls of one run count as one draw of its luck.

    Raises:
        ValueError: a propensity or a value is out of range.
    """
    known = [call for call in calls if call.value is not None]
    if not known:
        return Refused("nothing is known of any call", 0.0, 1.0, 0)
    contexts = sorted({call.context for call in known})
    arms = sorted({call.arm for call in known} | {arm for context in contexts for arm in would[context]})
    place, number = _numbers(contexts), _numbers(arms)
    target = np.zeros((len(contexts), len(arms)))
    for context in contexts:
        for arm, chance in would[context].items():
            target[place[context], number[arm]] = chance
    runs = _numbers(sorted({call.run for call in known if call.run}))
    cluster = [runs[call.run] if call.run else len(runs) + at for at, call in enumerate(known)]
    log = Log(
        np.array([place[call.context] for call in known]),
        np.array([number[call.arm] for call in known]),
        np.array([call.propensity for call in known]),
        np.array([call.value for call in known], dtype=np.float64),
        np.array(cluster) if len(set(cluster)) < len(cluster) else None,
    )
    return _evaluate(log, target, seed=seed, bounded=bounded, confidence=confidence)


def per_run(
    calls: Iterable[Call],
    values: Mapping[str, float],
    would: Would,
    *,
    seed: int,
    bounded: bool,
    confidence: float = 0.95,
) -> Answer | Refused:
    """What a run would have given. `values`: run -> its outcome or cost; runs without one are left out.

    A run speaks for the target only when each of its calls was drawn as the target would have: its propensity is the product of theirs
    (per-trajectory importance sampling; Precup, Sutton and Singh, 2000). What earlier answers do to later steps is then in it.

    Raises:
        ValueError: a propensity or a value is out of range.
    """
    grouped: dict[str, list[Call]] = {}
    for call in calls:
        if call.run in values:
            grouped.setdefault(call.run, []).append(call)
    if not grouped:
        return Refused("nothing is known of any run", 0.0, 1.0, 0)
    contexts = {call.context for mine in grouped.values() for call in mine}
    if any(0 < chance < 1 for context in contexts for chance in would[context].values()):
        return Refused("a mixture cannot be judged by the outcomes of runs; give the step outcomes", 0.0, 1.0, 0)
    rows = [_trajectory(mine, would) for mine in grouped.values()]
    log = Log(
        np.zeros(len(rows), dtype=np.int64),
        np.array([arm for arm, _ in rows]),
        np.array([propensity for _, propensity in rows]),
        np.array([values[run] for run in grouped], dtype=np.float64),
    )
    return _evaluate(log, np.array([[1.0, 0.0]]), seed=seed, bounded=bounded, confidence=confidence)


def _trajectory(calls: Sequence[Call], would: Would) -> tuple[int, float]:
    """(0, propensity) of a run that the target could have made; else 1, with certainty where a call left no chance to it."""
    off = [call for call in calls if not would[call.context].get(call.arm)]
    if not off:
        return 0, max(1e-300, math.prod(call.propensity for call in calls))
    return 1, 1.0 if any(call.propensity > 1 - 1e-9 for call in off) else 0.5


def _evaluate(log: Log, target: np.ndarray, *, seed: int, bounded: bool, confidence: float) -> Answer | Refused:
    rng = np.random.default_rng(seed)
    return evaluate(log, target, rng=rng, bounds=(0.0, 1.0) if bounded else None, confidence=confidence)


def _numbers(names: Sequence[str]) -> dict[str, int]:
    return {name: at for at, name in enumerate(names)}
