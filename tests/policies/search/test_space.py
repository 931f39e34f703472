"""The plans of a step: how many there are, what they come to, and which of them nothing beats."""

from itertools import permutations

import numpy as np
import pytest

from fw_policies.search.space import CASCADE, FALL_BACK, NONE, SINGLE, Parts, count, space, undominated


def parts(models: list[int], seed: int = 0, machines: int = 1) -> Parts:
    rng = np.random.default_rng(seed)
    n = len(models)
    latency = rng.uniform(0.5, 3, n)
    use = np.zeros((machines, n))
    if machines:
        use[0, 0] = 400.0
    return Parts(
        np.array(models), rng.uniform(0.4, 0.9, n), rng.uniform(1, 100, n), latency, latency**2 / 4, rng.uniform(0.3, 0.9, n),
        np.full(n, np.nan), rng.uniform(0, 0.1, n), use,
    )  # fmt: skip


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 6])
def test_what_is_kept_is_exactly_what_no_other_row_beats(columns: int) -> None:
    rng = np.random.default_rng(columns)
    values = rng.integers(0, 60, (3000, columns)).astype(float)
    values = values[values.sum(1) > 25 * columns - 10]
    values[:, 3:] *= rng.random((len(values), max(columns - 3, 0))) < 0.3
    kept = []
    for row in range(len(values)):
        same_or_better = (values <= values[row]).all(1)
        equal = (values == values[row]).all(1)
        if not (same_or_better & ~equal).any() and np.flatnonzero(equal)[0] == row:
            kept.append(row)
    if columns >= 3:
        assert len(kept) > 5
    padded = values if columns >= 3 else np.c_[values, np.zeros((len(values), 3 - columns))]
    assert undominated(padded).tolist() == kept


def test_plans_are_counted_as_they_would_be_listed() -> None:
    models = [0, 0, 1, 2, 2, 2]
    listed = [
        order
        for size in (1, 2, 3)
        for order in permutations(range(6), size)
        if len({models[part] for part in order}) == size
    ]
    assert count(np.array(models), True) == len(listed)
    assert count(np.array(models), False) == sum(len(order) < 3 for order in listed)


def test_a_cascade_comes_to_what_its_parts_do() -> None:
    mine = parts([0, 1, 2])
    mine.cost[:], mine.quality[:], mine.latency[:] = [1, 10, 100], [0.5, 0.7, 0.9], [1, 2, 3]
    found = space(mine, np.ones(3, dtype=bool), verify=True).plans
    assert {SINGLE, CASCADE} <= set(found.kind.tolist())
    for at in np.flatnonzero(found.kind == CASCADE):
        walk = [int(part) for part in found.parts[at] if part != NONE]
        cost, latency, quality, reach = 0.0, 0.0, 0.0, 1.0
        for place, part in enumerate(walk):
            cost += reach * mine.cost[part]
            latency += reach * mine.latency[part]
            stays = mine.accepted[part] if place < len(walk) - 1 else 1.0
            quality += reach * stays * mine.quality[part]  # a check that says nothing leaves the quality as it is
            reach *= 1 - stays
        assert found.cost[at] == pytest.approx(cost)
        assert found.latency[at] == pytest.approx(latency)
        assert found.quality[at] == pytest.approx(quality)


def test_without_checks_a_second_model_takes_over_what_fails() -> None:
    mine = parts([0, 1], machines=0)
    found = space(mine, np.ones(2, dtype=bool), verify=False)
    assert found.counts.possible == found.counts.worked_out == 4
    for at in np.flatnonzero(found.plans.kind == FALL_BACK):
        first, second, _ = found.plans.parts[at]
        assert found.plans.cost[at] == pytest.approx(mine.cost[first] + mine.failing[first] * mine.cost[second])


def test_a_check_that_knows_makes_the_cascade_better_than_its_second() -> None:
    """What passes is right, so that only rejected answers can be wrong."""
    mine = parts([0, 1])
    mine.right[:] = 1.0
    mine.accepted[:] = mine.quality
    found = space(mine, np.ones(2, dtype=bool), verify=True).plans
    assert found.quality[found.kind == CASCADE].max() > mine.quality.max()


def test_what_is_forbidden_or_unknown_is_in_no_plan_and_counted_apart() -> None:
    mine = parts([0, 0, 1, 2, 3])
    mine.quality[4] = np.nan
    allowed = np.array([True, False, True, True, True])
    found = space(mine, allowed, verify=True)
    assert not set(found.plans.parts.ravel().tolist()) & {1, 4}
    assert found.counts.possible > found.counts.allowed > found.counts.known >= found.counts.worked_out
    assert found.counts.kept == len(found.plans.kind)


def test_nothing_known_gives_no_plan() -> None:
    mine = parts([0, 1])
    mine.cost[:] = np.nan
    found = space(mine, np.ones(2, dtype=bool), verify=True)
    assert (found.counts.known, found.counts.kept, found.counts.possible) == (0, 0, 4)


def test_what_uses_less_of_a_shared_machine_is_kept_though_it_costs_more() -> None:
    mine = parts([0, 1])
    mine.quality[:], mine.latency[:] = 0.8, 1.0
    mine.cost[:] = [1.0, 5.0]
    assert found_singles(mine) == {0, 1}
    mine.use[:] = 0.0
    assert found_singles(mine) == {0}


def found_singles(mine: Parts) -> set[int]:
    found = space(mine, np.ones(len(mine.model), dtype=bool), verify=False).plans
    return {int(part) for part in found.parts[found.kind == SINGLE, 0]}


def test_a_sum_of_latencies_is_late_more_often_than_its_parts() -> None:
    mine = parts([0, 1])
    found = space(mine, np.ones(2, dtype=bool), verify=True, limit=2.0).plans
    alone = {int(row[0]): late for row, late, kind in zip(found.parts, found.late, found.kind, strict=True) if not kind}
    assert all(0 < late < 1 for late in found.late)
    for row, late in zip(found.parts[found.kind == CASCADE], found.late[found.kind == CASCADE], strict=True):
        assert late > alone.get(int(row[0]), 0.0)
