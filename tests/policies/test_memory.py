"""What is remembered makes decisions quick, and changes none of them."""

import gc
import json
import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fw_policies.estimate import Observation, OutcomeSeen, Snapshot, Statistics, quantise
from fw_policies.estimate import cost as money
from fw_policies.estimate.at_step import IDLE
from fw_policies.estimate.outcomes import ACCEPTED
from fw_policies.estimate.reading import Reading, size_class
from fw_policies.model import NANO_USD, Candidate, Facts, Note, Plan, Target, TokenPrice, World
from fw_policies.optimize import optimize
from fw_policies.rules.ask import Ask, first, kept
from fw_policies.rules.screens import SCREENS, able
from fw_policies.rules.walks import payer, room
from fw_policies.spec import Policy
from tests.policies.stories import Story
from tests.policies.worlds import FACTS, policy, seen, target, world

STORIES = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 10**9)


def flat(plan: Plan) -> dict[str, Any]:
    """A plan by its values: of candidates what can be asked of them, for they know more than they say."""
    found: dict[str, Any] = {name: getattr(plan, name) for name in Plan.__dataclass_fields__}
    found["arms"] = [(weight, flat(arm)) for weight, arm in plan.arms]
    found["candidates"] = [
        (c.target, c.excluded, c.why, c.rank, c.size, c.outlook, c.known.answers, c.cached, c.known.quality)
        for c in plan.candidates
    ]
    return found


def afresh(story: Story, world: World) -> World:
    """The same world, of which nothing was ever asked."""
    plain = json.loads(json.dumps(story.statistics.to_dict()))
    return replace(world, estimates=Statistics.from_dict(plain).freeze())


def judged(policy: Policy, facts: Facts, world: World) -> tuple[list[Candidate], dict[str, int]]:
    """Every screen is asked of every candidate, whatever its reach; and how many each keeps out."""
    ask = Ask(policy, policy.rules(facts), facts, world)
    if ask.checked:
        places = able([one for one in world.targets if one.model == policy.baseline], ask)
        ask = replace(ask, followers=tuple(sorted(places, key=lambda one: (one.order, one.deployment))))
    out, counts = [], dict[str, int]()
    for one in world.targets:
        rank = world.priors.get((policy.name, one.model), world.priors.get(("*", one.model)))
        candidate = Candidate(one, ask.looked(one), rank=rank, size=facts.input_tokens)
        for screen in SCREENS:
            verdict = first(screen.judges(ask))(candidate)
            if verdict is not None:
                candidate = candidate._replace(excluded=verdict[0], why=verdict[1])
                counts[screen.name] = counts.get(screen.name, 0) + 1
                break
        out.append(candidate)
    return out, counts


@STORIES
@given(seed=SEEDS)
def test_a_world_that_was_asked_before_gives_the_plans_of_one_that_never_was(seed: int) -> None:
    story = Story(seed)
    for asked, facts, lived in story.turns(25):
        fresh = afresh(story, lived)
        assert flat(optimize(asked, facts, lived)) == flat(optimize(asked, facts, fresh))


@STORIES
@given(seed=SEEDS)
def test_every_candidate_is_out_for_the_reason_that_it_has_when_all_are_asked_everything(seed: int) -> None:
    """And none of those that are not looked at would have been out."""
    for asked, facts, lived in Story(seed).turns(25):
        found, counts = judged(asked, facts, lived)
        plans = dict[str, Plan]()
        optimize(asked, facts, lived, observe=plans.__setitem__)
        assert plans["screens"].candidates == tuple(found)
        assert plans["screens"].notes == tuple(
            Note(name, f"{count} of {len(found)} candidates") for name, count in counts.items()
        )


@STORIES
@given(seed=SEEDS)
def test_a_world_that_is_past_gives_the_plans_that_it_gave(seed: int) -> None:
    """Whatever later worlds have taken over from it."""
    told = [(turn, flat(optimize(*turn))) for turn in Story(seed).turns(25)]
    random.Random(seed).shuffle(told)
    for turn, found in told:
        assert flat(optimize(*turn)) == found


def test_a_finding_is_made_again_when_its_grounds_are_others_and_not_before() -> None:
    memory, made = dict[Any, Any](), []
    for grounds in (1, 1, 2, 2, 1):
        kept(memory, "slot", (grounds,), lambda grounds=grounds: made.append(grounds))  # type: ignore[misc]
    assert made == [1, 2, 1]


def test_a_memory_that_is_full_forgets_and_goes_on() -> None:
    memory = dict[Any, Any]()
    assert [kept(memory, number, (), lambda: 7, most=3) for number in range(20)] == [7] * 20
    assert len(memory) <= 3


def test_a_decision_leaves_nothing_that_only_the_collector_frees() -> None:
    """Plans hold hundreds of candidates: garbage that waits would be seen in the slowest of decisions."""
    for checks in ((), ("own_check",)):
        statistics = Statistics()
        for model in ("base", "cheap"):
            seen(statistics, model, calls=300, passed=290)
            for _ in range(30):
                statistics.outcome(OutcomeSeen("coding", "edit", model, ACCEPTED, 1.0))
        targets = [target("base", dollars=10), target("base", "there", dollars=10), target("cheap")]
        lines = policy("quality >= 80% of baseline", "p95 latency <= 20s", "p95 cost <= 1 USD", verify="own_check")
        here = world(targets, statistics)
        gc.collect()
        gc.disable()
        try:
            for size in range(1, 50):
                optimize(lines, FACTS._replace(input_tokens=size, checks=checks), here)
            assert gc.collect() == 0
        finally:
            gc.enable()


A, B = target("a"), target("b")


def known(snapshot: Snapshot, one: Target, step: str = "edit") -> Any:
    """What a snapshot knows of a target, as an object."""
    return snapshot.looking(Facts("coding", step), outcome="tests_pass")(one)


def test_what_is_known_of_a_target_is_taken_over_until_something_of_it_is_seen() -> None:
    statistics = Statistics()
    seen(statistics, "a", passed=50)
    seen(statistics, "b", passed=50)
    first = statistics.freeze()
    before = [known(first, one) for one in (A, B)]
    assert statistics.freeze() is first
    seen(statistics, "a", calls=1)
    second = statistics.freeze()
    assert known(second, A) is not before[0]
    assert known(second, B) is before[1]
    assert known(first, A) is before[0]
    statistics.outcome(OutcomeSeen("coding", "edit", "b", "tests_pass", 1.0))
    third = statistics.freeze()
    assert known(third, A) is known(second, A)
    assert known(third, B).quality.n == before[1].quality.n + 1


def test_what_was_seen_elsewhere_counts_as_it_is_now() -> None:
    """The time to the first token of other steps stands in at a step that has none of its own, and moves with them."""
    statistics = Statistics()
    statistics.observe(Observation("coding", "other", "a", "a@here", ok=True, ttft=1.0, latency=2.0))
    statistics.outcome(OutcomeSeen("coding", "edit", "a", "tests_pass", 1.0))
    first = known(statistics.freeze(), A)
    statistics.observe(Observation("coding", "other", "a", "a@here", ok=True, ttft=3.0, latency=4.0))
    second = known(statistics.freeze(), A)
    assert (first.at(0).ttft.n, second.at(0).ttft.n) == (1, 2)
    statistics.moved(("coding", "other", "a@here"), "ttft", 0.0)
    assert known(statistics.freeze(), A).at(0).ttft is None


def test_what_moved_or_is_void_is_gone_from_the_next_world_and_from_no_earlier_one() -> None:
    statistics = Statistics()
    seen(statistics, "a", passed=50)
    first = statistics.freeze()
    statistics.moved(("coding", "edit", "a@here"), "latency", 0.0)
    statistics.forget_outcomes(("coding", "edit", "a", "tests_pass"))
    second = statistics.freeze()
    assert (known(second, A).at(0).latency, known(second, A).quality) == (None, None)
    assert known(first, A).at(0).latency.n == known(first, A).quality.n == 60


def test_a_step_that_nobody_asks_for_is_forgotten_after_a_while() -> None:
    """Names of steps come from clients: what was worked out for each of them is not kept for ever."""
    statistics = Statistics()
    seen(statistics, "a")
    statistics.observe(Observation("coding", "busy", "a", "a@here", ok=True, ttft=1.0, latency=2.0))
    before, busy = known(statistics.freeze(), A), known(statistics.freeze(), A, "busy")
    for _ in range(IDLE + 1):
        statistics.outcome(OutcomeSeen("support", "third", "b", "tests_pass", 1.0))
        assert known(statistics.freeze(), A, "busy") is busy
    assert known(statistics.freeze(), A) is not before


@given(
    st.dictionaries(st.integers(1, 18), st.floats(0.1, 5.0), max_size=4),
    st.floats(0.0, 4.0),
    st.integers(0, 200_000),
)
def test_no_guess_comes_to_more_than_the_highest_factor_makes_of_it(
    factors: dict[int, float], worst: float, guess: int
) -> None:
    reading = Reading(factors, worst)
    assert reading.most(guess) <= guess * reading.highest * (1 + 1e-12)
    assert reading.expected(guess) == reading.expected(guess) == guess * reading.factor(guess)


@given(st.integers(0, 10**6), st.integers(0, 10**12), st.floats(0.0, 1e9))
def test_the_cost_of_a_size_is_that_of_its_tokens(size: int, price: int, fixed: float) -> None:
    reading = Reading({size_class(size): 1.25})
    at = money.line(fixed, price, reading.usual, reading.expected)
    assert at(size) == at(size) == fixed + money.tokens(size * 1.25, price)


@STORIES
@given(seed=SEEDS)
def test_up_to_its_room_no_request_costs_more_than_the_limit(seed: int) -> None:
    """Factors rise and fall with the size, and so do costs: the room is what holds for all of them."""
    dice = random.Random(seed)
    statistics = Statistics()
    priced = replace(A, price=TokenPrice(dice.randint(0, 10) * NANO_USD, dice.randint(0, 10) * NANO_USD))
    for _ in range(200):
        size = dice.choice([50, 400, 3000])
        billed = int(size * dice.choice([0.5, 1.0, 3.0]))
        one = Observation(
            "coding", "edit", "a", "a@here", ok=True, input_tokens=billed, output_tokens=90, expected_tokens=size
        )
        statistics.observe(one)
    here, rules = world([priced], statistics), policy("p95 cost <= 1 USD")
    limit = dice.choice([0.0, 1e3, 1e6, 1e7]) * dice.random()
    ask = Ask(rules, rules.rules(FACTS), FACTS, here)
    far = room(0.95, limit, priced, ask)
    for size in {quantise(dice.randint(1, 100_000)), dice.randint(0, 100), 4096, int(min(max(far, 0), 1e6))}:
        asked = replace(ask, facts=FACTS._replace(input_tokens=size))
        paid = payer(0.95, asked)(priced, asked.looked(priced))
        assert paid is not None
        assert size > far or paid <= limit
