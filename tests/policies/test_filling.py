"""Statistics are the same however often they are frozen while they are filled: what is found once between two worlds is never stale."""

import itertools
import random
from collections.abc import Iterator

import pytest

from fw_policies.estimate import Observation, Statistics
from fw_policies.estimate.statistics import WINDOW
from fw_policies.model import Facts, MachinePrice, Target


def observations(rng: random.Random, count: int) -> Iterator[Observation]:
    """Of two steps that share deployments, and two deployments that share a model; any part may be unknown, and some fail."""
    for _ in range(count):
        model = rng.choice("mn")
        yield Observation(
            "a",
            rng.choice("xy"),
            model,
            f"{model}@{rng.choice('12')}",
            ok=rng.random() < 0.9,
            ttft=rng.choice((None, rng.lognormvariate(0, 0.5))),
            latency=rng.lognormvariate(1, 0.5),
            input_tokens=rng.choice((None, 0, rng.randrange(5000))),
            expected_tokens=rng.choice((None, rng.randrange(5000))),
            output_tokens=rng.choice((None, 0, rng.randrange(500))),
            cached_tokens=rng.choice((None, 0, 100)),
            machine_seconds=rng.choice((None, rng.random())),
        )


@pytest.mark.parametrize("seed", range(4))
def test_when_statistics_are_frozen_makes_no_difference_to_what_they_are(seed: int) -> None:
    """One is never frozen, one now and then, one after each call, which finds everything anew; deployments move, another process's calls come in."""
    rng = random.Random(seed)
    never, sometimes, always = Statistics(), Statistics(), Statistics()
    everyone = (never, sometimes, always)
    other = Statistics()
    for one in observations(rng, 50):
        other.observe(one)
    for one in observations(rng, 12 * WINDOW):
        for each in everyone:
            each.observe(one)
        if rng.random() < 0.005:
            place, measure, times = ("a", one.step, one.deployment), rng.choice(("ttft", "latency")), rng.choice((0, 3))
            for each in everyone:
                each.moved(place, measure, times)
        if rng.random() < 0.002:
            for each in everyone:
                each.merge(other)
        if rng.random() < 0.1:
            sometimes.freeze()
        always.freeze()
    assert never.to_dict() == sometimes.to_dict() == always.to_dict()
    seen = [each.freeze() for each in everyone]
    for step, place in itertools.product("xy", ("m@1", "n@2")):
        target = Target(place[0], place, "vllm", place[0], MachinePrice(1), self_hosted=True)
        facts = Facts("a", step, input_tokens=1000)
        assert seen[0].outlook(facts, target) == seen[1].outlook(facts, target) == seen[2].outlook(facts, target)
