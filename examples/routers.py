"""Other routers for the Promise Bench: `fw bench route --data FOLDER --out VERDICT --router examples/routers.py:pareto_bandit`.

A router is a function of what it may learn from and of what it is asked; it returns what it expects of each model for each query. The
bench does the rest alike for all of them: trade-offs, mixtures, promises by their own estimates, RouteLLM's APGR.
`pareto_bandit` needs `pip install paretobandit`.
"""

import numpy as np

from fw_gateway.bench.routers import Asked, Expected, Known, Matrix


def naive_lp(known: Known, asked: Asked) -> Expected:
    """The raw mean of each step and model, taken for the truth: what a linear programme is usually fed with."""
    return Expected(_means(known, known.table.score)[asked.step], _costs(known, asked))


def similarity(known: Known, asked: Asked) -> Expected:
    """RouteLLM's similarity-weighted ranking: every known outcome counts 10 to the power of how alike the texts are; it knows no step."""
    alike = np.maximum(asked.vectors @ known.vectors.T, 0.0)
    weight = 10 ** (alike / np.maximum(alike.max(1, keepdims=True), 1e-9))
    quality = weight @ known.table.score / weight.sum(1, keepdims=True)
    return Expected(quality, _costs(known, asked))


def pareto_bandit(known: Known, asked: Asked) -> Expected:
    """ParetoBandit's own linear policy, fed with every known outcome; its context is the step and the text's vector."""
    from pareto_bandit import DisjointLinUCBPolicy  # noqa: PLC0415 - a package of its own

    table = known.table
    seen, wanted = (
        _context(*pair, len(table.steps)) for pair in ((table.step, known.vectors), (asked.step, asked.vectors))
    )
    policy = DisjointLinUCBPolicy(list(table.models), dim=seen.shape[1], seed=0)
    for row in range(len(seen)):
        for column, model in enumerate(table.models):
            policy.update(model, seen[row], float(table.score[row, column]))
    quality = np.array([[policy.get_expected_reward(model, one) for model in table.models] for one in wanted])
    return Expected(np.clip(quality, 0.0, 1.0), _costs(known, asked))


def _context(step: np.ndarray, vectors: Matrix, steps: int) -> Matrix:
    return np.hstack([np.eye(steps)[step], vectors])


def _means(known: Known, values: Matrix) -> Matrix:
    table = known.table
    overall = values.mean(0)
    rows = [values[table.step == step] for step in range(len(table.steps))]
    return np.array([found.mean(0) if len(found) else overall for found in rows])


def _costs(known: Known, asked: Asked) -> Matrix | None:
    cost = known.table.cost
    return None if cost is None else _means(known, cost)[asked.step]
