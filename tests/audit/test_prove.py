"""What is promised holds as often as it says, on worlds whose truth is known; what cannot be known is refused."""

import numpy as np
import pytest

from fw_gateway.audit import sample
from fw_gateway.audit.prove import Evidence, Seen, best_single, each, prove, runs_needed


def world(rng: np.random.Generator, truth: dict[str, dict[str, float]], *, n: int, paired: bool) -> Evidence:
    """Runs of every model at every step; dearer models cost more."""
    found: dict[str, dict[str, list[Seen]]] = {}
    for step, models in truth.items():
        found[step] = {}
        for rank, (model, quality) in enumerate(models.items()):
            values = rng.random(n) < quality
            names = (f"{step}{index}" if paired else f"{step}{model}{index}" for index in range(n))
            found[step][model] = [
                Seen(name, float(value), 1e9 / 4**rank) for name, value in zip(names, values, strict=True)
            ]
    return found


def quality(truth: dict[str, dict[str, float]], plan: dict[str, str]) -> float:
    return sum(truth[step][model] for step, model in plan.items()) / len(plan)


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_a_promise_at_90_percent_is_broken_in_at_most_14_of_100_worlds(*, paired: bool) -> None:
    """Models just below the floor, three steps, 200 worlds: at most δ and three standard errors of the count."""
    rng = np.random.default_rng(7)
    broken = given = 0
    for seed in range(200):
        truth = {
            step: {"best": 0.9, "near": 0.9 * 0.95 - 0.002, "cheap": 0.9 * 0.95 - 0.01} for step in ("a", "b", "c")
        }
        found = prove(world(rng, truth, n=150, paired=paired), "best", ratio=0.95, seed=seed)
        if found.saved is not None:
            given += 1
            broken += quality(truth, dict(found.plan)) < 0.95 * 0.9 - 1e-9
    assert given > 0  # some plans keep the baseline at a step, and are kept
    assert broken <= 28


def test_a_cheap_model_that_is_as_good_is_found_and_the_saving_has_its_interval() -> None:
    """Three quarters cheaper at every step."""
    rng = np.random.default_rng(1)
    truth = {"a": {"best": 0.9, "cheap": 0.93}, "b": {"best": 0.8, "cheap": 0.84}}
    found = prove(world(rng, truth, n=600, paired=True), "best", ratio=0.95)
    assert found.plan == {"a": "cheap", "b": "cheap"}
    assert found.saved is not None
    assert found.saved.mean == pytest.approx(0.75)
    assert found.bound is not None
    assert found.bound >= 0
    assert found.paired


def test_a_worse_model_is_refused_and_one_that_is_too_little_known_says_how_many_runs_more() -> None:
    """Refusals have their reasons."""
    rng = np.random.default_rng(2)
    worse = prove(world(rng, {"a": {"best": 0.9, "cheap": 0.5}}, n=300, paired=True), "best")
    assert worse.saved is None
    assert worse.plan == {"a": "best"}
    assert worse.refused
    few = prove(world(rng, {"a": {"best": 0.8, "cheap": 0.86}}, n=60, paired=False), "best")
    assert few.saved is None
    assert few.more["a"] > 0


def test_nothing_is_promised_without_a_baseline_a_second_model_or_a_cost() -> None:
    """Each is named."""
    runs = [Seen(str(index), 1.0, 1e9) for index in range(50)]
    free = [Seen(str(index), 1.0, None) for index in range(50)]
    assert "nothing to compare" in prove({"a": {"best": runs}}, "best").refused[-1]
    assert "baseline gone has 0" in prove({"a": {"best": runs}}, "gone").refused[-1]
    assert "baseline best has 5" in prove({"a": {"best": runs[:5], "other": runs}}, "best").refused[-1]
    assert prove({"a": {"best": runs, "other": free}}, "best").saved is None
    assert prove({}, "best").refused == ("there are no runs with an outcome",)


def test_the_same_evidence_gives_the_same_answer() -> None:
    """Whatever the order of the models."""
    rng = np.random.default_rng(3)
    evidence = world(rng, {"a": {"best": 0.9, "cheap": 0.92, "mid": 0.9}}, n=400, paired=True)
    turned = {step: dict(reversed(list(models.items()))) for step, models in evidence.items()}
    assert prove(evidence, "best", ratio=0.95) == prove(turned, "best", ratio=0.95)


def test_fewer_outcomes_are_needed_for_a_looser_floor() -> None:
    """And for a quality nearer to 1."""
    assert runs_needed(0.9, 0.95) < runs_needed(0.9, 0.98)
    assert runs_needed(0.97, 0.98) < runs_needed(0.8, 0.98)


def test_the_sample_is_the_documented_set() -> None:
    """31 models, 1,182 tasks of five kinds; no text."""
    evidence, source = sample.load()
    assert "3015ac612e" in source
    assert len({model for models in evidence.values() for model in models}) == 31
    tasks = {step: len({run.run for runs in models.values() for run in runs}) for step, models in evidence.items()}
    assert tasks == {"commit0": 16, "gaia": 165, "swe-bench": 500, "swe-bench-multimodal": 68, "swt-bench": 433}


def test_what_is_promised_on_the_sample_holds_on_its_testing_half() -> None:
    """The observed quality is above the floor, and the steps without enough outcomes keep the baseline."""
    evidence, _ = sample.load()
    baseline = best_single(evidence)
    assert baseline is not None
    found = prove(evidence, baseline, ratio=0.95)
    assert found.saved is not None
    assert found.quality is not None
    assert found.quality[0] >= 0.95 * found.quality[1]
    assert 0 < found.saved.low < found.saved.mean < found.saved.high < 1
    assert found.plan["commit0"] == baseline
    assert each(evidence, baseline)["commit0"].saved is None
